"""Settings of one sweep against its baseline: what each gains at every budget, and whether that is more than noise.

At each budget a setting's level is the minimum of its IsoFLOP curve, or where it has none inside, its lowest point. The
offset from the baseline is averaged over budgets with weights 1/se², and its trend over decades of compute says
whether the gain grows. An offset below two standard errors is not resolved: the noise says how many runs would.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparison import Comparison, compare
from analysis.conventions import settings_of
from analysis.documents import jsonable
from analysis.errors import AnalysisError, FitError
from analysis.minima import CurveMinimum
from analysis.provisional import provisional_minima
from analysis.results import Interval
from analysis.table import Array, Runs
from analysis.tuning import PRIOR_DEGREES, one_point_each, tuned_points

RESOLVED = 2.0
"""Standard errors from which an offset counts as seen (chosen: 95 %)."""

POWER = 0.8
"""Chance of being resolved that `detectable` promises, the usual choice in planning experiments."""

_POWER_QUANTILE = NormalDist().inv_cdf(POWER)


@dataclass(frozen=True, kw_only=True)
class Level:
    """What a setting reaches at one budget.

    Attributes:
        setting: The setting.
        budget: C in FLOPs.
        loss: The curve's minimum, or the lowest point's loss.
        se: Its standard error; None where nothing says what the noise is.
        params: N*, or N of the lowest point.
        params_interval: Interval of N*; None where there is no minimum inside.
        runs: Runs behind the curve.
        flops: What they cost, C each.
    """

    setting: str
    budget: float
    loss: float
    se: float | None
    params: float
    params_interval: Interval | None
    runs: int
    flops: float


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """What would resolve an offset of the size that was seen.

    Attributes:
        budget: C of the curves to repeat, where it costs least.
        times: How often the runs there must be made in all, those made included.
        flops: What the further runs cost.
    """

    budget: float
    times: int
    flops: float


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A setting against the baseline.

    Attributes:
        setting: The setting.
        offsets: (C, loss minus the baseline's, standard error) at every budget that both have.
        offset: Their mean; negative where the setting is better.
        se: Its standard error, widened where budgets differ by more than their errors; None where noise is unknown.
        trend: Change of the offset over a decade of compute; None with one budget.
        trend_se: Its standard error.
        detectable: Smallest offset that would have been resolved with probability .8.
        remedy: What would resolve it; None where it is resolved, where the noise is unknown, or where the budgets differ by
            so much more than their noise that more runs would not.
        comparison: Effective compute and slopes, where both have two minima inside.
    """

    setting: str
    offsets: tuple[tuple[float, float, float | None], ...]
    offset: float
    se: float | None
    trend: float | None
    trend_se: float | None
    detectable: float | None
    remedy: Remedy | None
    comparison: Comparison | None

    @property
    def resolved(self) -> bool:
        """Whether the offset is more than two standard errors."""
        return self.se is not None and abs(self.offset) > RESOLVED * self.se


@dataclass(frozen=True, kw_only=True)
class SettingsComparison:
    """All settings of a sweep.

    Attributes:
        baseline: The first setting, which the others are held against.
        levels: By budget, then in the order of the sweep.
        effects: Of every other setting.
    """

    baseline: str
    levels: tuple[Level, ...]
    effects: tuple[Effect, ...]

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        document: dict[str, Any] = jsonable({"baseline": self.baseline, "levels": self.levels, "effects": self.effects})
        for effect, each in zip(self.effects, document["effects"], strict=True):
            each["resolved"] = effect.resolved
            each["comparison"] = effect.comparison and effect.comparison.to_json()
        return document


def sources_of(frame: pd.DataFrame) -> list[str]:
    """Sources that each run was evaluated on apart; empty where there is one."""
    if "losses" not in frame:
        return []
    kept = frame["losses"].dropna()
    return list(dict.fromkeys(each["source"] for text in kept for each in json.loads(text)))


def on_source(runs: Runs, source: str) -> Runs:
    """The runs with their loss on one source of a mixture in place of the mean by their own mixture's weights.

    Raises:
        FitError: A run has no loss on that source.
    """
    found = [
        {each["source"]: each for each in json.loads(text)}.get(source) if isinstance(text, str) else None
        for text in (runs.frame["losses"] if "losses" in runs.frame else [None] * len(runs))
    ]
    missing = sum(each is None for each in found)
    if missing:
        raise FitError(
            f"{missing} of {len(runs)} runs have no loss on {source!r}; expected one of "
            f"{', '.join(sources_of(runs.frame)) or 'no source: each was evaluated on one text'}. Choose one of these."
        )
    columns = {name: [float(each[name]) for each in found if each is not None] for name in ("loss", "loss_se")}
    return replace(runs, frame=runs.frame.assign(**columns))


def compare_settings(runs: Runs, *, baseline: str | None = None, level: float = 0.9) -> SettingsComparison:
    """Hold every setting of a sweep against one of them.

    Args:
        runs: Runs with a column `setting`.
        baseline: The setting to compare with; None for the sweep's first.
        level: Nominal level of the intervals.

    Raises:
        FitError: Fewer than two settings, or one shares no budget with the baseline.
    """
    names = settings_of(runs.frame)
    if len(names) < 2:
        raise FitError(f"{len(names)} settings in {runs.source or 'the table'}; a comparison takes two. Add settings.")
    first = baseline or names[0]
    by_setting = {name: runs.where(setting=name) for name in names}
    levels = {name: _levels(name, each, level) for name, each in by_setting.items()}
    if first not in levels:
        raise FitError(f"baseline {first!r}: not a setting; expected one of {', '.join(names)}. Choose one of these.")
    effects = [
        _effect(name, levels[first], levels[name], _frontiers(by_setting[first], by_setting[name], level))
        for name in names
        if name != first
    ]
    ordered = sorted((each for rows in levels.values() for each in rows), key=lambda each: each.budget)
    return SettingsComparison(baseline=first, levels=tuple(ordered), effects=tuple(effects))


