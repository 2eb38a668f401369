"""Two sweeps compared: what is one recipe's compute worth in the other's, and is the slope really the same?

Both loss frontiers are L*(C) = E + e^k (C/C0)^-γ with one E, that of the shared evaluation text. Then recipe b at C
reaches what recipe a reaches at m C, with ln m = (k_a - k_b - (γ_a - γ_b) ln(C/C0)) / γ_a: the effective-compute
multiplier. A recipe with the same slope is worth a constant factor; only a different slope gains with scale.

Minima with their errors come from approach 2. E is hardly known from small budgets, so that every interval is the range
over all E that the minima allow, as in `analysis.frontier`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis import notation
from analysis.conventions import MixKind, refuse_mixtures
from analysis.documents import jsonable
from analysis.errors import FitError
from analysis.isoflop import fit_isoflop
from analysis.minima import CurveMinimum
from analysis.results import FitWarning, Interval
from analysis.table import Array, Runs
from analysis.trend import t_quantile

POWER = 0.8
"""Chance of seeing a difference that `detectable` promises, the usual choice in planning experiments."""

_FLOORS = 400


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One compared quantity.

    Attributes:
        value: Its estimate.
        interval: Profile interval over every E that the minima allow.
        detectable: Smallest difference from equality that this comparison would have shown with probability .8, on the
            quantity's own scale (a factor for multipliers); None where the interval is open.
    """

    value: float
    interval: Interval
    detectable: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Sweep b against sweep a.

    Attributes:
        flops: C at which offset and multiplier are stated: the geometric middle of the shared range.
        offset: L*_b - L*_a at that C in nats; negative where b is better.
        slope_difference: γ_b - γ_a; positive where b gains on a with scale.
        multiplier: Compute of a that equals one unit of b's at that C; above 1 where b is better.
        multipliers: The same at other C, by C.
        crossover: C at which both are equal; None where the slopes are not told apart.
        level: Nominal level of the intervals.
        budgets: Number of minima of a and of b.
        warnings: What weakens the comparison.
    """

    flops: float
    offset: Difference
    slope_difference: Difference
    multiplier: Difference
    multipliers: dict[float, Difference]
    crossover: float | None
    level: float
    budgets: tuple[int, int]
    warnings: tuple[FitWarning, ...]

    def to_json(self) -> dict[str, Any]:
        """The comparison as a JSON object; numbers at the top level, each beside its interval."""
        document: dict[str, Any] = jsonable(
            {
                "flops": self.flops,
                "multiplier": self.multiplier.value,
                "multiplier_interval": self.multiplier.interval,
                "multiplier_detectable": self.multiplier.detectable,
                "offset": self.offset.value,
                "offset_interval": self.offset.interval,
                "offset_detectable": self.offset.detectable,
                "slope_difference": self.slope_difference.value,
                "slope_difference_interval": self.slope_difference.interval,
                "slope_difference_detectable": self.slope_difference.detectable,
                "crossover": self.crossover,
                "at": [
                    {"flops": C, "multiplier": d.value, "interval": d.interval} for C, d in self.multipliers.items()
                ],
                "budgets": {"a": self.budgets[0], "b": self.budgets[1]},
                "warnings": [{"code": w.code, "message": w.message} for w in self.warnings],
            }
        )
        return document


def compare(
    a: Runs,
    b: Runs,
    *,
    flops: Sequence[float] = (),
    level: float = 0.9,
    allow_mixed: Collection[MixKind] = (),
) -> Comparison:
    """Compare the compute-optimal losses of two sweeps.

    Args:
        a: The baseline's runs, at two budgets or more.
        b: The other recipe's runs.
        flops: Further C at which to state the multiplier, beside the ends of the shared range and ten times its top.
        level: Nominal level of the intervals.
        allow_mixed: Differences between the sweeps taken on purpose: `flops_rule`, `evaluation`, `decay`.

    Raises:
        ConventionError: The sweeps count FLOPs or evaluate differently.
        FitError: A sweep has fewer than two budgets with a minimum inside, or its loss does not fall with compute.
    """
    _refuse_different(a, b, allow_mixed)
    first, second = _minima(a, "a", level), _minima(b, "b", level)
    low, high = _shared(first, second)
    pair = _Pair.of(first, second, middle=float(np.sqrt(low * high)))
    stated = dict.fromkeys([low, high, 10 * high, *flops])
    slope = pair.difference(lambda k, g, _: (g[1] - g[0], _stack(g, (0.0, -1.0, 0.0, 1.0))), level)
    told_apart = slope.interval.low is not None and not _contains(slope.interval, 0.0)
    k, g = pair.best()
    crossover = pair.middle * float(np.exp((k[0] - k[1]) / (g[0] - g[1]))) if told_apart else None
    multiplier = pair.multiplier(pair.middle, level)
    return Comparison(
        flops=pair.middle,
        offset=pair.difference(_offset, level),
        slope_difference=slope,
        multiplier=multiplier,
        multipliers={C: pair.multiplier(C, level) for C in stated},
        crossover=crossover,
        level=level,
        budgets=(len(first), len(second)),
        warnings=tuple(_warnings(first, second, slope, multiplier, crossover, level)),
    )


Quantity = Callable[[Array, Array, Array], tuple[Array, Array]]
"""(k of a and b, γ of a and b, E) -> value and its gradient by (k_a, γ_a, k_b, γ_b), over grids of E.

