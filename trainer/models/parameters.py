"""A model's parameters: one flat vector, and the matrices that are views of it.

All matrices of a model lie in one vector, so that an optimiser step is a handful of operations whatever the depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trainer.models.parametrization import Group
from trainer.spec import Shape

Matrices = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One matrix of a model.

    Attributes:
        name: Its name.
        group: Group whose initialisation and rate it follows.
        shape: Rows (inputs) and columns (outputs).
        joined: Columns of each of the matrices that lie side by side in it, such as queries, keys and values, for an
            optimiser that treats every matrix by itself; empty where it is one.
    """

    name: str
    group: Group
    shape: tuple[int, int]
    joined: tuple[int, ...] = ()


class Described(Protocol):
    """What the model of every family knows of itself."""

    @property
    def shape(self) -> Shape:
        """Shape of the network."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """Its matrices, in the order in which the flat vector holds them."""

    @property
    def dtype(self) -> torch.dtype:
        """Arithmetic of the matrix products; the residual stream, norms and the softmax of the loss stay in fp32."""

    @property
    def logit_scale(self) -> float:
        """Factor of the logits of a tied head."""


def matrices(model: Described, flat: Tensor) -> Matrices:
    """Views of `flat` by name, or of its copy in the dtype of matrix products.

    The embedding stays in fp32: its gradient sums over tokens.
    """
    sizes = [math.prod(part.shape) for part in model.parts]
    exact = compute = torch.split(
        flat, sizes
    )  # as one operation, whose gradient is one: slices would each fill a vector
    if model.dtype != flat.dtype:
        compute = torch.split(flat.to(model.dtype), sizes)
    return {
        part.name: (exact if part.group == "embedding" else compute)[index].view(part.shape)
        for index, part in enumerate(model.parts)
    }


def head_matrix(model: Described, weights: Matrices) -> Tensor:
    """The head, shape (D, V)."""
    if not model.shape.tied_head:
        return weights["head"]
    return (weights["embedding"] * model.logit_scale).to(model.dtype).t()
