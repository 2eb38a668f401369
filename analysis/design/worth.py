"""What a run of a pool is worth: what it teaches of the target per cost, under a law that is only nearly true."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.design.belief import Belief, Evidence, Prior, learn
from analysis.design.priors import starting_points
from analysis.design.selecting import gains
from analysis.design.surface import Columns, FormSurface
from analysis.design.targets import Estimate

Array = NDArray[np.float64]

DISTRUST = 3.0
"""Error of the law per decade of FLOPs below the target, in units of the noise (chosen, on pools' own dearest rows)."""

COST_POWER = 0.5
"""Power of the cost that a gain is divided by (chosen likewise)."""

STARTS = 4
"""Starts of the form's own search that are tried beside the prior (chosen)."""


def learn_runs(surface: FormSurface, prior: Prior, columns: Columns, loss: Array, *, starts: int = STARTS) -> Belief:
    """What is believed after single runs of equal noise, searched from the prior and from starts of the form's own."""
    evidence = Evidence(
        columns=columns,
        loss=loss,
        count=np.ones(len(loss)),
        squares=np.zeros(len(loss)),
        group=np.zeros(len(loss), np.int64),
    )
    return learn(surface, prior, evidence, starts=list(starting_points(surface, columns, loss)[:starts]))


def worth_per_cost(belief: Belief, target: Estimate, jacobian: Array, costs: Array, aim: float) -> Array:
    """What each run teaches of the target per cost, with less trust the further below the aim it costs.

    A law is only nearly true: what a cheap run says of a dear region holds up to an error that grows with the decades
    between them. Its noise is widened by that, so that cheap runs alone can never make the region certain; and cost
    enters by its root, since a law that was wrong is found out near the region alone.

    Args:
        belief: What is known.
        target: What is to be learnt.
        jacobian: Derivatives of each run's loss, shape (n, P).
        costs: FLOPs of each run, shape (n,).
        aim: FLOPs at which the target lies.

    Returns:
        Shape (n,).
    """
    noise = belief.common * widening(costs, aim)
    return np.asarray(gains(belief, target, jacobian, noise) / costs**COST_POWER)


def widening(costs: Array, aim: float) -> Array:
    """Factor on the noise of runs of these FLOPs where the target lies at `aim`: 1 there and beyond, shape (n,)."""
    decades = np.maximum(np.log10(aim / costs), 0.0)
    return np.asarray(np.sqrt(1 + (DISTRUST * decades) ** 2))
