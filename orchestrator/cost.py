"""How long a run takes: a first guess from a measured matrix product, then a fit to finished runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.sweep import Sweep
from trainer import Muon, RunSpec, Transformer, count_params, flops_per_token

STEP_SECONDS = 7e-4
TOKEN_SECONDS = 1.7e-6
ACHIEVED_SHARE = 0.65
"""First guess for one CPU core: 56 runs of the quickstart on a Xeon core gave .70 ms a step, 1.67 us a token (the softmax over
the vocabulary, norms and other element-wise work), and 73 GFLOP/s of the 113 of the product below; within 20 % each."""

STEP_SHARE_OF_LAYERS = 0.7
STEPS_OF_EXPERTS = 2.0
STEPS_OF_A_PLACE = 0.03
"""A step in units of one of a one-layer transformer: .7 of it is the block, so that three and six layers take 2.4 and 4.5
(measured 2.6 and 4.3 by CPU time, width 24); choosing among experts doubles a block (2.0); a layer of an LSTM goes from place
to place, each of them .03 (7.9 at 256 places)."""

STEPS_OF_MUON = 0.1
ITERATION_FLOPS = 5
"""Orthogonalising takes a tenth of a step in operations (measured at widths 16, 24); an iteration takes 5 x width x body FLOPs:
(4 R C + 2 R^2) R for a matrix of R by C, R the smaller, over matrices of D by D and D by 4 D. A step of 5 layers of 128 and
1,024 tokens takes 1.43x that of AdamW by this; measured 1.31x."""

GPU_STEP_SECONDS = 5e-3
GPU_TOKEN_SECONDS = 1e-8
GPU_SHARE = 0.1
UNNAMED_GPU_PEAK = 1e14
"""First guess for one GPU, by choice and not by measurement: a small model's step is kernel launches, and its products reach a
tenth of the peak; a GPU without a name is taken for one of 100 TFLOP/s. The first tenth of a run corrects it."""

PRIOR_WEIGHT = 1.0
"""Weight of the rescaled first guess beside finished runs, in runs (chosen): a fit to few of them stays sensible."""

LEAST_SHARE = 0.05
"""A constant is never fitted below this share of the rescaled first guess (chosen)."""


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Seconds of a run = steps x step_seconds + tokens x token_seconds + FLOPs / flops_per_second, evaluation included.

    Attributes:
        step_seconds: Fixed cost of one optimiser step.
        token_seconds: Cost of a token that does not grow with the model.
        flops_per_second: Rate of the arithmetic.
        measured_runs: Finished runs that it was fitted to; 0 for a first guess.
    """

    step_seconds: float
    token_seconds: float
    flops_per_second: float
    measured_runs: int = 0

    def seconds(self, spec: RunSpec) -> float:
        """Predicted wall time of one run on one worker."""
        return self.seconds_of(_amounts(spec))

    def seconds_of(self, amounts: Sequence[float]) -> float:
        """Predicted wall time of so many steps, tokens and FLOPs."""
        steps, tokens, flops = amounts
        return steps * self.step_seconds + tokens * self.token_seconds + flops / self.flops_per_second


def _amounts(spec: RunSpec) -> tuple[float, float, float]:
    """Steps, tokens and FLOPs of a run, steps in units of one of a one-layer transformer.

    A token of the evaluation counts a third, as its forward pass does.
    """
    evaluations = 1 + 1.5 * spec.data.during + 4 * spec.data.probe * spec.model.context / spec.data.heldout_tokens
    tokens = spec.tokens + evaluations * spec.data.heldout_tokens / 3
    flops = tokens * flops_per_token(spec.model, "exact") + spec.steps * _update_flops(spec)
    return spec.steps * _step_size(spec), tokens, flops


def _update_flops(spec: RunSpec) -> float:
    """FLOPs of an update's matrix products, which the count of a run's C leaves out."""
    if not isinstance(spec.optimizer, Muon):
        return 0.0
    return ITERATION_FLOPS * spec.optimizer.iterations * spec.model.width * count_params(spec.model).body


