"""A fitting problem in the coordinates that the search moves in, and the way back to the coefficients.

Positive coefficients are searched as logarithms. A prefactor A of A x^-alpha is moved as the logarithm of that term
at the centre of the data, ln A - alpha * mean(ln x): prefactor and exponent are then nearly independent, where A and
alpha themselves are correlated beyond .99.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.errors import FitError
from analysis.fitting.objective import Space
from analysis.fitting.tasks import Tasks
from analysis.forms.form import EXPONENT_RANGE, Chart, Coefficient, Form
from analysis.forms.jet import Quantity, exp

Array = NDArray[np.float64]

FLOOR_SHARE = 1e-6
"""A floor E below this share of the lowest loss counts as no floor (chosen); the search stops there."""

TERM_RANGE = 30.0
"""A term is searched within exp(+-30) of the observed losses (chosen: a term that small is not there)."""

SCALE_RANGE = 300.0
"""Limit of the logarithm of other positive coefficients (chosen: where floats still have room)."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is fitted, to what, within which limits.

    Attributes:
        form: The form.
        columns: Columns that the form reads, each of shape (n,).
        loss: Observed loss, shape (n,).
        weights: Weight of each run, shape (n,).
        space: Whether residuals are of ln(loss) or of the loss.
        shift: Matrix S, shape (P, P): natural coordinates (logs for positive coefficients) = S @ theta.
        low: Lower limits of theta, shape (P,); a fixed coefficient has low = high.
        high: Upper limits, shape (P,).
        chart: Search coordinates of the form's own; `shift` is then not used.
    """

    form: Form
    columns: Mapping[str, Array]
    loss: Array
    weights: Array
    space: Space
    shift: Array
    low: Array
    high: Array
    chart: Chart | None = None

    @property
    def observed(self) -> Array:
        """What predictions are compared with: ln(loss) or loss, shape (n,)."""
        return np.log(self.loss) if self.space == "log" else self.loss

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Which coefficients are searched as logarithms, shape (P,)."""
        return np.array([coefficient.positive for coefficient in self.form.coefficients])

    def natural(self, theta: Sequence[Quantity]) -> Sequence[Quantity]:
        """Coefficients of P coordinates, in order; over floats, arrays and jets."""
        if self.chart is not None:
            return self.chart.coefficients(theta)
        rows = []
        for k, coefficient in enumerate(self.form.coefficients):
            value = theta[k]
            for j in np.flatnonzero(self.shift[k]).tolist():
                if j != k:
                    value = value + theta[j] * self.shift[k, j]
            rows.append(exp(value) if coefficient.positive else value)
        return rows

    @property
    def fixed(self) -> NDArray[np.bool_]:
        """Which coefficients are held, shape (P,)."""
        return np.asarray(self.low == self.high)

    @property
    def free_count(self) -> int:
        """Number of coefficients that the fit may move."""
        return int((~self.fixed).sum())

    def coefficients(self, theta: Array) -> Array:
        """Coefficients of coordinates theta, shape (..., P)."""
        with np.errstate(all="ignore"):
            return np.stack(self.natural(list(np.moveaxis(theta, -1, 0))), axis=-1)

    def coordinates(self, coefficients: Array) -> Array:
        """Coordinates of coefficients, shape (..., P), moved inside the limits."""
        if self.chart is not None:
            return np.stack(self.chart.coordinates(list(np.moveaxis(coefficients, -1, 0))), axis=-1)
        tiny = np.finfo(np.float64).tiny
        positive = np.where(self.positive, coefficients, 1.0)
        natural = np.where(self.positive, np.log(np.maximum(positive, tiny)), coefficients)
        return np.clip(np.linalg.solve(self.shift, natural[..., None])[..., 0], self.low, self.high)

    def tasks(self, delta: float, weights: Array | None = None) -> Tasks:
        """What the solver minimises; weights of shape (R, n) make it a task per row.

        Args:
            delta: Huber's delta, inf for squares.
            weights: None for the problem's own.
        """
        own = self.weights[None] if weights is None else weights
        return Tasks(self.observed[None], own, np.array([[delta]]), self.low[None], self.high[None])

    def at_limits(self, theta: Array) -> tuple[str, ...]:
        """Names of the coefficients that are free and lie at a limit."""
        at = ((theta <= self.low) | (theta >= self.high)) & ~self.fixed
        return tuple(name for name, reached in zip(self.form.names, at, strict=True) if reached)


def state_problem(
    form: Form,
    columns: Mapping[str, Array],
    loss: Array,
    *,
    weights: Array | None = None,
    space: Space = "log",
    fixed: Mapping[str, float] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
) -> Problem:
    """Put a form and its data into search coordinates.

    Args:
        form: The form.
        columns: Columns that it reads, shape (n,) each.
        loss: Shape (n,).
        weights: Weight of each run; None for 1.
        space: Space of the residuals.
        fixed: Coefficients that are held, by name.
        bounds: Lower and upper limits by name, beside the form's own.

    Raises:
        FitError: A name that the form does not have, or a limit that it cannot have.
    """
    limits = {**dict(bounds or {}), **{name: (value, value) for name, value in (fixed or {}).items()}}
    _check_names(form, limits)
    shift = np.eye(len(form.coefficients))
    low, high = np.empty(len(form.coefficients)), np.empty(len(form.coefficients))
    for k, coefficient in enumerate(form.coefficients):
        limit = limits.get(coefficient.name)
        low[k], high[k] = _limits(coefficient, limit, loss)
        if coefficient.exponent is not None and coefficient.column is not None and limit is None:
            shift[k, form.names.index(coefficient.exponent)] = np.log(columns[coefficient.column]).mean()
    return Problem(
        chart=form.chart(columns) if form.chart is not None and not limits else None,
        form=form,
        columns=columns,
        loss=loss,
        weights=np.ones(len(loss)) if weights is None else weights,
        space=space,
        shift=shift,
        low=low,
        high=high,
    )


def _check_names(form: Form, limits: Mapping[str, tuple[float, float]]) -> None:
    for name, (low, high) in limits.items():
        if name not in form.names:
            raise FitError(f"{name!r} is no coefficient of {form.name}: expected one of {', '.join(form.names)}.")
        positive = form.coefficients[form.names.index(name)].positive
        if not low <= high or (positive and high <= 0):
            wanted = "positive, " if positive else ""
            raise FitError(
                f"limits of {name} are ({low}, {high}): expected {wanted}low <= high. Change fixed or bounds."
            )


def _limits(coefficient: Coefficient, limit: tuple[float, float] | None, loss: Array) -> tuple[float, float]:
    """Limits in search coordinates; those given win over those of the coefficient's kind."""
    if limit is not None:
        low, high = limit
        if not coefficient.positive:
            return low, high
        least = FLOOR_SHARE * float(loss.min()) if coefficient.kind == "floor" else np.finfo(np.float64).tiny
        return float(np.log(max(low, least))), float(np.log(high))
    if coefficient.kind == "exponent":
        return EXPONENT_RANGE
    if coefficient.kind == "floor":
        return float(np.log(FLOOR_SHARE * loss.min())), float(np.log(loss.max()))
    if coefficient.exponent is not None:  # the term's size at the centre of the data
        return float(np.log(loss.min())) - TERM_RANGE, float(np.log(loss.max())) + TERM_RANGE
    return (-SCALE_RANGE, SCALE_RANGE) if coefficient.positive else (-np.inf, np.inf)
