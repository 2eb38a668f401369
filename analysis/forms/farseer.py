"""Farseer's law of nine coefficients, and coordinates in which it can be searched.

It has three functions of N of one kind, s N^q + S. Near q = 0, where real data put them, s and S grow without limit
and cancel; so the search moves the function's value and slope in ln N at the middle of the data, and q.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.forms.additive import GRID, linear_grid
from analysis.forms.form import Coefficient, Form
from analysis.forms.jet import Quantity, exp

Array = NDArray[np.float64]

_NAMES = ("s", "q", "S", "B", "b", "Q", "A", "a", "E")


def _loss(c: Mapping[str, Quantity], x: Mapping[str, Quantity]) -> Quantity:
    n = x["params"]
    floor = exp(c["s"] * n ** c["q"] + c["S"])
    size = c["B"] * n ** c["b"] + c["Q"]
    power = exp(c["A"] * n ** c["a"] + c["E"])
    return floor + exp(size - power * np.log(x["tokens"]))


@dataclass(frozen=True)
class FarseerChart:
    """Value, slope and power of each function at the middle of ln N; the D term's size is taken at the middle of ln D.

    Attributes:
        middle_n: Mean of ln N.
        middle_d: Mean of ln D.
    """

    middle_n: float
    middle_d: float

    def coefficients(self, theta: Sequence[Quantity]) -> Sequence[Quantity]:
        """See `Chart`."""
        floor, floor_slope, q, size, size_slope, b, power, power_slope, a = theta
        steepness = exp(power)
        size = size + steepness * self.middle_d
        size_slope = size_slope + steepness * power_slope * self.middle_d
        return [
            *self._expand(floor, floor_slope, q),
            *self._expand(size, size_slope, b),
            *self._expand(power, power_slope, a),
        ]

    def _expand(self, value: Quantity, slope: Quantity, power: Quantity) -> tuple[Quantity, Quantity, Quantity]:
        ratio = slope / power
        return ratio * exp(-self.middle_n * power), power, value - ratio

    def coordinates(self, coefficients: Sequence[Array]) -> Sequence[Array]:
        """See `Chart`."""
        floor, floor_slope, q = self._collect(*coefficients[:3])
        size, size_slope, b = self._collect(*coefficients[3:6])
        power, power_slope, a = self._collect(*coefficients[6:])
        steepness = np.exp(power)
        size = size - steepness * self.middle_d
        size_slope = size_slope - steepness * power_slope * self.middle_d
        return [floor, floor_slope, q, size, size_slope, b, power, power_slope, a]

    def _collect(self, factor: Array, power: Array, offset: Array) -> tuple[Array, Array, Array]:
        term = factor * np.exp(self.middle_n * power)
        return term + offset, term * power, power


def _chart(columns: Mapping[str, Array]) -> FarseerChart:
    return FarseerChart(float(np.log(columns["params"]).mean()), float(np.log(columns["tokens"]).mean()))


def _starts(columns: Mapping[str, Array], loss: Array, _: np.random.Generator) -> Array:
    """Around the additive law, each of its three parts bent by a power of N; found in the chart's coordinates."""
    chart = _chart(columns)
    rows = []
    for a, b, e, alpha, beta in linear_grid(columns, loss, GRID[4:11:2], GRID[4:11:2]):
        term = a * np.exp(-alpha * chart.middle_n)
        floor, floor_slope = np.log(e + term), -alpha * term / (e + term)
        size = np.log(b) - beta * chart.middle_d
        for q in (-0.2, 0.2):
            for power_slope in (-0.1, 0.05):
                rows.append([floor, floor_slope, q, size, 0.0, -0.1, np.log(beta), power_slope, 0.1])
    theta = np.array(rows).T
    return np.stack(chart.coefficients(list(theta)), axis=1)


FARSEER = Form(
    name="farseer",
    expression="exp(s N^q + S) + exp(B N^b + Q) D^(-exp(A N^a + E))",
    coefficients=tuple(Coefficient(name=name, kind="number") for name in _NAMES),
    columns=("params", "tokens"),
    formula=_loss,
    starts=_starts,
    source="Farseer, arXiv:2506.10972",
    note="Nine coefficients: needs hundreds of runs over three decades. Its E is no irreducible loss. In another unit of D "
    "it is another law.",
    chart=_chart,
)
