"""What settings make of context: held-out loss by the number of tokens that a prediction saw.

A mean over a window hides where a model is good. An LSTM may lead where little was seen and fall behind where much was
(Kaplan et al. 2020, section 3.2.1, figure 7); the crossover says from how much context on the one is better.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.conventions import settings_of
from analysis.errors import FitError
from analysis.table import Array, Runs

COLUMN = "position_losses"

RESOLVED = 2.0
"""Standard errors from which a difference counts as seen, as between whole losses."""


@dataclass(frozen=True, kw_only=True)
class ContextLosses:
    """One setting's losses by context.

    Attributes:
        setting: The setting.
        params: N of the point that is shown: the setting's best at this budget.
        tuned: Its tuned values, None without tuned axes.
        runs: Seeds that are averaged.
        loss: Mean loss of each octave, shape (octaves,).
        se: Its standard error over seeds, the variance of all settings pooled; None where no point has two seeds.
    """

    setting: str
    params: float
    tuned: str | None
    runs: int
    loss: Array
    se: Array | None


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """How a setting's loss less the baseline's changes with context.

    Attributes:
        setting: The setting.
        difference: Loss less the baseline's by octave, negative where the setting is better, shape (octaves,).
        se: Its standard error, None where the noise is unknown.
        sides: (first, last) tokens seen of the octaves on each side where the difference is resolved: with one sign on
            the side of less context, with the other on that of more; None where it does not change its sign once.
    """

    setting: str
    difference: Array
    se: Array | None
    sides: tuple[tuple[int, int], tuple[int, int]] | None


@dataclass(frozen=True, kw_only=True)
class ByContext:
    """All settings at the largest budget that they share.

    Attributes:
        budget: C in FLOPs.
        first: Fewest tokens that a prediction of each octave saw, shape (octaves,).
        last: Most.
        settings: In the order of the sweep; the first is the baseline.
        crossovers: Of every other setting.
    """

    budget: float
    first: tuple[int, ...]
    last: tuple[int, ...]
    settings: tuple[ContextLosses, ...]
    crossovers: tuple[Crossover, ...]


def losses_by_context(runs: Runs) -> ByContext:
    """Compare a sweep's settings by context, each at its best point of the largest budget that all have.

    The point is the one of lowest mean loss, over sizes and tuned values: chosen among noisy ones, so that its
    level is a little too good; differences between octaves hardly are.

    Args:
        runs: Runs with the columns `setting`, `budget` and `position_losses`.

    Raises:
        FitError: Fewer than two settings, no losses by context, contexts or mixtures that differ, or no budget that all
            settings have.
    """
    names = settings_of(runs.frame)
    frame = _known(runs)
    if len(names) < 2 or set(names) - set(frame["setting"]):
        raise FitError(
            f"{len(names)} settings in {runs.source or 'the table'}, of which {frame['setting'].nunique()} have losses by "
            "context; expected at least two, and all. Compare runs of one trainer."
        )
    if "mixture" in frame and frame["mixture"].nunique() > 1:
        raise FitError(
            "the settings train on several mixtures, and each loss is by its own; expected one held-out text."
        )
    budgets = set.intersection(*(set(rows["budget"]) for _, rows in frame.groupby("setting")))
    if not budgets:
        raise FitError("no budget has runs of every setting; expected one. Add a budget to all.")
    budget = max(budgets)
    here = frame[frame["budget"] == budget]
    octaves = {tuple((part["first"], part["last"]) for part in parts) for parts in here["parts"]}
    if len(octaves) > 1:
        raise FitError(f"the settings have {len(octaves)} contexts; expected one. Compare settings of one context.")
    points = {name: _best_point(here[here["setting"] == name]) for name in names}
    variance = _pooled_variance(list(points.values()))
    settings = tuple(_losses(name, points[name], variance) for name in names)
    first, last = zip(*octaves.pop(), strict=True)
    crossovers = tuple(_crossover(settings[0], other, first, last) for other in settings[1:])
    return ByContext(budget=budget, first=first, last=last, settings=settings, crossovers=crossovers)


def _known(runs: Runs) -> pd.DataFrame:
    frame = runs.frame
    if any(column not in frame for column in (COLUMN, "setting", "budget")):
        raise FitError(f"{runs.source or 'the table'} has no losses by context; expected the column {COLUMN}.")
    kept = frame[frame[COLUMN].notna()]
    return kept.assign(parts=[json.loads(text) for text in kept[COLUMN]])


def _best_point(rows: pd.DataFrame) -> pd.DataFrame:
    """The runs of the point with the lowest mean loss."""
    keys = ["params", *(["tuned"] if "tuned" in rows and rows["tuned"].notna().any() else [])]
    groups = [group for _, group in rows.groupby(keys)]
    return min(groups, key=lambda group: float(group["loss"].mean()))


def _table(rows: pd.DataFrame) -> Array:
    """Losses, shape (seeds, octaves)."""
    return np.array([[part["loss"] for part in parts] for parts in rows["parts"]], dtype=np.float64)


def _pooled_variance(points: Sequence[pd.DataFrame]) -> Array | None:
    """Variance of one run's loss in each octave, over the seeds of all points; None without replicates."""
    tables = [_table(rows) for rows in points]
    degrees = sum(len(table) - 1 for table in tables)
    if not degrees:
        return None
    squares = sum(((table - table.mean(0)) ** 2).sum(0) for table in tables)
    return np.asarray(squares / degrees, dtype=np.float64)


def _losses(name: str, rows: pd.DataFrame, variance: Array | None) -> ContextLosses:
    tuned = rows["tuned"].iloc[0] if "tuned" in rows else None
    return ContextLosses(
        setting=name,
        params=float(rows["params"].iloc[0]),
        tuned=tuned if isinstance(tuned, str) else None,
        runs=len(rows),
        loss=_table(rows).mean(0),
        se=None if variance is None else np.sqrt(variance / len(rows)),
    )


def _crossover(baseline: ContextLosses, other: ContextLosses, first: Sequence[int], last: Sequence[int]) -> Crossover:
    difference = other.loss - baseline.loss
    if baseline.se is None or other.se is None:
        return Crossover(setting=other.setting, difference=difference, se=None, sides=None)
    se = np.hypot(baseline.se, other.se)
    seen = [i for i in range(len(difference)) if abs(difference[i]) > RESOLVED * se[i]]
    turns = [(a, b) for a, b in itertools.pairwise(seen) if math.copysign(1, difference[a] * difference[b]) < 0]
    sides = None
    if len(turns) == 1:
        ((before, after),) = turns
        sides = (first[seen[0]], last[before]), (first[after], last[seen[-1]])
    return Crossover(setting=other.setting, difference=difference, se=se, sides=sides)
