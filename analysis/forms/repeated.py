"""Repeated data: tokens seen again, and parameters beyond what unique data support, are worth less."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from analysis.forms.additive import ALPHA, BETA, GRID, A, B, E, linear_grid
from analysis.forms.form import Coefficient, Form
from analysis.forms.jet import Quantity, exp, maximum, minimum

Array = NDArray[np.float64]


def effective_amount(unique: Quantity, repeats: Quantity, half_life: Quantity) -> Quantity:
    """What `unique` seen 1 + repeats times is worth: U + U R* (1 - exp(-repeats / R*))."""
    return unique + unique * half_life * (1.0 - exp(-repeats / half_life))


def _loss(c: Mapping[str, Quantity], x: Mapping[str, Quantity]) -> Quantity:
    unique = x["unique_tokens"]
    repeats = np.maximum(x["tokens"] / unique - 1.0, 0.0)
    tokens = effective_amount(np.minimum(unique, x["tokens"]), repeats, c["R_D"])
    balance = (c["alpha"] * c["A"] / (c["beta"] * c["B"])) ** (1.0 / (c["alpha"] + c["beta"]))
    supported = balance * (balance * unique) ** (c["beta"] / c["alpha"])
    base = minimum(supported, x["params"])
    excess = maximum(x["params"] / base - 1.0, 0.0)
    params = effective_amount(base, excess, c["R_N"])
    return c["E"] + c["A"] * params ** -c["alpha"] + c["B"] * tokens ** -c["beta"]


def _starts(columns: Mapping[str, Array], loss: Array, _: np.random.Generator) -> Array:
    """The additive grid on tokens seen and on unique tokens, with three half-lives each."""
    seen = linear_grid(columns, loss, GRID[2::2], GRID[2::2])
    unique = {**columns, "tokens": np.minimum(columns["tokens"], columns["unique_tokens"])}
    base = np.concatenate([seen, linear_grid(unique, loss, GRID[2::2], GRID[2::2])])
    halves = np.array([[2.0, 2.0], [5.0, 15.0], [15.0, 5.0], [30.0, 30.0]])
    return np.concatenate([np.column_stack([base, np.tile(pair, (len(base), 1))]) for pair in halves])


REPEATED_DATA = Form(
    name="repeated-data",
    expression="E + A/N'^alpha + B/D'^beta, D' = U + U R_D (1 - exp(-(D/U - 1)/R_D)), N' likewise with R_N",
    coefficients=(
        A,
        B,
        E,
        ALPHA,
        BETA,
        Coefficient(name="R_N", kind="scale", meaning="multiples of excess parameters after which more add little"),
        Coefficient(name="R_D", kind="scale", meaning="repeats after which another epoch is worth little"),
    ),
    columns=("params", "tokens", "unique_tokens"),
    formula=_loss,
    starts=_starts,
    source="Muennighoff et al. 2023, arXiv:2305.16264, equations 5 and 6",
    note="Parameters count as excess beyond the compute-optimal size for the unique tokens.",
)
