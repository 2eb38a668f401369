"""How the best learning rate moves with width: does a rate tuned on a narrow model serve a wide one?

Every point that was tried at several rates gives a best rate with its standard error (`analysis.tuning`); the slope of
its log on log width is 0 where the rate transfers, and -1 where it must fall as 1 / width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.errors import FitError
from analysis.results import Interval
from analysis.table import Runs
from analysis.trend import t_quantile
from analysis.tuning import TunedPoint, tuned_points

RATE_NAMES = ("peak", "learning_rate")
"""What a tuned axis of learning rates is called in the column `tuned`."""

LEAST_WIDTH = 32
"""Narrower models are shown and not fitted: at 16 the best rates of two seeds lie a factor of two apart."""

FLAT = 0.2
"""Slope that counts as transfer: over a factor of 8 in width the rate moves by less than 2^.6 (chosen)."""

Verdict = Literal["transfers", "drifts", "not resolved"]


@dataclass(frozen=True, kw_only=True)
class BestRate:
    """The best rate of one point.

    Attributes:
        width: Width of the model.
        tokens: D.
        rate: Best rate.
        log2_se: Standard error of log2 of it; None where it has none, see `analysis.tuning`.
        point: The valley.
    """

    width: float
    tokens: float
    rate: float
    log2_se: float | None
    point: TunedPoint


@dataclass(frozen=True, kw_only=True)
class Slope:
    """Slope of log2 of the best rate on log2 of width or tokens."""

    value: float
    se: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class RateTransfer:
    """The best rates of one setting.

    Attributes:
        setting: The setting; None for a sweep of one.
        rates: Best rates by width, then tokens.
        fitted: Those of them that the slopes are of.
        width: Their slope on width; None with too few widths.
        tokens: Their slope on tokens beside it; None where tokens do not vary apart from width.
        verdict: What the slope on width says.
    """

    setting: str | None
    rates: tuple[BestRate, ...]
    fitted: tuple[BestRate, ...]
    width: Slope | None
    tokens: Slope | None

    @property
    def verdict(self) -> Verdict:
        """`transfers` with the whole interval inside ±.2, `drifts` with all of it outside."""
        if self.width is None or self.width.interval.low is None or self.width.interval.high is None:
            return "not resolved"
        low, high = self.width.interval.low, self.width.interval.high
        if max(abs(low), abs(high)) <= FLAT:
            return "transfers"
        return "drifts" if high < -FLAT or low > FLAT else "not resolved"


def fit_transfer(runs: Runs, *, least_width: float = LEAST_WIDTH, level: float = 0.9) -> tuple[RateTransfer, ...]:
    """Best rate against width, for every setting whose rates were tuned.

    Args:
        runs: Runs with columns `tuned` and `width`.
        least_width: Narrower models are left out of the slopes.
        level: Nominal level of the intervals.

    Raises:
        FitError: No rates were tuned.
    """
    by_setting: dict[str | None, list[BestRate]] = {}
    for point in tuned_points(runs) if "width" in runs.frame else ():
        if (name := next((name for name in RATE_NAMES if name in point.knobs), None)) is not None:
            by_setting.setdefault(point.setting, []).append(_best(runs, point, name))
    if not by_setting:
        raise FitError(
            f"{runs.source or 'the table'} has no tuned learning rates; expected them in the column `tuned`. "
            "List optimizer.learning_rate.peak under axes and tune."
        )
    return tuple(_transfer(setting, rates, least_width, level) for setting, rates in by_setting.items())


def _best(runs: Runs, point: TunedPoint, name: str) -> BestRate:
    rows = list(point.rows)
    se = point.log_se[name]
    return BestRate(
        width=float(runs.column("width")[rows[0]]),
        tokens=float(runs.column("tokens")[rows].mean()),
        rate=point.knobs[name],
        log2_se=None if se is None else se / math.log(2),
        point=point,
    )


def _transfer(setting: str | None, rates: list[BestRate], least_width: float, level: float) -> RateTransfer:
    ordered = tuple(sorted(rates, key=lambda best: (best.width, best.tokens)))
    used = tuple(best for best in ordered if best.log2_se is not None and best.width >= least_width)
    slopes = _slopes(used, level)
    return RateTransfer(
        setting=setting, rates=ordered, fitted=used, width=slopes.get("width"), tokens=slopes.get("tokens")
    )


def _slopes(rates: Sequence[BestRate], level: float) -> dict[str, Slope]:
    """Weighted least squares; errors are widened where the rates scatter by more than they say."""
    if len({best.width for best in rates}) < 3:
        return {}
    width, tokens = (np.log2([getattr(best, name) for best in rates]) for name in ("width", "tokens"))
    columns = {"one": np.ones_like(width), "width": width - width.mean(), "tokens": tokens - tokens.mean()}
    X = np.stack(list(columns.values()), axis=1)
    if len(rates) < 4 or np.linalg.cond(X) > 1e3 or np.ptp(tokens) < 0.5:
        columns.pop("tokens")
        X = X[:, :2]
    errors = np.array([best.log2_se for best in rates], dtype=np.float64)
    y = np.log2([best.rate for best in rates])
    covariance = np.linalg.inv(X.T @ (X / errors[:, None] ** 2))
    solution = covariance @ (X.T @ (y / errors**2))
    degrees = len(y) - X.shape[1]
    misfit = float((((y - X @ solution) / errors) ** 2).sum()) / degrees if degrees else 1.0
    found = {}
    for i, name in enumerate(columns):
        se = float(np.sqrt(covariance[i, i] * max(1.0, misfit)))
        half = t_quantile(_degrees(rates), level) * se
        value = float(solution[i])
        found[name] = Slope(value=value, se=se, interval=Interval(value - half, value + half, level, "t"))
    return found


def _degrees(rates: Sequence[BestRate]) -> float:
    """Degrees of freedom of the runs' noise."""
    return float(max(sum((best.point.tried["runs"] - 1).sum() for best in rates), 1))
