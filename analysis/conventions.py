"""Conventions that all runs of one fit must share, and re-counting of parameters under another one.

N*(C) changes its exponent by .17 between counting blocks and counting blocks and head at small sizes, and a loss
after decay is not the loss of the same run before it: mixing these bends a law without any residual showing it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

import pandas as pd

from analysis.errors import ConventionError, FitError, SourceError

MixKind = Literal["count", "flops_rule", "evaluation", "decay", "trunks"]

MIX_KINDS: tuple[MixKind, ...] = get_args(MixKind)

COUNTS: Mapping[str, tuple[str, ...]] = {
    "blocks+head": ("params_body", "params_head"),
    "blocks": ("params_body",),
    "total": ("params_total",),
    "active": ("params_active",),
}
"""Columns that add up to N under each convention; the first three are the trainer's."""

_COLUMNS: Mapping[MixKind, tuple[str, ...]] = {
    "count": ("params_convention",),
    "flops_rule": ("flops_rule",),
    "evaluation": ("corpus", "heldout_tokens", "context"),
    "decay": ("decayed",),
    "trunks": ("trunk",),
}

_SENTENCES: Mapping[str, tuple[str, str]] = {
    "params_convention": ("count parameters in {ways} ways", "Choose one: --count {first}"),
    "flops_rule": (
        "count FLOPs by {ways} rules",
        "Fit the runs of one rule, or allow it: allow_mixed=['flops_rule'] (--allow-mixed flops_rule)",
    ),
    "corpus": (
        "are evaluated on {ways} corpora",
        "Fit the runs of one corpus, or allow it: allow_mixed=['evaluation'] (--allow-mixed evaluation)",
    ),
    "heldout_tokens": (
        "are evaluated on {ways} numbers of held-out tokens",
        "Fit the runs of one evaluation, or allow it: allow_mixed=['evaluation'] (--allow-mixed evaluation)",
    ),
    "context": (
        "have {ways} context lengths, and loss falls with context",
        "Fit the runs of one context, or allow it: allow_mixed=['evaluation'] (--allow-mixed evaluation)",
    ),
    "decayed": (
        "end in {ways} states of the learning rate (decayed or not)",
        "Fit one of them, or allow it: allow_mixed=['decay'] (--allow-mixed decay)",
    ),
    "trunk": (
        "are trained in {ways} ways (some branch off a shared trunk, some do not)",
        "Fit one of them, or allow it: allow_mixed=['trunks'] (--allow-mixed trunks)",
    ),
}


def refuse_mixtures(frame: pd.DataFrame, *, kinds: Iterable[MixKind]) -> None:
    """Raise where the runs differ in a convention of one of `kinds`.

    Raises:
        ConventionError: With the counts of each value.
    """
    for column in (column for kind in kinds for column in _COLUMNS[kind]):
        if (counts := _counts(frame, column)) is not None:
            advice = _SENTENCES[column][1].format(first=_value(counts.index[0]))
            raise ConventionError(f"these runs {_difference(column, counts)}. {advice}")


def settings_of(frame: pd.DataFrame) -> list[str]:
    """Settings that a sweep compares, in its order; empty for a sweep of one."""
    return [] if "setting" not in frame else [str(name) for name in frame["setting"].dropna().unique()]


def refuse_settings(frame: pd.DataFrame) -> None:
    """Raise where the runs are of several settings.

    Raises:
        FitError: With the runs of each setting.
    """
    if "setting" in frame and (counts := _counts(frame, "setting")) is not None:
        listed = ", ".join(f"{name}: {n}" for name, n in counts.items())
        first = counts.index[0]
        raise FitError(
            f"these runs are of {len(counts)} settings ({listed}); a fit takes one. Choose it: --setting {first!r}, or "
            f"runs.where(setting={first!r}); or compare two of them with isoflop compare."
        )


def mixtures(frame: pd.DataFrame) -> list[str]:
    """How the runs differ, in words; empty where every convention is shared."""
    columns = [column for kind in get_args(MixKind) for column in _COLUMNS[kind]]
    return [_difference(column, counts) for column in columns if (counts := _counts(frame, column)) is not None]


def _counts(frame: pd.DataFrame, column: str) -> pd.Series | None:
    """Runs by value, most frequent first; None where all agree or the source does not say."""
    if column not in frame:
        return None
    stated = frame[column].notna()
    values = frame[column].astype(object).where(stated, "not stated")
    if column == "trunk":  # which one does not matter
        values = stated.map({True: "shared", False: "alone"})
    counts = values.value_counts()
    return counts if len(counts) > 1 else None


def _difference(column: str, counts: pd.Series) -> str:
    listed = ", ".join(f"{_value(value)}: {n}" for value, n in counts.items())
    ways = "two" if len(counts) == 2 else str(len(counts))
    return f"{_SENTENCES[column][0].format(ways=ways)} ({listed})"


def recount(frame: pd.DataFrame, convention: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """`frame` with `params` counted under `convention`, and how it was derived.

    Raises:
        SourceError: An unknown convention, or the source lacks the parts that it adds up.
    """
    if convention not in COUNTS:
        raise SourceError(
            f"--count {convention}: unknown convention; expected one of {', '.join(COUNTS)}. Choose one of these."
        )
    parts = COUNTS[convention]
    absent = [part for part in parts if part not in frame or frame[part].isna().any()]
    if absent:
        raise SourceError(
            f"--count {convention} adds up {' + '.join(parts)}, and {absent[0]} is missing for some runs; "
            f"the columns are {', '.join(map(str, frame.columns))}. Map the column, or leave --count out."
        )
    params = sum((pd.to_numeric(frame[part], errors="coerce") for part in parts), start=pd.Series(0, index=frame.index))
    return frame.assign(params=params, params_convention=convention), {"params": " + ".join(parts)}


def single_value(frame: pd.DataFrame, column: str) -> str | None:
    """The one value of a column of text, None where it is absent, empty or mixed."""
    if column not in frame:
        return None
    values = frame[column].dropna().unique()
    return str(values[0]) if len(values) == 1 else None


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
