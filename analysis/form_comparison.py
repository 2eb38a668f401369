"""Two sweeps compared through a form fitted to each, where IsoFLOP minima are missing.

The optimal loss of each fit, L*(C) along the sweep's own FLOPs per token, takes the place of the line through minima. The
effective-compute multiplier m at C solves L*_a(m C) = L*_b(C), and the local slope is that of ln(L* - E) against ln C
with each fit's own E. Intervals are percentiles over both fits' bootstrap draws, paired at random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.errors import LawError
from analysis.laws.surface import Surface
from analysis.results import Difference, Interval
from analysis.table import Array
from analysis.trend import t_quantile

if TYPE_CHECKING:
    from analysis.formfit import FormFit

SPAN = 20.0
"""ln m is searched between -SPAN and SPAN (chosen: a multiplier of e^20 is no comparison)."""

HALVINGS = 40
STEP = 0.05
"""Half-width in ln C over which a local slope is taken (chosen)."""


@dataclass(frozen=True, kw_only=True)
class Frontiers:
    """Optimal losses of two fits and of R - 1 draws of each; row 0 holds the estimates.

    Attributes:
        a: Loss surface of the baseline, R rows.
        b: Of the other recipe, R rows.
    """

    a: Surface
    b: Surface

    def losses(self, surface: Surface, flops: Array) -> Array:
        """L*(C) of each row, shape (R,)."""
        params = surface.optimal_params(flops)
        return surface.loss(params, surface.tokens_at(params, flops))

    def offset(self, flops: float) -> Array:
        """L*_b - L*_a, shape (R,)."""
        at = np.full(len(self.a.coefficients), flops)
        return self.losses(self.b, at) - self.losses(self.a, at)

    def slopes(self, surface: Surface, flops: float) -> Array:
        """-d ln(L* - E) / d ln C, shape (R,); the law's E is 0 where it has none."""
        names = surface.form.names
        floor = surface.coefficients[:, names.index("E")] if "E" in names else np.zeros(len(surface.coefficients))
        ends = [self.losses(surface, np.full(len(floor), flops * np.exp(side))) - floor for side in (-STEP, STEP)]
        return np.asarray(np.log(ends[0] / ends[1]) / (2 * STEP))

    def log_multiplier(self, flops: float) -> Array:
        """Ln m of each row, by bisection, shape (R,); infinite where a never reaches b's loss within e^20."""
        wanted = self.losses(self.b, np.full(len(self.b.coefficients), flops))
        low, high = np.full(len(wanted), -SPAN), np.full(len(wanted), SPAN)
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            above = self.losses(self.a, flops * np.exp(middle)) > wanted
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return np.where(high >= SPAN, np.inf, np.where(low <= -SPAN, -np.inf, low))


def fitted_frontiers(a: FormFit, b: FormFit, draws: int, seed: int = 0) -> Frontiers:
    """Frontiers of two fits with as many bootstrap draws, those of b in another order.

    Raises:
        LawError: A fit without an optimum.
    """
    order = np.random.default_rng(seed)
    return Frontiers(a=_surface(a, draws, order), b=_surface(b, draws, order))


def _surface(fit: FormFit, draws: int, order: np.random.Generator) -> Surface:
    estimate = np.array([[fit.coefficients[name] for name in fit.form.names]])
    if lost := [name for name in fit.certificate.at_bounds if name != "E"]:
        raise LawError(f"{', '.join(lost)} stopped at a limit: expected a law with an optimum. Widen the sizes.")
    found = fit.resamples.draws
    rows = found[order.permutation(len(found))[:draws]]
    return Surface(form=fit.form, coefficients=np.concatenate([estimate, rows]), shapes=fit.shapes)


def spread(
    sample: Array, level: float, power: float, equality: float = 0.0, back: Callable[[float], float] = float
) -> Difference:
    """A quantity from row 0 and the draws after it, with its percentile interval.

    Args:
        sample: Shape (R,).
        level: Nominal level.
        power: Chance with which the detectable difference would have shown.
        equality: Value that means no difference.
        back: Takes the numbers to their own scale, such as exp.
    """
    low, high = np.quantile(sample[1:], [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    ends = [None if not np.isfinite(end) else back(float(end)) for end in (low, high)]
    quantile, beyond = (t_quantile(np.inf, p) for p in (level, 2 * power - 1))
    width = float(high - low) / 2
    detectable = back(abs(equality) + width * (1 + beyond / quantile)) if np.isfinite(width) else None
    interval = Interval(ends[0], ends[1], level, "bootstrap")
    return Difference(value=back(float(sample[0])), interval=interval, detectable=detectable)


def crossing(frontiers: Frontiers, low: float, high: float) -> float | None:
    """C between two ends at which both estimates are equal, None where they keep their order."""
    first = Frontiers(a=_row(frontiers.a), b=_row(frontiers.b))
    signs = [np.sign(first.offset(C)[0]) for C in (low, high)]
    if signs[0] == signs[1]:
        return None
    ends: Sequence[float] = (np.log(low), np.log(high))
    for _ in range(HALVINGS):
        middle = 0.5 * (ends[0] + ends[1])
        ends = (middle, ends[1]) if np.sign(first.offset(float(np.exp(middle)))[0]) == signs[0] else (ends[0], middle)
    return float(np.exp(0.5 * (ends[0] + ends[1])))


def _row(surface: Surface) -> Surface:
    return Surface(form=surface.form, coefficients=surface.coefficients[:1], shapes=surface.shapes)
