"""The tables that `suggest` is given: what a law reads of them and what each run costs; a loss only of runs observed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.design.surface import Columns
from analysis.errors import SourceError
from analysis.forms import Form
from analysis.reading import ALIASES, Source, read_runs
from analysis.sources import load_frame

Array = NDArray[np.float64]


def read_points(source: Source, form: Form, columns: Mapping[str, str] | None = None) -> dict[str, Array]:
    """Columns that a form reads and `flops`, without looking at any loss.

    FLOPs are 6 N D where the source has no column of them.

    Raises:
        SourceError: A column is missing, or a value is no positive number.
    """
    frame, name = load_frame(source)
    mapped = {canonical: column for canonical, column in (columns or {}).items() if canonical != "loss"}
    points: dict[str, Array] = {}
    for canonical in dict.fromkeys((*form.columns, "params", "tokens", "flops")):
        column = _column(frame, canonical, mapped)
        if column is not None:
            points[canonical] = _positive(frame, column, name)
        elif canonical in form.columns:
            raise SourceError(
                f"{name} has no column {canonical!r}, which {form.name} reads; it has "
                f"{', '.join(map(str, frame.columns))}. Name it: --map {canonical}=COLUMN."
            )
    if "flops" not in points:
        if not {"params", "tokens"} <= points.keys():
            raise SourceError(
                f"{name} has no column of FLOPs, nor params and tokens; expected a cost. Map flops=COLUMN."
            )
        points["flops"] = 6 * points["params"] * points["tokens"]
    return points


def read_observed(source: Source, columns: Mapping[str, str] | None) -> pd.DataFrame:
    """Runs that are known; of the mapped columns those that this source has, for it may use other names."""
    frame, _ = load_frame(source)
    mapped = {canonical: column for canonical, column in (columns or {}).items() if column in frame.columns}
    return read_runs(source, columns=mapped, duplicates="keep").frame


def observed_among(candidates: Columns, known: pd.DataFrame, form: Form) -> NDArray[np.bool_]:
    """Which candidates were observed."""
    seen = {tuple(row) for row in known[list(form.columns)].to_numpy(np.float64)}
    rows = np.stack([candidates[name] for name in form.columns], axis=1)
    return np.array([tuple(row) in seen for row in rows], dtype=bool)


def _column(frame: pd.DataFrame, canonical: str, mapped: Mapping[str, str]) -> str | None:
    given = mapped.get(canonical)
    wanted = (given,) if given in frame.columns else (canonical, *ALIASES.get(canonical, ()))
    taken = set(mapped.values()) - set(wanted)
    return next((column for column in wanted if column in frame.columns and column not in taken), None)


def _positive(frame: pd.DataFrame, column: str, name: str) -> Array:
    values = pd.to_numeric(frame[column], errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(wrong):
        raise SourceError(
            f"{name}: {column} in row {wrong[0] + 1} is {frame[column].iloc[wrong[0]]!r}; expected a positive number. "
            "Correct or remove the row."
        )
    return values
