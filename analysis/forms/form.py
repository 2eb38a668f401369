"""What a form is: a formula with free coefficients, where its search starts, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from analysis.forms.jet import Quantity

Array = NDArray[np.float64]

Kind = Literal["floor", "prefactor", "exponent", "scale", "number"]
"""How a coefficient behaves.

`floor`: a loss that no run goes below (E), fitted as its logarithm. `prefactor`: positive, fitted as its logarithm.
`exponent`: a power, positive in (x0/x)^alpha. `scale`: positive, in units of a column. `number`: unrestricted.
"""

EXPONENT_RANGE = (0.01, 4.0)
"""Limits of exponents (chosen): below, a term is constant over any sweep; above, it vanishes in a decade."""


@dataclass(frozen=True, kw_only=True)
class Coefficient:
    """One free coefficient of a form.

    Attributes:
        name: Its name in results, `A` or `alpha`.
        kind: How it behaves, see `Kind`.
        meaning: One phrase.
        exponent: For a prefactor of x^-exponent: that exponent's name. The search then moves the term's size at the
            middle of the data instead of the prefactor, which decouples the two.
        column: The column x of that term.
    """

    name: str
    kind: Kind
    meaning: str = ""
    exponent: str | None = None
    column: str | None = None

    @property
    def positive(self) -> bool:
        """Whether it is fitted as its logarithm."""
        return self.kind in ("floor", "prefactor", "scale")


Formula = Callable[[Mapping[str, Quantity], Mapping[str, Quantity]], Quantity]
"""(coefficients by name, columns by name) -> loss, by arithmetic and the functions of `forms.jet` alone."""

Starts = Callable[[Mapping[str, Array], Array, np.random.Generator], Array]
"""(columns, loss, generator) -> starting coefficients, shape (S, P), in the order of `Form.coefficients`."""


class Chart(Protocol):
    """Search coordinates of a form whose coefficients themselves are too entangled to search in."""

    def coefficients(self, theta: Sequence[Quantity]) -> Sequence[Quantity]:
        """Coefficients, in order, of coordinates; over floats, arrays and jets."""

    def coordinates(self, coefficients: Sequence[Array]) -> Sequence[Array]:
        """Coordinates of coefficients."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """A functional form with free coefficients.

    Attributes:
        name: Its name in `fit_form(form=...)` and `--form`.
        expression: The formula for people.
        coefficients: Free coefficients, in order.
        columns: Columns of a run that the formula reads.
        formula: The formula, over floats, arrays and jets alike; its derivatives follow from it.
        starts: Where the search starts.
        source: Paper.
        note: What a user must know before believing a fit of it.
        chart: Search coordinates for given columns; None for logarithms of positive coefficients with centred
            prefactors.
    """

    name: str
    expression: str
    coefficients: tuple[Coefficient, ...]
    columns: tuple[str, ...]
    formula: Formula
    starts: Starts
    source: str
    note: str = ""
    chart: Callable[[Mapping[str, Array]], Chart] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coefficients, in order."""
        return tuple(coefficient.name for coefficient in self.coefficients)

    def loss(self, coefficients: Mapping[str, Quantity], columns: Mapping[str, Quantity]) -> Quantity:
        """Predicted loss in nats per token (or whatever unit the fitted loss had)."""
        return self.formula(coefficients, columns)
