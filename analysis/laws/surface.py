"""Answers read off a loss surface: tokens to a loss, size at a budget, cheapest model for a loss.

Everything is done for many draws of a law at once.

Shapes: R draws of the coefficients (one for a published law), G sizes of a grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.optimum import lowest_point, optimal_params
from analysis.fitting.shapes import SIX_N, ShapeRule
from analysis.forms import Form

Array = NDArray[np.float64]

HALVINGS = 80
"""Steps of every bisection: e^+-70 down to rounding."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A form with R draws of its coefficients; row 0 is the estimate itself.

    Attributes:
        form: The form.
        coefficients: Shape (R, P).
        shapes: FLOPs per token.
        columns: Fixed values of columns beside N and D.
        served: Inference tokens T that a budget must also pay for, a third of a training token each.
    """

    form: Form
    coefficients: Array
    shapes: ShapeRule = SIX_N
    columns: Mapping[str, float] = field(default_factory=dict)
    served: float = 0.0

    def loss(self, params: Array, tokens: Array) -> Array:
        """Predicted loss, shape (R, ...) for params and tokens that broadcast with (R,) in front."""
        extra = np.ndim(params) - 1
        named = {name: self.coefficients[:, k].reshape(-1, *[1] * extra) for k, name in enumerate(self.form.names)}
        with np.errstate(all="ignore"):
            return np.asarray(self.form.loss(named, {"params": params, "tokens": tokens, **self.columns}))

    def optimal_params(self, flops: Array) -> Array:
        """N*(C), shape (R,)."""
        return optimal_params(self.form, self.coefficients, flops, self.shapes, self.columns)

    def tokens_at(self, params: Array, flops: Array) -> Array:
        """D = C / phi(N) - T / 3, with C for training and T served tokens together; 0 where T alone is too dear."""
        return np.asarray(np.maximum(flops / self.shapes.flops_per_token(params) - self.served / 3, 0.0))

    def flops_at(self, params: Array, tokens: Array) -> Array:
        """C = phi(N) (D + T / 3)."""
        return np.asarray(self.shapes.flops_per_token(params) * (tokens + self.served / 3))

    def tokens_to_reach(self, params: Array, loss: Array) -> Array:
        """Least D at which each size reaches a loss; inf where no amount of data suffices.

        Args:
            params: Shape (R, G).
            loss: Shape (R, 1).
        """
        low, high = np.zeros_like(params), np.full_like(params, 140.0)
        reachable = self.loss(params, np.exp(high)) < loss
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            enough = self.loss(params, np.exp(middle)) <= loss
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return np.where(reachable, np.exp(high), np.inf)

    def flops_of_optimum(self, params: float) -> Array:
        """Budget whose optimum has this size, shape (R,)."""
        low, high = np.full(len(self.coefficients), np.log(1e6)), np.full(len(self.coefficients), np.log(1e40))
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            below = self.optimal_params(np.exp(middle)) < params
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(np.exp(high))

    def cheapest(self, loss: Array) -> tuple[Array, Array]:
        """Size and data that reach a loss at the least FLOPs of training and inference together.

        Sardana et al. 2024 (arXiv:2401.00448, equation 3): minimise phi(N) D + phi(N) / 3 * T subject to L(N, D) =
        loss; a forward pass is a third of a training step.

        Args:
            loss: Shape (R,).

        Returns:
            N and D, shape (R,) each.
        """

        def total(x: Array) -> Array:
            params = np.exp(x)
            return np.asarray(np.log(self.flops_at(params, self.tokens_to_reach(params, loss[:, None]))))

        params = np.exp(lowest_point(total, len(loss), np.log(1e3), np.log(1e16)))
        return params, self.tokens_to_reach(params[:, None], loss[:, None])[:, 0]

    def band(self, flops: Array, params: Array, slack: float) -> tuple[Array, Array]:
        """Smallest and largest size whose loss at a budget is within `slack` nats of the optimum's, shape (R,) each."""
        limit = self.loss(params, self.tokens_at(params, flops)) + slack

        def edge(direction: float) -> Array:
            near, far = np.zeros_like(params), np.full_like(params, 25.0)
            for _ in range(HALVINGS):
                middle = 0.5 * (near + far)
                size = params * np.exp(direction * middle)
                inside = self.loss(size, self.tokens_at(size, flops)) <= limit
                near, far = np.where(inside, middle, near), np.where(inside, far, middle)
            return np.asarray(params * np.exp(direction * near))

        return edge(-1.0), edge(1.0)
