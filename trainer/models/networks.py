"""The families of models: one table from the type of a shape to its functions, which is all that training knows of them.

A family is a file of its own and one entry here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainer.models import gradient, lstm, transformer
from trainer.models.parameters import Matrices, Part
from trainer.models.parametrization import init_std, learning_rate
from trainer.spec import LSTM, Optimizer, Parametrization, RunSpec, Shape, Transformer


class Network(NamedTuple):
    """A model as functions of its matrices.

    Attributes:
        shape: Shape of the network.
        parts: Its matrices, in the order in which the flat vector holds them.
        dtype: Arithmetic of the matrix products.
        logit_scale: Factor of the logits of a tied head.
        logits: From matrices and tokens (B, T) to logits of the next token, fp32, shape (B x T, V).
        losses: From matrices, tokens and targets to the summed loss, nats, and to what training minimises: the same, or
            with a penalty.
        by_hand: Puts the gradient of what training minimises into its second argument and gives the summed loss, in half
            the time of autograd on a CPU; None where nobody has written it.
    """

    shape: Shape
    parts: tuple[Part, ...]
    dtype: torch.dtype
    logit_scale: float
    logits: Callable[[Matrices, Tensor], Tensor]
    losses: Callable[[Matrices, Tensor, Tensor], tuple[Tensor, Tensor]]
    by_hand: Callable[[Matrices, Matrices, Tensor, Tensor], Tensor] | None


class RateSpan(NamedTuple):
    """A part of the flat vector whose parameters have one peak learning rate."""

    span: slice
    rate: float


class Family(NamedTuple):
    """How models of one type of shape are laid out and built."""

    layout: Callable[[Any], tuple[Part, ...]]
    build: Callable[[RunSpec, str], Network]


def _transformer(spec: RunSpec, device: str) -> Network:
    built = transformer.build(spec, device)
    return Network(
        shape=built.shape,
        parts=built.parts,
        dtype=built.dtype,
        logit_scale=built.logit_scale,
        logits=partial(transformer.logits, built),
        losses=partial(transformer.losses, built),
        by_hand=partial(gradient.loss_and_gradient, built) if gradient.serves(built.shape) else None,
    )


def _lstm(spec: RunSpec, device: str) -> Network:
    built = lstm.build(spec)
    return Network(
        shape=built.shape,
        parts=built.parts,
        dtype=built.dtype,
        logit_scale=built.logit_scale,
        logits=partial(lstm.logits, built),
        losses=partial(lstm.losses, built),
        by_hand=partial(lstm.loss_and_gradient, built),
    )


FAMILIES: dict[type, Family] = {
    Transformer: Family(layout=transformer.layout, build=_transformer),
    LSTM: Family(layout=lstm.layout, build=_lstm),
}


def build(spec: RunSpec, device: str = "cpu") -> Network:
    """The network of a spec, without parameters."""
    return FAMILIES[type(spec.model)].build(spec, device)


def layout(shape: Shape) -> tuple[Part, ...]:
    """The matrices of a model, in the order in which the flat vector holds them."""
    return FAMILIES[type(shape)].layout(shape)


def initialize(shape: Shape, parametrization: Parametrization, seed: int) -> Tensor:
    """Parameters at step 0 as one vector, drawn on the CPU so that every device starts alike."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for part in layout(shape):
        std = init_std(part.group, part.shape[0], parametrization)
        drawn.append(torch.randn(math.prod(part.shape), generator=generator) * std)
    return torch.cat(drawn)


def rate_spans(shape: Shape, parametrization: Parametrization, optimizer: Optimizer) -> list[RateSpan]:
    """Peak learning rates, as the parts of the flat vector that have one in common, in their order."""
    spans: list[RateSpan] = []
    begin = 0
    for part in layout(shape):
        stop = begin + math.prod(part.shape)
        rate = learning_rate(part.group, shape, parametrization, optimizer)
        if spans and spans[-1].rate == rate:
            begin = spans.pop().span.start
        spans.append(RateSpan(slice(begin, stop), rate))
        begin = stop
    return spans
