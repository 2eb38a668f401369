"""How long a run takes: a first guess from a measured matrix product, then a fit to finished runs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trainer import RunSpec, flops_per_token

STEP_SECONDS = 2.5e-3
"""First guess of a step's fixed cost on one CPU core: Python and kernel dispatch (chosen; soon fitted)."""

ACHIEVED_SHARE = 0.35
"""First guess of the share of the measured matmul rate that small models achieve on a CPU, beyond the fixed cost."""


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Seconds of a run = steps x step_seconds + FLOPs / flops_per_second, evaluation included.

    Attributes:
        step_seconds: Fixed cost of one optimiser step.
        flops_per_second: Rate of the arithmetic.
        measured_runs: Finished runs that it was fitted to; 0 for a first guess.
    """

    step_seconds: float
    flops_per_second: float
    measured_runs: int = 0

    def seconds(self, spec: RunSpec) -> float:
        """Predicted wall time of one run on one worker."""
        return spec.steps * self.step_seconds + all_flops(spec) / self.flops_per_second


def all_flops(spec: RunSpec) -> float:
    """FLOPs of training and of the evaluation, whose forward pass is a third of a training step's."""
    return flops_per_token(spec.model, "exact") * (spec.tokens + spec.data.heldout_tokens / 3)


class Work:
    """What is left of a sweep, as totals that a cost model turns into seconds."""

    def __init__(self, specs: Iterable[RunSpec]) -> None:
        self._steps = 0
        self._flops = 0.0
        for spec in specs:
            self._steps += spec.steps
            self._flops += all_flops(spec)

    def remove(self, spec: RunSpec) -> None:
        """One run less."""
        self._steps -= spec.steps
        self._flops = max(0.0, self._flops - all_flops(spec))

    def seconds(self, model: CostModel) -> float:
        """Predicted worker seconds of all of it."""
        return self._steps * model.step_seconds + self._flops / model.flops_per_second


def first_guess() -> CostModel:
    """A cost model from one measured fp32 matrix product; takes about 20 ms."""
    return CostModel(step_seconds=STEP_SECONDS, flops_per_second=ACHIEVED_SHARE * _matmul_flops_per_second())


def _matmul_flops_per_second(size: int = 256, repeats: int = 12) -> float:
    import numpy as np

    a = np.ones((size, size), dtype=np.float32)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def fitted(runs: Sequence[tuple[RunSpec, float]], guess: CostModel) -> CostModel:
    """Fit the two constants to finished runs by relative least squares, falling back to one common factor.

    Args:
        runs: Specs and their seconds.
        guess: Constants to scale while there are fewer than four runs, or where the fit is not positive.
    """
    if not runs:
        return guess
    import numpy as np

    seconds = np.array([taken for _, taken in runs])
    design = np.array([[spec.steps, all_flops(spec)] for spec, _ in runs]) / seconds[:, None]
    if len(runs) >= 4:
        (step, flop), *_ = np.linalg.lstsq(design, np.ones(len(runs)), rcond=None)
        if step > 0 and flop > 0:
            return CostModel(step_seconds=float(step), flops_per_second=float(1 / flop), measured_runs=len(runs))
    predicted = np.array([guess.seconds(spec) for spec, _ in runs])
    factor = float(np.exp(np.mean(np.log(seconds / predicted))))
    return CostModel(
        step_seconds=guess.step_seconds * factor,
        flops_per_second=guess.flops_per_second / factor,
        measured_runs=len(runs),
    )
