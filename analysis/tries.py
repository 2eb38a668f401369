"""Tries of tuned points, as the columns `tuned` and `retrained` tell them apart, and the fresh runs of the best ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import notation
from analysis.errors import FitError
from analysis.results import Dropped
from analysis.table import Runs


def read_knobs(tuned: str) -> dict[str, float]:
    """Values of the tuned axes from the column `tuned`: "peak=0.004 batch=512".

    Raises:
        FitError: Not of this form, or a value is no positive number.
    """
    try:
        knobs = {name: float(value) for name, _, value in (part.rpartition("=") for part in tuned.split())}
    except ValueError:
        knobs = {}
    if not knobs or any(not value > 0 for value in knobs.values()):
        raise FitError(f"tuned is {tuned!r}; expected key=value with positive numbers, such as peak=0.004. Correct it.")
    return knobs


def lowest_try(losses: Mapping[str, Sequence[float]]) -> str | None:
    """Which values of tuned axes have the lowest mean loss, None where none has one.

    Args:
        losses: Losses of the seeds that each was tried on, by the values as the column `tuned` writes them.
    """
    means = {tuned: math.fsum(seen) / len(seen) for tuned, seen in losses.items() if seen}
    return min(means, key=lambda tuned: (means[tuned], tuned), default=None)


def columns_of_point(frame: pd.DataFrame) -> list[str]:
    """Columns that tell points apart."""
    return [name for name in ("setting", "budget", "params") if name in frame]


def is_retrained(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Which runs train the best try of their point again, shape (n,)."""
    if "retrained" not in frame:
        return np.zeros(len(frame), dtype=np.bool_)
    return np.asarray(frame["retrained"].eq(True).fillna(False), dtype=np.bool_)


def retrained_points(runs: Runs) -> Runs:
    """`runs` with, of each tuned point, those that train its best try again."""
    frame, again = runs.frame, is_retrained(runs.frame)
    kept, notes = list(frame.index[frame["tuned"].isna()]), []
    for _, rows in frame[frame["tuned"].notna()].groupby(columns_of_point(frame), sort=False, dropna=False):
        fresh = again[rows.index]
        tries = rows[~fresh]
        best = lowest_try({str(tuned): list(each["loss"]) for tuned, each in tries.groupby("tuned")})
        if tries.empty:  # chosen before
            kept.extend(rows.index)
            continue
        chosen = rows[fresh & (rows["tuned"] == best).to_numpy()]
        kept.extend(chosen.index)
        budget = float(rows["budget"].iloc[0]) if "budget" in rows else None
        notes.append(
            Dropped(name_of_point(float(rows["params"].iloc[0]), budget), _retrained_note(tries, best, len(chosen)))
        )
    if not set(kept) & set(frame.index[again]):
        raise FitError(
            f"the best try of none of {len(notes)} tuned points is among the runs that were trained again; expected these "
            "runs. Repeat the sweep's command, which trains what is missing."
        )
    return replace(runs, frame=frame.loc[sorted(kept)].reset_index(drop=True), dropped=(*runs.dropped, *notes))


def name_of_point(params: float, budget: float | None) -> str:
    """How a report names a point."""
    place = f"point N {notation.count(params)}"
    return place if budget is None else f"{place}, budget {notation.flops(budget)}"


def _retrained_note(tries: pd.DataFrame, best: str | None, fresh: int) -> str:
    values = tries["tuned"].nunique()
    if best is None or not fresh:
        return f"{len(tries)} runs with {values} values, of which the best was not trained again yet: left out"
    knobs = pd.DataFrame([read_knobs(text) for text in tries["tuned"].unique()])
    ends = [n for n, value in read_knobs(best).items() if len(knobs) > 1 and value in (knobs[n].min(), knobs[n].max())]
    widen = f". It lies at the end of what was tried of {', '.join(ends)}: widen the axis" if ends else ""
    return f"{len(tries)} runs with {values} values: {best} was the best, and {fresh} fresh seeds of it stand for them{widen}"
