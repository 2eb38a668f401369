"""What the law-informed sampler may do, and every constant that it was given; all were chosen on development surfaces.

The development surfaces are those of `benchmarks/proposer.py --surfaces development`; the verdict is on others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from analysis.design.belief import Noise

Quantity = Literal["params", "exponent", "loss"]

UNLIMITED = 10**9
"""Runs, where a sweep does not limit them."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options of the law-informed sampler.

    Attributes:
        quantity: What the sweep is for: log N*, the exponent of N*(C), or the loss there.
        target_flops: Budget C at which; None for ten times the largest curve's.
        max_flops: FLOPs that all runs together may cost.
        max_runs: Runs that may be made.
        together: Runs that may be under way without a result.
        synchronous: Whether runs are proposed in batches of `together`, each after the one before has ended.
        target_interval: Width of the 90 % interval at which to stop: decades of N*, or units of the exponent or loss.
    """

    quantity: Quantity = "params"
    target_flops: float | None = None
    max_flops: float = math.inf
    max_runs: int = UNLIMITED
    together: int = 4
    synchronous: bool = False
    target_interval: float | None = None


LEVEL = 0.9
"""Level of the target's interval."""

BRACKET_SIZES = (-0.7, 0.0, 0.7)
"""Decades from the expected optimum of the first sizes on the two cheapest curves."""

NEXT_SIZES = (-0.35, 0.35)
"""Decades of the first sizes on the third curve."""

OUTWARD = 0.5
"""Decades of a step outward while the lowest loss of the cheapest curve is at an end."""

REACH = 1.5
"""Decades of N on each side of a curve's expected optimum beyond which nothing is proposed.

Far points show the law's two terms apart, which is what the extrapolation needs; wider still was better on the
development surfaces, but a real recipe is not trusted at 1000 times too few tokens.
"""

PLENTY = 3.0
"""Power of (share of the runs left / share of the FLOPs left) by which FLOPs are cheaper where they are the more plentiful."""

GAMMA_SD = 0.2
"""Prior of ln gamma around 0: published laws behave as if gamma were between .7 and 1.4."""

BEND_SD = 0.015
"""Prior of the relative change of an exponent per e-fold of N or D."""

SHIFT_SD, SHIFT_PER_DECADE = 0.03, 0.09
"""Prior of how far (in ln N) a curve's optimum lies off the law, on the largest curve and more for each decade below."""

FAR_SHARES = (1e-6, 1e-3, 3e-3, 1e-2)
"""By how much losses may leave the law a decade from a curve's optimum, as shares of the median loss.

The likeliest is taken; the first is as good as none. The departure grows as the cube of the distance. On development surfaces
a square, which also reaches near runs, was worse (decision 0013).
"""

FIRST_NOISE = Noise(sd=0.006, degrees=2.0)
"""Noise between seeds in nats before any is seen, believed no more than two runs' worth."""

DISAGREEMENT = 2.0
"""Root mean square of (law's vertex - parabola's) in standard errors at which the two are said to disagree."""

SYMMETRIC_SIZES = (0.0, -0.25, 0.25, -0.5, 0.5, -0.75, 0.75, -1.0, 1.0)
"""Decades around a curve's minimum of the symmetric bracket that is returned to."""

FLOOR_SIZES = 2
"""Sizes on each side of a reported curve's optimum."""

FLOOR_SHARE = 0.03
"""Share of the FLOPs that one run for that floor may cost."""

LEAST_RUNS = 12
"""Runs with a result before the interval may end a sweep."""
