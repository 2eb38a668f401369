"""Forms of one variable, N, D or C: a power law that levels off, one that breaks, and one with three regions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from analysis.forms.additive import GRID
from analysis.forms.form import Coefficient, Form
from analysis.forms.jet import Quantity

Array = NDArray[np.float64]

VARIABLES = ("params", "tokens", "flops")
_E = Coefficient(name="E", kind="floor", meaning="irreducible loss")
_ALPHA = Coefficient(name="alpha", kind="exponent", meaning="power of x")


def _prefactor(column: str) -> Coefficient:
    return Coefficient(name="A", kind="prefactor", meaning="size of the term", exponent="alpha", column=column)


def power_starts(x: Array, loss: Array) -> Array:
    """Best A and E for each exponent of a grid by least squares on relative residuals: (A, E, alpha), shape (S, 3)."""
    rows = []
    centre = np.exp(np.log(x).mean())
    for alpha in GRID:
        terms = np.stack([(x / centre) ** -alpha, np.ones_like(x)], axis=1) / loss[:, None]
        a, e = np.linalg.lstsq(terms, np.ones(len(x)), rcond=None)[0]
        rows.append([max(a, 0.01 * loss.min()) * centre**alpha, max(e, 0.02 * loss.min()), alpha])
    return np.array(rows)


def saturating(column: str) -> Form:
    """E + A / x^alpha."""

    def loss(c: Mapping[str, Quantity], x: Mapping[str, Quantity]) -> Quantity:
        return c["E"] + c["A"] * x[column] ** -c["alpha"]

    def starts(columns: Mapping[str, Array], observed: Array, _: np.random.Generator) -> Array:
        return power_starts(columns[column], observed)

    return Form(
        name=f"saturating-{column}",
        expression=f"E + A/x^alpha, x = {column}",
        coefficients=(_prefactor(column), _E, _ALPHA),
        columns=(column,),
        formula=loss,
        starts=starts,
        source="Hestness et al. 2017, arXiv:1712.00409; Henighan et al. 2020, arXiv:2010.14701",
        note="Says nothing of the other variables: the runs must have them unlimited, or on one frontier.",
    )


def broken(column: str) -> Form:
    """E + A x^-alpha (1 + (x / x_1)^(1 / sharpness))^(-change * sharpness): one smooth break."""

    def loss(c: Mapping[str, Quantity], x: Mapping[str, Quantity]) -> Quantity:
        bend = (1.0 + (x[column] / c["x_1"]) ** (1.0 / c["sharpness"])) ** (-c["change"] * c["sharpness"])
        return c["E"] + c["A"] * x[column] ** -c["alpha"] * bend

    def starts(columns: Mapping[str, Array], observed: Array, _: np.random.Generator) -> Array:
        x = columns[column]
        base = power_starts(x, observed)[2:]
        rows = [
            [a, e, alpha, 0.3 * sign * alpha, place, width]
            for a, e, alpha in base
            for sign in (-1.0, 1.0)
            for place in np.exp(np.quantile(np.log(x), [0.25, 0.5, 0.75]))
            for width in (0.2, 0.7)
        ]
        return np.array(rows)

    return Form(
        name=f"broken-{column}",
        expression=f"E + A x^-alpha (1 + (x/x_1)^(1/sharpness))^(-change sharpness), x = {column}",
        coefficients=(
            _prefactor(column),
            _E,
            _ALPHA,
            Coefficient(name="change", kind="number", meaning="change of the power beyond the break"),
            Coefficient(name="x_1", kind="scale", meaning="where it breaks"),
            Coefficient(name="sharpness", kind="exponent", meaning="width of the break in ln x"),
        ),
        columns=(column,),
        formula=loss,
        starts=starts,
        source="Caballero et al. 2023, arXiv:2210.14891, with one break",
        note="Six coefficients in one variable: choose it by backtest, never by fit.",
    )


def three_regions(column: str) -> Form:
    """E + G / (1 + (x / x_0)^alpha): guessing, power law, irreducible."""

    def loss(c: Mapping[str, Quantity], x: Mapping[str, Quantity]) -> Quantity:
        return c["E"] + c["G"] / (1.0 + (x[column] / c["x_0"]) ** c["alpha"])

    def starts(columns: Mapping[str, Array], observed: Array, _: np.random.Generator) -> Array:
        x = columns[column]
        low, high = observed.min(), observed.max()
        rows = [
            [max((high - low * share) * level, 0.01 * low), place, low * share, alpha]
            for share in (0.3, 0.9, 0.99)
            for level in (1.0, 2.0, 10.0)
            for place in np.exp(np.quantile(np.log(x), [0.0, 0.25, 0.5, 0.75]))
            for alpha in (0.2, 0.5, 1.0)
        ]
        return np.array(rows)

    return Form(
        name=f"three-regions-{column}",
        expression=f"E + G/(1 + (x/x_0)^alpha), x = {column}",
        coefficients=(
            Coefficient(name="G", kind="scale", meaning="loss of guessing above E"),
            Coefficient(name="x_0", kind="scale", meaning="where the power law begins"),
            _E,
            _ALPHA,
        ),
        columns=(column,),
        formula=loss,
        starts=starts,
        source="The three regions sketched by Hestness et al. 2017, arXiv:1712.00409, figure 6, as one smooth formula",
    )


SINGLE = tuple(make(column) for make in (saturating, broken, three_regions) for column in VARIABLES)
"""Every form of one variable."""