def _frontiers(a: Runs, b: Runs, level: float) -> Comparison | None:
    try:
        return compare(a, b, level=level)
    except AnalysisError:
        return None


def _levels(setting: str, runs: Runs, level: float) -> list[Level]:
    tuned = {(point.budget, point.params): point.loss_se for point in tuned_points(runs)}
    minima = provisional_minima(one_point_each(runs), level=level)
    made = runs.frame.groupby("budget")["flops"].agg(["size", "sum"])
    return [
        _level(setting, minimum, variance, tuned, int(made["size"][minimum.budget]), float(made["sum"][minimum.budget]))
        for minimum, variance in zip(minima, _variances(minima), strict=True)
    ]


def _variances(minima: Sequence[CurveMinimum]) -> list[float | None]:
    """Variance of one run at each budget by its replicates, drawn towards that of all; None without replicates."""
    squares = np.array([m.curve.squares for m in minima])
    degrees = np.array([float((m.curve.replicates - 1).sum()) for m in minima])
    if not degrees.sum():
        return [None] * len(minima)
    common = squares.sum() / degrees.sum()
    return [float(value) for value in (PRIOR_DEGREES * common + squares) / (PRIOR_DEGREES + degrees)]


def _level(
    setting: str,
    minimum: CurveMinimum,
    variance: float | None,
    tuned: dict[tuple[float | None, float], float | None],
    runs: int,
    flops: float,
) -> Level:
    curve = minimum.curve
    if minimum.usable and minimum.loss is not None and minimum.params is not None:
        loss, se, params, interval = minimum.loss, minimum.loss_se, minimum.params, minimum.params_interval
    else:
        i = int(curve.loss.argmin())
        loss, params, interval = float(curve.loss[i]), float(curve.params[i]), None
        se = None if variance is None else math.sqrt(variance / curve.replicates[i])
        se = tuned.get((minimum.budget, params), se)
    return Level(
        setting=setting, budget=minimum.budget, loss=loss, se=se, params=params, params_interval=interval,
        runs=runs, flops=flops,
    )  # fmt: skip


def _effect(setting: str, baseline: list[Level], levels: list[Level], comparison: Comparison | None) -> Effect:
    pairs = [(a, b) for a in baseline for b in levels if a.budget == b.budget]
    if not pairs:
        raise FitError(f"setting {setting} shares no budget with {baseline[0].setting}; expected one. Add a budget.")
    offsets = [(b.budget, b.loss - a.loss, _hypot(a.se, b.se)) for a, b in pairs]
    offset, se, trend, trend_se = _averaged(offsets)
    noise = _noise_of_mean(offsets)
    unresolved = noise is not None and abs(offset) <= RESOLVED * noise
    return Effect(
        setting=setting,
        offsets=tuple(offsets),
        offset=offset,
        se=se,
        trend=trend,
        trend_se=trend_se,
        detectable=None if se is None else (RESOLVED + _POWER_QUANTILE) * se,
        remedy=_remedy(pairs, offset) if unresolved else None,
        comparison=comparison,
    )


def _hypot(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else math.hypot(a, b)


def _averaged(
    offsets: Sequence[tuple[float, float, float | None]],
) -> tuple[float, float | None, float | None, float | None]:
    """Mean offset and its trend per decade, each with its error."""
    values = np.array([value for _, value, _ in offsets])
    decades = np.log10([flops for flops, _, _ in offsets])
    known = all(se is not None and se > 0 for _, _, se in offsets)
    errors = np.array([se for _, _, se in offsets], dtype=np.float64) if known else np.ones_like(values)
    weights = errors**-2
    mean = float(weights @ values / weights.sum())
    excess = _excess(values - mean, errors, 1) if known else 1.0
    se = float(excess / math.sqrt(weights.sum())) if known else None
    if len(values) < 2:
        return mean, se, None, None
    x = decades - weights @ decades / weights.sum()
    slope = float((weights * x) @ values / ((weights * x) @ x))
    slope_excess = _excess(values - mean - slope * x, errors, 2) if known else 1.0
    return mean, se, slope, float(slope_excess / math.sqrt((weights * x) @ x)) if known else None


def _noise_of_mean(offsets: Sequence[tuple[float, float, float | None]]) -> float | None:
    """Standard error of the mean offset by the runs' noise alone, not widened where budgets differ."""
    errors = [se for _, _, se in offsets if se]
    return 1 / math.sqrt(sum(se**-2 for se in errors)) if len(errors) == len(offsets) else None


def _excess(residuals: Array, errors: Array, fitted: int) -> float:
    """Factor on errors where the residuals are larger than they say; never below 1."""
    degrees = len(residuals) - fitted
    return max(1.0, math.sqrt(float(((residuals / errors) ** 2).sum()) / degrees)) if degrees > 0 else 1.0


def _remedy(pairs: Sequence[tuple[Level, Level]], offset: float) -> Remedy | None:
    """The budget at which repeating both curves resolves an offset of this size for the fewest FLOPs."""
    found = []
    for a, b in pairs:
        error = _hypot(a.se, b.se)
        if error is None or not offset:
            continue
        times = max(2, math.ceil((RESOLVED * error / abs(offset)) ** 2))
        found.append(Remedy(budget=a.budget, times=times, flops=(times - 1) * (a.flops + b.flops)))
    return min(found, key=lambda remedy: remedy.flops, default=None)
