"""What a design is made for: a loss surface with its derivatives in the coordinates that are to be learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.problem import Problem, state_problem
from analysis.forms import Form
from analysis.forms.jet import Jet, log

Array = NDArray[np.float64]
Columns = Mapping[str, Array]


class Surface(Protocol):
    """A family of laws with P coordinates, each of about unit scale."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coordinates."""

    def predict(self, theta: Array, columns: Columns) -> tuple[Array, Array]:
        """What is observed at each row, shape (n,), and its derivatives in `theta`, shape (n, P)."""

    def observed(self, loss: Array) -> Array:
        """Losses in the units of `predict`: nats, or ln(loss)."""


@dataclass(frozen=True)
class LinearSurface:
    """A surface made linear at some coordinates, for the rows that it was made for: quick to search.

    Attributes:
        names: Names of the coordinates.
        at: The coordinates, shape (P,).
        value: What the surface predicts there, shape (n,).
        jacobian: Its derivatives there, shape (n, P).
    """

    names: tuple[str, ...]
    at: Array
    value: Array
    jacobian: Array

    def predict(self, theta: Array, columns: Columns) -> tuple[Array, Array]:
        """See `Surface`."""
        return self.value + self.jacobian @ (theta - self.at), self.jacobian

    def observed(self, loss: Array) -> Array:
        """See `Surface`: in the units of the surface already."""
        return loss


@dataclass(frozen=True, kw_only=True)
class FormSurface:
    """Any form of the registry, or a user's own: ln(loss), in the coordinates that a fit searches in.

    Attributes:
        form: The form.
        problem: Search coordinates, centred on the runs that can be made.
    """

    form: Form
    problem: Problem

    @property
    def names(self) -> tuple[str, ...]:
        """See `Surface`."""
        return self.form.names

    def predict(self, theta: Array, columns: Columns) -> tuple[Array, Array]:
        """See `Surface`; derivatives are exact, by jets."""
        variables = Jet.variables(theta[None], second_order=False)
        with np.errstate(all="ignore"):
            named = dict(zip(self.names, self.problem.natural(variables), strict=True))
            jet = log(self.form.loss(named, columns))
        count = len(next(iter(columns.values())))
        return np.broadcast_to(jet.value, (1, count))[0], np.broadcast_to(jet.gradient, (1, count, len(theta)))[0]

    def values(self, thetas: Array, columns: Columns) -> Array:
        """What `predict` gives at each of S coordinates, shape (S, P), without derivatives: shape (S, n)."""
        with np.errstate(all="ignore"):
            natural = self.problem.natural(list(thetas.T[:, :, None]))
            losses = np.log(self.form.loss(dict(zip(self.names, natural, strict=True)), columns))
        return np.broadcast_to(losses, (len(thetas), len(next(iter(columns.values())))))

    def observed(self, loss: Array) -> Array:
        """See `Surface`."""
        return np.log(loss)


def form_surface(form: Form, columns: Columns) -> FormSurface:
    """A form in coordinates centred on these rows; their losses are not needed.

    Args:
        form: The form.
        columns: Columns that it reads, shape (n,) each.
    """
    count = len(next(iter(columns.values())))
    read = {name: columns[name] for name in form.columns}
    return FormSurface(form=form, problem=state_problem(form, read, np.ones(count)))