Shapes: (2, m), (2, m) and (m,) in; (m,) and (4, m) out.
"""


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Both frontiers at every E of a grid, in logarithms of C over `middle`.

    Attributes:
        floors: E, shape (m,).
        k: ln(L* - E) at the middle, shape (2, m).
        gamma: Slopes, shape (2, m).
        covariance: Of (k, γ) of each, shape (2, m, 2, 2).
        misfit: Weighted squares of both together, shape (m,).
        degrees: Degrees of freedom of the minima's errors.
        dispersion: Factor on their variances where the frontiers miss the minima by more.
        middle: C0.
    """

    floors: Array
    k: Array
    gamma: Array
    covariance: Array
    misfit: Array
    degrees: float
    dispersion: float
    middle: float

    @classmethod
    def of(cls, a: Sequence[CurveMinimum], b: Sequence[CurveMinimum], *, middle: float) -> _Pair:
        lowest = min(m.loss or np.inf for m in (*a, *b))
        floors = lowest * (1 - np.concatenate([[1.0], np.geomspace(0.999, 1e-3, _FLOORS - 1)]))
        lines = [_log_lines(minima, floors, middle) for minima in (a, b)]
        misfit = lines[0][2] + lines[1][2]
        left = len(a) + len(b) - 5
        known = all(m.noise is not None for m in (*a, *b))
        degrees = float(sum(m.noise.degrees for m in (*a, *b) if m.noise)) if known else float(max(left, 0))
        scale = float(misfit.min()) / left if left > 0 else 1.0
        return cls(
            floors=floors,
            k=np.stack([line[0][:, 0] for line in lines]),
            gamma=np.stack([line[0][:, 1] for line in lines]),
            covariance=np.stack([line[1] for line in lines]),
            misfit=misfit,
            degrees=degrees,
            dispersion=max(1.0, scale) if known else scale,
            middle=middle,
        )

    def best(self) -> tuple[Array, Array]:
        """(k, γ) of a and b at the E that fits best; shapes (2,)."""
        i = int(self.misfit.argmin())
        return self.k[:, i], self.gamma[:, i]

    def difference(self, quantity: Quantity, level: float, equality: float = 0.0) -> Difference:
        """A quantity with its profile interval, and the departure from `equality` that would have shown."""
        value, gradient = quantity(self.k, self.gamma, self.floors)
        i = int(self.misfit.argmin())
        if self.degrees <= 0:
            return Difference(value=float(value[i]), interval=Interval(None, None, level, "profile"), detectable=None)
        parts = gradient.reshape(2, 2, -1)
        variance = np.einsum("sim,smij,sjm->m", parts, self.covariance, parts)
        quantile = t_quantile(self.degrees, level)
        room = np.maximum(self.misfit.min() + self.dispersion * quantile**2 - self.misfit, 0)
        allowed = room > 0
        half = np.sqrt(room * variance)
        low, high = float((value - half)[allowed].min()), float((value + half)[allowed].max())
        se = (high - low) / 2 / quantile
        detectable = abs(equality) + (quantile + t_quantile(self.degrees, 2 * POWER - 1)) * se
        return Difference(
            value=float(value[i]), interval=Interval(low, high, level, "profile"), detectable=float(detectable)
        )

    def multiplier(self, flops: float, level: float) -> Difference:
        """The effective-compute multiplier at C = `flops`."""
        x = np.log(flops / self.middle)

        def log_multiplier(k: Array, g: Array, _: Array) -> tuple[Array, Array]:
            value = (k[0] - k[1] - (g[0] - g[1]) * x) / g[0]
            return value, np.stack([1 / g[0], -(value + x) / g[0], -1 / g[0], x / g[0]])

        log = self.difference(log_multiplier, level)
        ends = (log.interval.low, log.interval.high)
        low, high = (None if end is None or abs(end) > 700 else float(np.exp(end)) for end in ends)
        detectable = None if log.detectable is None or log.detectable > 700 else float(np.exp(log.detectable))
        return Difference(
            value=float(np.exp(log.value)), interval=Interval(low, high, level, "profile"), detectable=detectable
        )


def _offset(k: Array, g: Array, _: Array) -> tuple[Array, Array]:
    a, b = np.exp(k)
    zero = np.zeros_like(a)
    return b - a, np.stack([-a, zero, b, zero])


def _stack(g: Array, gradient: Sequence[float]) -> Array:
    return np.repeat(np.array(gradient)[:, None], g.shape[1], axis=1)


