"""Muon: momentum, orthogonalised matrix by matrix, for the blocks; AdamW for embedding and head.

Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/). Matrices of one shape are orthogonalised together, by
batched products: a model of ten layers takes as many operations as one of one layer.

Legend: n matrices of one shape, R the smaller of its sides, C the larger.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.models.networks import RateSpan, layout
from trainer.models.parameters import Part
from trainer.models.parametrization import learning_rate, update_of
from trainer.optimizers import adamw
from trainer.optimizers.rules import Update, decay
from trainer.spec import Muon, MuonScale, RunSpec

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic that is iterated, by Jordan et al. 2024: steepest at zero, it leaves singular values at .7 to 1.2."""

EPSILON = 1e-7
"""Least Frobenius norm that a matrix is divided by."""


@dataclass(frozen=True, kw_only=True)
class _Matrix:
    """One matrix that Muon updates, within the flat vector.

    Attributes:
        start: Where its first element lies.
        stride: Distance between its rows: more than its columns where others lie beside it.
        rows: Inputs.
        columns: Outputs.
        rate: Peak rate of its group.
        scale: Factor of its orthogonal update.
    """

    start: int
    stride: int
    rows: int
    columns: int
    rate: float
    scale: float

    def view(self, flat: Tensor) -> Tensor:
        """The matrix as a view of shape (R, C), turned where it has more inputs than outputs."""
        view = flat.as_strided((self.rows, self.columns), (self.stride, 1), self.start)
        return view.t() if self.rows > self.columns else view


def start(spec: RunSpec, parameters: Tensor) -> dict[str, Tensor]:
    """Momentum of the blocks' matrices, shape by shape, and the two moments of everything else."""
    matrices, others = _divided(spec)
    rest = sum(span.stop - span.start for span, _ in others)
    return {
        "momentum": parameters.new_zeros(sum(matrix.rows * matrix.columns for matrix in matrices)),
        "first": parameters.new_zeros(rest),
        "second": parameters.new_zeros(rest),
    }


def bind(spec: RunSpec, parameters: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> Update:
    """A step over the blocks' matrices by shape, then over embedding and head by AdamW."""
    optimizer = spec.optimizer
    assert isinstance(optimizer, Muon)
    matrices, others = _divided(spec)
    updates, used = [], 0
    by_shape: dict[tuple[int, int], list[_Matrix]] = defaultdict(list)
    for matrix in matrices:
        by_shape[min(matrix.rows, matrix.columns), max(matrix.rows, matrix.columns)].append(matrix)
    for (R, C), group in by_shape.items():
        momentum_nRC = state["momentum"][used : used + len(group) * R * C].view(-1, R, C)
        used += len(group) * R * C
        updates.append(_matrices_update(optimizer, group, parameters, gradient, momentum_nRC))
    used = 0
    for span, rate in others:
        size = span.stop - span.start
        first, second = (state[name][used : used + size] for name in ("first", "second"))
        used += size
        tensors = parameters[span], gradient[span], first, second
        updates.append(adamw.update(optimizer, tensors, [RateSpan(slice(None), rate)]))

    def step(before: int, factor: float) -> None:
        for each in updates:
            each(before, factor)

    return step


def orthogonalized(update_nRC: Tensor, iterations: int) -> Tensor:
    """U V' of each matrix U S V', roughly: Newton-Schulz iterations in the dtype given, R at most C."""
    a, b, c = COEFFICIENTS
    norm_n11 = torch.linalg.vector_norm(update_nRC, dim=(1, 2), keepdim=True)
    x_nRC: Tensor = update_nRC / norm_n11.clamp_(min=EPSILON)
    for _ in range(iterations):
        gram_nRR = torch.bmm(x_nRC, x_nRC.transpose(1, 2))
        both_nRR = torch.baddbmm(gram_nRR, gram_nRR, gram_nRR, beta=b, alpha=c)
        x_nRC = torch.baddbmm(x_nRC, both_nRR, x_nRC, beta=a)
    return x_nRC


def scale(rule: MuonScale, rows: int, columns: int) -> float:
    """Factor of an orthogonal update of a matrix of `rows` inputs and `columns` outputs."""
    if rule == "spectral":
        return math.sqrt(max(1.0, columns / rows))
    return 0.2 * math.sqrt(max(rows, columns))


def _matrices_update(
    optimizer: Muon, group: list[_Matrix], parameters: Tensor, gradient: Tensor, momentum_nRC: Tensor
) -> Update:
    """A step over matrices of one shape."""
    of_parameters = [matrix.view(parameters) for matrix in group]
    of_gradient = [matrix.view(gradient) for matrix in group]

    def step(before: int, factor: float) -> None:
        gradient_nRC = torch.stack(of_gradient)
        momentum_nRC.lerp_(gradient_nRC, 1 - optimizer.momentum)
        ahead_nRC = gradient_nRC.lerp_(momentum_nRC, optimizer.momentum) if optimizer.nesterov else momentum_nRC
        update_nRC = orthogonalized(ahead_nRC, optimizer.iterations)
        for matrix, view_RC, update_RC in zip(group, of_parameters, update_nRC.unbind(), strict=True):
            decay(view_RC, matrix.rate, optimizer, factor)
            view_RC.add_(update_RC, alpha=-factor * matrix.rate * matrix.scale)

    return step


def _divided(spec: RunSpec) -> tuple[list[_Matrix], list[RateSpan]]:
    """The matrices that Muon updates, and the spans of the flat vector that AdamW does."""
    matrices: list[_Matrix] = []
    others: list[RateSpan] = []
    begin = 0
    for part in layout(spec.model):
        stop = begin + math.prod(part.shape)
        if update_of(part.group, spec.optimizer) == "adam":
            rate = learning_rate(part.group, spec.model, spec.parametrization, spec.optimizer)
            others.append(RateSpan(slice(begin, stop), rate))
        else:
            matrices += _matrices(spec, part, begin)
        begin = stop
    return matrices, others


def _matrices(spec: RunSpec, part: Part, begin: int) -> list[_Matrix]:
    assert isinstance(spec.optimizer, Muon)
    rate = learning_rate(part.group, spec.model, spec.parametrization, spec.optimizer)
    rows, stride = part.shape
    found = []
    for columns in part.joined or (stride,):
        factor = scale(spec.optimizer.scale, rows, columns)
        found.append(_Matrix(start=begin, stride=stride, rows=rows, columns=columns, rate=rate, scale=factor))
        begin += columns
    return found
