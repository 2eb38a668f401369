"""Tables in: any source of runs becomes a checked `Runs`, with what was derived and what was left out on record.

A source is a store, a Parquet file or folder, CSV, JSON, JSON lines or a data frame. Nothing is guessed silently: a
column that the source lacks is derived by C = 6ND and named so, and runs that were counted, evaluated or scheduled
differently are refused.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.conventions import MixKind, recount, refuse_mixtures, single_value
from analysis.errors import SourceError
from analysis.results import Dropped
from analysis.sources import load_frame
from analysis.stores import first_look, is_store
from analysis.table import Runs

Source = str | os.PathLike[str] | pd.DataFrame

ALIASES: Mapping[str, tuple[str, ...]] = {
    "params": ("N", "parameters", "n_params", "num_params", "param_count", "model_size"),
    "tokens": ("D", "n_tokens", "num_tokens", "train_tokens", "training_tokens"),
    "flops": ("C", "compute", "train_flops", "training_flops", "training_flop", "total_flops"),
    "budget": ("compute_budget", "flops_budget", "isoflop_budget"),
    "loss": ("L", "final_loss", "val_loss", "validation_loss", "eval_loss", "heldout_loss", "test_loss"),
}
"""Names that a source may use for the canonical columns: one letter as it stands, longer ones in any case and
spacing."""

_NUMERIC = ("params", "tokens", "flops", "budget", "loss")
_LONGEST = 40
"""Characters of a wrong value that a message repeats."""


def read_runs(
    source: Source,
    *,
    columns: Mapping[str, str] | None = None,
    status: Sequence[str] = ("ok",),
    allow_mixed: Collection[MixKind] = (),
    count: str | None = None,
    duplicates: Literal["refuse", "drop", "keep"] = "refuse",
) -> Runs:
    """Read runs from any source and check that they can enter one fit.

    Args:
        source: Store, Parquet file or folder, CSV, JSON, JSON lines, or a data frame.
        columns: Source column of a canonical one, for example {"params": "Model Size"}; goes before the aliases.
        status: Values of the column `status`, where there is one, that are kept; all others are counted in `dropped`.
        allow_mixed: Differences among the runs that are taken on purpose: `count`, `flops_rule`, `evaluation`, `decay`,
            `trunks`.
        count: Convention to count parameters by (`blocks+head`, `blocks`, `total` or `active`), from the columns
            `params_body`, `params_head`, ... of the source; None takes `params` as it stands.
        duplicates: What to do with a run that occurs twice, by `run_id` or else with every value equal: refuse, drop
            the later ones (counted in `dropped`), or keep them as replicates.

    Returns:
        The runs, in the order of the source.

    Raises:
        SourceError: The source cannot be read, a column is missing, a value is not a positive number, or a run occurs
            twice.
        ConventionError: The runs differ in something that must not differ within one fit.
    """
    frame, name = load_frame(source)
    if frame.empty:
        raise SourceError(
            f"{name} has no rows; expected one row per run. Check that the sweep has started, or the file."
        )
    own_columns = _listed(frame.columns)
    frame = _renamed(frame, columns or {}, name)
    frame, dropped = _with_status(frame, tuple(status), name)
    frame, derived = recount(frame, count) if count else (frame, {})
    if "count" not in allow_mixed and count is None:
        refuse_mixtures(frame, kinds=("count",))
    refuse_mixtures(frame, kinds=[k for k in get_args(MixKind) if k != "count" and k not in allow_mixed])
    frame, more = _derived(_numeric(frame, name), name, own_columns)
    if duplicates != "keep":
        frame, copies = _without_copies(frame, name, refuse=duplicates == "refuse")
        dropped += copies
    return Runs(
        frame=frame.reset_index(drop=True),
        derived={**derived, **more},
        dropped=dropped,
        params_convention=count or single_value(frame, "params_convention"),
        flops_rule=_flops_rule(frame, derived=bool(set(more) & {"params", "tokens", "flops"})),
        source=name,
        first_look=first_look(source) if not isinstance(source, pd.DataFrame) and is_store(source) else None,
    )


def _renamed(frame: pd.DataFrame, columns: Mapping[str, str], name: str) -> pd.DataFrame:
    """`frame` with the canonical columns that it has; every other column keeps its name."""
    missing = [column for column in columns.values() if column not in frame.columns]
    if missing:
        raise SourceError(
            f"{name} has no column {missing[0]!r}; it has {_listed(frame.columns)}. Map one of these, "
            f"for example --map {next(k for k, v in columns.items() if v == missing[0])}={frame.columns[0]!s}."
        )
    taken = set(columns.values())
    found = dict(columns)
    for canonical, aliases in ALIASES.items():
        if canonical not in found and canonical not in frame.columns:
            alias = _alias(frame, aliases, taken)
            if alias is not None:
                found[canonical] = alias
    return frame.assign(**{canonical: frame[column] for canonical, column in found.items()})


def _alias(frame: pd.DataFrame, aliases: Sequence[str], taken: Collection[str]) -> str | None:
    by_name = {str(column): str(column) for column in frame.columns if str(column) not in taken}
    by_name |= {_plain(column): column for column in by_name if len(column) > 1}
    return next((by_name[alias] for alias in aliases if alias in by_name), None)


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _listed(names: Collection[object]) -> str:
    return ", ".join(str(name) for name in names)


def _with_status(frame: pd.DataFrame, kept: tuple[str, ...], name: str) -> tuple[pd.DataFrame, tuple[Dropped, ...]]:
    if "status" not in frame:
        return frame, ()
    out = ~frame["status"].isin(kept)
    labels = (
        frame["run_id"] if "run_id" in frame else pd.Series([f"row {i + 1}" for i in range(len(frame))], frame.index)
    )
    states = frame.loc[out, "status"]
    dropped = tuple(Dropped(run=str(labels[i]), reason=f"status {states[i]}") for i in states.index)
    if out.all():
        counts = ", ".join(f"{state}: {n}" for state, n in frame["status"].value_counts().items())
        raise SourceError(
            f"{name} has no run with status {' or '.join(kept)} ({counts}). Wait for runs to finish, or pass the "
            "status to keep."
        )
    return frame[~out], dropped


def _numeric(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """`frame` with its canonical columns as positive finite float64.

    Raises:
        SourceError: Text, a missing value, zero, a negative or an infinite number, with its row and value.
    """
    present = [column for column in _NUMERIC if column in frame]
    checked: dict[str, pd.Series] = {}
    for column in present:
        values = _numbers(frame[column])
        _refuse_rows(frame, column, (values.isna() & frame[column].notna()).to_numpy(), name, "a number")
        usable = np.isfinite(values.to_numpy()) & (values.to_numpy() > 0)
        _refuse_rows(frame, column, ~usable, name, "a positive finite number")
        checked[column] = values
    return frame.assign(**checked)


def _numbers(values: pd.Series) -> pd.Series:
    """`values` as float64, NaN where they are none: truth values and dates count as none."""
    if values.dtype.kind in "bmM":
        return pd.Series(np.nan, index=values.index)
    found = pd.to_numeric(values, errors="coerce").astype(np.float64)
    if values.dtype == object:
        found = found.mask(values.map(lambda value: isinstance(value, bool)))
    return found


def _shown(value: object) -> str:
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return "missing" if np.isnan(value) else repr(float(value))
    return "missing" if value is None or value is pd.NA or value is pd.NaT else repr(value)[:_LONGEST]


def _refuse_rows(frame: pd.DataFrame, column: str, wrong: NDArray[np.bool_], name: str, expected: str) -> None:
    if not wrong.any():
        return
    rows = np.flatnonzero(wrong)
    shown = _shown(frame[column].iloc[rows[0]])
    others = f" (and in {len(rows) - 1} more rows)" if len(rows) > 1 else ""
    raise SourceError(
        f"{name}: {column} in row {frame.index[rows[0]] + 1} is {shown}{others}; expected {expected}. "
        "Correct or remove the row, or mark it in a column `status` (diverged, error) to have it counted and left out."
    )


def _derived(frame: pd.DataFrame, name: str, own_columns: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Fill in whichever of N, D and C the source lacks by C = 6ND (Kaplan et al. 2020, arXiv:2001.08361)."""
    derived: dict[str, str] = {}
    if "flops" not in frame and "budget" in frame and ("params" in frame) != ("tokens" in frame):
        frame, derived["flops"] = frame.assign(flops=frame["budget"]), "budget"
    missing = [column for column in ("params", "tokens", "flops") if column not in frame]
    absent = (missing if len(missing) > 1 else []) + ["loss"] * ("loss" not in frame)
    if absent:
        raise SourceError(
            f"{name} has no column for {' and '.join(absent)}; it has {own_columns}. Expected the loss "
            "and two of "
            "params, tokens, flops. Name the columns: --map params=COLUMN,tokens=COLUMN,loss=COLUMN."
        )
    if "params" in missing:
        frame, derived["params"] = frame.assign(params=frame["flops"] / (6 * frame["tokens"])), "flops / (6 tokens)"
    elif "tokens" in missing:
        frame, derived["tokens"] = frame.assign(tokens=frame["flops"] / (6 * frame["params"])), "flops / (6 params)"
    elif "flops" in missing:
        frame, derived["flops"] = frame.assign(flops=6 * frame["params"] * frame["tokens"]), "6 params tokens"
    return frame, derived