def _log_lines(minima: Sequence[CurveMinimum], floors: Array, middle: float) -> tuple[Array, Array, Array]:
    """Lines ln(L* - E) = k - γ ln(C/C0) at every E: coefficients (m, 2), covariances (m, 2, 2), misfits (m,)."""
    x = np.log(np.array([m.budget for m in minima]) / middle)
    losses = np.array([m.loss for m in minima], dtype=np.float64)
    known = all(m.loss_se is not None for m in minima)
    se = np.array([m.loss_se for m in minima], dtype=np.float64) if known else np.ones_like(losses)
    se = np.maximum(se, 1e-9 * losses)
    above = losses - floors[:, None]
    weights = (above / se) ** 2
    X = np.stack([np.ones_like(x), -x], axis=1)
    covariance = np.linalg.inv(np.einsum("mn,ni,nj->mij", weights, X, X))
    coefficients = np.einsum("mij,mn,nj,mn->mi", covariance, weights, X, np.log(above))
    residual = np.log(above) - coefficients @ X.T
    return coefficients, covariance, (weights * residual**2).sum(axis=1)


def _minima(runs: Runs, name: str, level: float) -> list[CurveMinimum]:
    try:
        fit = fit_isoflop(runs, level=level)
    except FitError as error:
        raise FitError(f"sweep {name}: {error}") from None
    found = [m for m in fit.minima if m.usable]
    if len(found) < 2:
        raise FitError(
            f"sweep {name} has {len(found)} budgets with a minimum inside; a comparison of frontiers needs two. "
            "Add sizes on the side where the minimum is missing."
        )
    losses = [m.loss or np.inf for m in found]
    if np.polyfit(np.log([m.budget for m in found]), losses, 1)[0] >= 0:
        raise FitError(f"sweep {name}: its loss does not fall with compute; expected a frontier. Check its budgets.")
    return found


def _refuse_different(a: Runs, b: Runs, allow_mixed: Collection[MixKind]) -> None:
    columns = ["flops_rule", "corpus", "heldout_tokens", "context", "decayed"]
    both = pd.concat([runs.frame.reindex(columns=columns).head(1) for runs in (a, b)], ignore_index=True)
    rules = np.array([runs.flops_rule for runs in (a, b)], dtype=object)
    kinds: list[MixKind] = [k for k in ("flops_rule", "evaluation", "decay") if k not in allow_mixed]
    refuse_mixtures(both.assign(flops_rule=rules), kinds=kinds)


def _shared(a: Sequence[CurveMinimum], b: Sequence[CurveMinimum]) -> tuple[float, float]:
    """Ends of the range of C that both cover; the gap between them where they do not overlap."""
    low, high = max(a[0].budget, b[0].budget), min(a[-1].budget, b[-1].budget)
    return min(low, high), max(low, high)


def _contains(interval: Interval, value: float) -> bool:
    return (interval.low is None or interval.low <= value) and (interval.high is None or value <= interval.high)


def _warnings(
    a: Sequence[CurveMinimum], b: Sequence[CurveMinimum], slope: Difference, multiplier: Difference,
    crossover: float | None, level: float,
) -> list[FitWarning]:  # fmt: skip
    found = []
    if max(a[0].budget, b[0].budget) > min(a[-1].budget, b[-1].budget):
        message = (
            f"the sweeps' budgets do not overlap ({_range(a)} and {_range(b)} FLOPs): one frontier is extrapolated. "
            "Repeat one budget in both."
        )
        found.append(FitWarning("extrapolation", message, 4.0))
    reach = (0.1 * min(a[0].budget, b[0].budget), 10 * max(a[-1].budget, b[-1].budget))
    if crossover is not None and not reach[0] < crossover < reach[1]:
        message = f"the crossover at {notation.flops(crossover)} FLOPs lies more than ten times outside the budgets."
        found.append(FitWarning("extrapolation", message, 3.0))
    if _contains(slope.interval, 0.0) and slope.detectable is not None:
        message = (
            f"the slopes are not told apart ({slope.value:+.3g}); a difference below {slope.detectable:.2g} would "
            "not have "
            "shown. Don't extrapolate a change of the multiplier."
        )
        found.append(FitWarning("slopes_not_told_apart", message, 1.5))
    if _contains(multiplier.interval, 1.0) and multiplier.detectable is not None:
        message = (
            f"at the middle of the budgets neither is better beyond doubt ({level:.0%}); a multiplier below "
            f"{multiplier.detectable:.3g} would not have shown. Add seeds near the minima."
        )
        found.append(FitWarning("no_difference_seen", message, 2.0))
    if min(len(a), len(b)) < 3:
        message = (
            f"{len(a)} and {len(b)} budgets with a minimum inside: a slope from two points rests on their noise "
            "alone. Add budgets."
        )
        found.append(FitWarning("few_budgets", message, 3.0))
    return sorted(found, key=lambda warning: -warning.severity)


def _range(minima: Sequence[CurveMinimum]) -> str:
    return f"{notation.flops(minima[0].budget)} to {notation.flops(minima[-1].budget)}"
