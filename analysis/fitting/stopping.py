"""Intervals of a sweep that stopped when its own interval was narrow enough.

Such a sweep stops early where its noise happens to look small, so that intervals at the stop are too narrow: of 90 % ones
83 to 91 % hold the truth (`benchmarks/coverage.py`). No formula says by how much, but the sweep can be played again: its
law made linear at the fit, Gaussian noise, the same standard errors, and a look after every run from the first on which
it may have stopped. The interval is widened by what those sweeps need.

How narrow was wanted in units of the true noise is not known, so the worst of many wishes is taken; the quantity asked
about is taken for the one whose interval was watched, which is worse for it than if another was; and what would have been run
later is taken to repeat what was.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.covariance import LEVERAGE_POWER

Array = NDArray[np.float64]

REPLAYS = 2000
"""Simulated sweeps (chosen: the quantile's own error is then about 1.5 %)."""

WISHES = 12
"""Widths wanted, between those seen at the first and at the last look (chosen)."""

AHEAD = 2.0
"""How far beyond its own number of runs a sweep could have gone on (chosen)."""

MOST_LOOKS = 40
"""Looks that are played; more of them are thinned evenly (chosen: neighbouring looks hardly differ)."""


def stopping_factor(
    jacobian: Array, index: int, first_look: int, level: float, *, looks: Sequence[int] | None = None, seed: int = 0
) -> float:
    """How much wider an interval must be for a sweep that watched it, at least 1.

    Args:
        jacobian: Of all coordinates, in the order in which runs came, shape (n, P).
        index: The coordinate that is asked about.
        first_look: Runs after which the sweep may first have stopped.
        level: Nominal coverage.
        looks: Numbers of runs at which it looked; None for every one from the first, up to twice as many as it made.
        seed: Seed of the noise.
    """
    from scipy.special import stdtrit

    count, coordinates = jacobian.shape
    if looks is None:
        last = int(AHEAD * count)
        first = min(max(first_look, coordinates + 2), last)
        looks = np.unique(np.linspace(first, last, MOST_LOOKS).round().astype(int)).tolist()
    rows = np.arange(max(looks)) % count
    noise = np.random.default_rng(seed).standard_normal((REPLAYS, len(rows)))
    errors, spans = np.empty((len(looks), REPLAYS)), np.empty((len(looks), REPLAYS))
    for k, n in enumerate(looks):
        error, se = _estimate(jacobian[rows[:n]], index, noise[:, :n])
        errors[k], spans[k] = error, se * float(stdtrit(n - coordinates, 0.5 + level / 2))
    misses = np.abs(errors) / spans
    typical = np.median(spans, axis=1)
    wishes = np.geomspace(typical.min() * 0.8, typical.max() * 1.2, WISHES)
    return max(1.0, *(float(np.quantile(_at_stop(misses, spans <= wish), level)) for wish in wishes))


def _estimate(jacobian: Array, index: int, noise: Array) -> tuple[Array, Array]:
    """Errors of one coordinate and its sandwich standard errors by least squares, shape (R,) each."""
    design, triangle = np.linalg.qr(jacobian)
    row = np.linalg.pinv(triangle)[index] @ design.T
    residuals = noise - (noise @ design) @ design.T
    leverage = np.minimum((design**2).sum(1), 0.99)
    return noise @ row, np.sqrt(residuals**2 @ (row**2 / (1 - leverage) ** (2 * LEVERAGE_POWER)))


def _at_stop(misses: Array, narrow: NDArray[np.bool_]) -> Array:
    """Misses (k, R) at each sweep's first look that is narrow enough, else at the last."""
    first = np.where(narrow.any(0), narrow.argmax(0), len(narrow) - 1)
    return np.asarray(misses[first, np.arange(misses.shape[1])])