def _flops_rule(frame: pd.DataFrame, *, derived: bool) -> str | None:
    """How FLOPs are counted: `6nd` where one of N, D, C was derived, else as stated, else `6nd` where that holds."""
    stated = None if derived else single_value(frame, "flops_rule")
    if stated is None and np.allclose(frame["flops"], 6 * frame["params"] * frame["tokens"], rtol=1e-6, atol=0):
        return "6nd"
    return stated


def _without_copies(frame: pd.DataFrame, name: str, *, refuse: bool) -> tuple[pd.DataFrame, tuple[Dropped, ...]]:
    """`frame` without the later of equal runs: equal `run_id`, or every value equal where there is none."""
    keys = ["run_id"] if "run_id" in frame and frame["run_id"].notna().all() else list(frame.columns)
    values = {key: frame[key] if frame[key].dtype.kind in "fiub" else frame[key].astype(str) for key in keys}
    codes = pd.DataFrame({key: pd.factorize(column)[0] for key, column in values.items()}, index=frame.index)
    again = codes.duplicated()
    if not again.any():
        return frame, ()
    labels = codes.groupby(keys, sort=False).ngroup().to_numpy()
    rows, first = frame.index.to_numpy(), np.unique(labels, return_index=True)[1]
    pairs = [(int(rows[i]), int(rows[first[labels[i]]])) for i in np.flatnonzero(again)]
    if refuse:
        raise SourceError(
            f"{name}: rows {pairs[0][1] + 1} and {pairs[0][0] + 1} are the same run ({len(pairs)} repeated in all); "
            "expected every "
            "run once. Remove the copies, pass duplicates='drop' (--duplicates drop), or add a column `seed` if they "
            "are replicates."
        )
    return frame[~again], tuple(
        Dropped(run=f"row {i + 1}", reason=f"the same run as row {first + 1}") for i, first in pairs
    )
