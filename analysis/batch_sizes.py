"""A sweep over batch sizes: the tokens that each batch takes to one loss, and the critical batch that they give.

Every run here is a whole one, its rate decayed to zero at its own D: the loss of one batch size at several D gives, by
interpolation in ln D, the D at which a target loss is reached. Steps S = D / B then follow McCandlish et al. 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.conventions import settings_of
from analysis.errors import FitError
from analysis.laws.batch import CriticalBatch, critical_batch
from analysis.points import average_replicates
from analysis.table import Array, Runs
from analysis.tuning import one_point_each

TARGETS = (0.25, 0.5, 0.75)
"""Target losses, as shares of the way from the highest loss that the batches reach to the lowest (chosen: three)."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """What one loss costs at each batch size.

    Attributes:
        loss: The loss.
        batch: Batch sizes that reach it within their runs, tokens, shape (n,).
        tokens: D to it, shape (n,).
        critical: The critical batch; None with fewer than three batch sizes.
    """

    loss: float
    batch: Array
    tokens: Array
    critical: CriticalBatch | None


def batch_curves(runs: Runs) -> dict[int, tuple[Array, Array]]:
    """For every batch size of a sweep over batches, its D and their losses, by rising D.

    Raises:
        FitError: Settings are not batch sizes of one model.
    """
    found: dict[int, tuple[Array, Array]] = {}
    for name in settings_of(runs.frame):
        mine = one_point_each(runs.where(setting=name))
        sizes = list(mine.frame["batch_tokens"].unique()) if "batch_tokens" in mine.frame else []
        if len(sizes) != 1 or mine.frame["params"].nunique() != 1:
            raise FitError(f"setting {name} is not one batch size of one model; expected that. Sweep batch as an axis.")
        points = average_replicates(mine).frame.sort_values("tokens")
        found[int(sizes[0])] = points["tokens"].to_numpy(np.float64), points["loss"].to_numpy(np.float64)
    if len(found) < 3 or min(len(tokens) for tokens, _ in found.values()) < 2:
        raise FitError(f"{len(found)} batch sizes at several D; expected three at least. Add values to the axis batch.")
    return found


def fit_batches(runs: Runs) -> tuple[Reached, ...]:
    """Critical batch sizes at three losses, the highest first.

    The losses lie between those that all batch sizes reach; a largest batch that never comes down to where the smallest
    begins has no part in that, and stands where it reaches a loss all the same.

    Raises:
        FitError: See `batch_curves`; or no loss is reached by the three smallest batch sizes.
    """
    curves = batch_curves(runs)
    shared = sorted(curves)
    highest, lowest = _overlap(curves, shared)
    while lowest >= highest and len(shared) > 3:
        shared = shared[:-1]
        highest, lowest = _overlap(curves, shared)
    if lowest >= highest:
        raise FitError(
            f"the batch sizes' losses do not overlap ({lowest:.3f} and {highest:.3f}); expected a loss that three reach. "
            "Add larger budgets."
        )
    return tuple(_reached(curves, highest + share * (lowest - highest)) for share in TARGETS)


def _overlap(curves: dict[int, tuple[Array, Array]], batches: list[int]) -> tuple[float, float]:
    """Highest and lowest loss that all of these batch sizes pass through; none where the first is below the second."""
    losses = [curves[batch][1] for batch in batches]
    return min(float(loss[0]) for loss in losses), max(float(loss[-1]) for loss in losses)


def _reached(curves: dict[int, tuple[Array, Array]], target: float) -> Reached:
    places = {batch: _tokens_to(target, tokens, loss) for batch, (tokens, loss) in curves.items()}
    known = sorted((batch, tokens) for batch, tokens in places.items() if tokens is not None)
    batch, tokens = (np.array([pair[i] for pair in known], dtype=np.float64) for i in (0, 1))
    critical = critical_batch(batch, tokens / batch) if len(known) >= 3 else None
    return Reached(loss=target, batch=batch, tokens=tokens, critical=critical)


def _tokens_to(target: float, tokens: Array, loss: Array) -> float | None:
    """D at which the loss first falls to the target, between neighbouring D; None where it does not."""
    for i in range(len(loss) - 1):
        if loss[i] >= target >= loss[i + 1] and loss[i] > loss[i + 1]:
            share = (loss[i] - target) / (loss[i] - loss[i + 1])
            return float(np.exp(np.log(tokens[i]) + share * np.log(tokens[i + 1] / tokens[i])))
    return None
