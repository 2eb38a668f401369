"""Predictions of a problem with their derivatives: by jets for any form, written out for the additive law.

Shapes: R candidate coefficient vectors, n runs, P coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.problem import Problem
from analysis.forms.jet import Jet, log

Array = NDArray[np.float64]


class Predictions(Protocol):
    """Predictions at R coordinate vectors, in the space of the residuals."""

    @property
    def value(self) -> Array:
        """Shape (R, n)."""

    @property
    def jacobian(self) -> Array:
        """Shape (R, n, P)."""

    def curvature(self, multipliers: Array) -> Array:
        """Sum over runs of multipliers (R, n) times second derivatives, shape (R, P, P)."""


class Model(Protocol):
    """A problem's predictions as functions of its coordinates."""

    def value(self, theta: Array) -> Array:
        """Predictions of shape (R, n) at theta of shape (R, P), in the space of the residuals."""

    def predictions(self, theta: Array, *, second_order: bool) -> Predictions:
        """Predictions with derivatives; `curvature` only where `second_order`."""


def build_model(problem: Problem) -> Model:
    """The model of a problem: written out for the additive law, by jets for the others."""
    return AdditiveModel(problem) if problem.form.name == "additive" else JetModel(problem)


@dataclass(frozen=True)
class JetPredictions:
    """Predictions that carry every second derivative."""

    value: Array
    jacobian: Array
    hessian: Array | None

    def curvature(self, multipliers: Array) -> Array:
        """See `Predictions`."""
        assert self.hessian is not None
        rows, runs, count, _ = self.hessian.shape
        flat = self.hessian.reshape(rows, runs, count * count)
        return np.asarray((multipliers[:, None, :] @ flat).reshape(rows, count, count))


class JetModel:
    """Any form, differentiated exactly through its formula."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def value(self, theta: Array) -> Array:
        """See `Model`."""
        problem = self._problem
        coefficients = problem.coefficients(theta)
        named = {name: coefficients[:, k : k + 1] for k, name in enumerate(problem.form.names)}
        with np.errstate(all="ignore"):
            loss = np.broadcast_to(problem.form.loss(named, problem.columns), (len(theta), len(problem.loss)))
            return np.log(loss) if problem.space == "log" else np.asarray(loss)

    def predictions(self, theta: Array, *, second_order: bool) -> JetPredictions:
        """See `Model`."""
        with np.errstate(all="ignore"):
            return self._differentiate(theta, second_order=second_order)

    def _differentiate(self, theta: Array, *, second_order: bool) -> JetPredictions:
        problem = self._problem
        variables = Jet.variables(theta, second_order=second_order)
        named = dict(zip(problem.form.names, problem.natural(variables), strict=True))
        loss = problem.form.loss(named, problem.columns)
        jet = log(loss) if problem.space == "log" else loss
        shape = (len(theta), len(problem.loss))
        count = theta.shape[1]
        hessian = None if jet.hessian is None else np.broadcast_to(jet.hessian, (*shape, count, count))
        return JetPredictions(
            np.broadcast_to(jet.value, shape), np.broadcast_to(jet.gradient, (*shape, count)), hessian
        )


@dataclass(frozen=True)
class AdditivePredictions:
    """Predictions of the additive law; terms are shares of the predicted loss in log space."""

    value: Array
    jacobian: Array
    log_space: bool
    u: Array
    v: Array

    def curvature(self, multipliers: Array) -> Array:
        """See `Predictions`: each term's second derivatives are its first times (1, -u), less J J' in log space."""
        first = np.einsum("rn,rnk->rk", multipliers, self.jacobian)
        total = np.zeros((*first.shape, 5))
        total[:, [0, 1, 2], [0, 1, 2]] = first[:, :3]
        total[:, [0, 3, 1, 4], [3, 0, 4, 1]] = first[:, [3, 3, 4, 4]]
        total[:, 3, 3] = -np.einsum("rn,rn,n->r", multipliers, self.jacobian[..., 3], self.u)
        total[:, 4, 4] = -np.einsum("rn,rn,n->r", multipliers, self.jacobian[..., 4], self.v)
        if self.log_space:
            weighted = self.jacobian * multipliers[..., None]
            total -= weighted.transpose(0, 2, 1) @ self.jacobian
        return total


class AdditiveModel:
    """E + A/N^alpha + B/D^beta with derivatives written out, several times as fast as by jets."""

    def __init__(self, problem: Problem) -> None:
        names = problem.form.names
        self._log_space = problem.space == "log"
        self.u = np.log(problem.columns["params"]) - problem.shift[names.index("A"), names.index("alpha")]
        self.v = np.log(problem.columns["tokens"]) - problem.shift[names.index("B"), names.index("beta")]

    def _terms(self, theta: Array) -> tuple[Array, Array, Array]:
        with np.errstate(over="ignore"):
            first = np.exp(theta[:, 0:1] - theta[:, 3:4] * self.u)
            second = np.exp(theta[:, 1:2] - theta[:, 4:5] * self.v)
        return first, second, np.exp(theta[:, 2:3])

    def value(self, theta: Array) -> Array:
        """See `Model`."""
        first, second, floor = self._terms(theta)
        loss = first + second + floor
        return np.log(loss) if self._log_space else np.asarray(loss)

    def predictions(self, theta: Array, *, second_order: bool) -> AdditivePredictions:
        """See `Model`."""
        first, second, floor = self._terms(theta)
        loss = first + second + floor
        share = 1.0 / loss if self._log_space else np.ones_like(loss)
        jacobian = np.empty((*loss.shape, 5))
        jacobian[..., 0] = first * share
        jacobian[..., 1] = second * share
        jacobian[..., 2] = floor * share
        jacobian[..., 3] = -jacobian[..., 0] * self.u
        jacobian[..., 4] = -jacobian[..., 1] * self.v
        value = np.log(loss) if self._log_space else loss
        return AdditivePredictions(value, jacobian, self._log_space, self.u, self.v)