def _step_size(spec: RunSpec) -> float:
    """Dispatch of one step, which is what small models spend most of their time on."""
    shape = spec.model
    if isinstance(shape, Transformer):
        blocks = STEP_SHARE_OF_LAYERS * shape.layers * (STEPS_OF_EXPERTS if shape.experts > 1 else 1.0)
    else:
        blocks = STEPS_OF_A_PLACE * shape.context * shape.layers
    return 1 - STEP_SHARE_OF_LAYERS + blocks + (STEPS_OF_MUON if isinstance(spec.optimizer, Muon) else 0.0)


class Work:
    """What is left of a sweep, as totals that a cost model turns into seconds."""

    def __init__(self) -> None:
        self._totals = [0.0, 0.0, 0.0]

    def add(self, spec: RunSpec, share: float = 1.0) -> None:
        """One run more, or a share of one: the rest was made by another."""
        self._totals = [total + share * amount for total, amount in zip(self._totals, _amounts(spec), strict=True)]

    def remove(self, spec: RunSpec, share: float = 1.0) -> None:
        """One run less."""
        less = zip(self._totals, _amounts(spec), strict=True)
        self._totals = [max(0.0, total - share * amount) for total, amount in less]

    def seconds(self, model: CostModel) -> float:
        """Predicted worker seconds of all of it."""
        return model.seconds_of(self._totals)


def first_guess(sweep: Sweep | None = None) -> CostModel:
    """A cost model before any run: one measured fp32 matrix product for a CPU core, a share of the peak for a GPU.

    Args:
        sweep: Whose workers are meant; None for those of one CPU core.
    """
    if sweep is not None and sweep.resources.gpus:
        rate = GPU_SHARE * _gpu_peak(sweep.cost.gpu) * min(1.0, sweep.resources.gpus)
        return CostModel(step_seconds=GPU_STEP_SECONDS, token_seconds=GPU_TOKEN_SECONDS, flops_per_second=rate)
    rate = ACHIEVED_SHARE * _matmul_flops_per_second()
    return CostModel(step_seconds=STEP_SECONDS, token_seconds=TOKEN_SECONDS, flops_per_second=rate)


def _gpu_peak(name: str | None) -> float:
    from analysis.laws.models import ACCELERATORS

    return UNNAMED_GPU_PEAK if name is None else ACCELERATORS[name].flops_per_second


def _matmul_flops_per_second(count: int = 16, size: int = 64, repeats: int = 40) -> float:
    """Best rate over repeats of a stack of products so small that BLAS stays on one thread."""
    import numpy as np

    a = np.ones((count, size, size), dtype=np.float32)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * count * size**3 / best


def fitted(runs: Sequence[tuple[RunSpec, float]], guess: CostModel) -> CostModel:
    """Fit the three constants to finished runs by relative least squares, drawn towards the guess times one common factor.

    Args:
        runs: Specs and their seconds.
        guess: Constants for no runs, and what few runs are drawn towards.
    """
    if not runs:
        return guess
    import numpy as np

    amounts = [_amounts(spec) for spec, _ in runs]
    predicted = np.array([guess.seconds_of(each) for each in amounts])
    seconds = np.array([taken for _, taken in runs])
    factor = float(np.exp(np.mean(np.log(seconds / predicted))))
    scaled = factor * np.array([guess.step_seconds, guess.token_seconds, 1 / guess.flops_per_second])
    shares = np.array(amounts) * scaled / seconds[:, None]
    normal = shares.T @ shares + PRIOR_WEIGHT * np.eye(3)
    multiples = np.linalg.solve(normal, shares.sum(0) + PRIOR_WEIGHT)
    step, token, flop = scaled * np.maximum(multiples, LEAST_SHARE)
    return CostModel(
        step_seconds=float(step),
        token_seconds=float(token),
        flops_per_second=float(1 / flop),
        measured_runs=len(runs),
    )
