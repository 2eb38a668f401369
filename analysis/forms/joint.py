"""Relatives of the additive law in N and D: one exponent, a power around the sum, Kaplan's and Rosenfeld's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from analysis.forms.additive import ALPHA, BETA, GRID, A, B, E, linear_grid
from analysis.forms.form import Coefficient, Form
from analysis.forms.jet import Quantity

Array = NDArray[np.float64]


def _equal_loss(c: Mapping[str, Quantity], x: Mapping[str, Quantity]) -> Quantity:
    return c["E"] + c["A"] * x["params"] ** -c["alpha"] + c["B"] * x["tokens"] ** -c["alpha"]


def _equal_starts(columns: Mapping[str, Array], loss: Array, _: np.random.Generator) -> Array:
    return np.concatenate([linear_grid(columns, loss, GRID[[k]], GRID[[k]])[:, :4] for k in range(len(GRID))])


EQUAL_EXPONENTS = Form(
    name="equal-exponents",
    expression="E + A/N^alpha + B/D^alpha",
    coefficients=(
        A,
        Coefficient(name="B", kind="prefactor", meaning="size of the D term", exponent="alpha", column="tokens"),
        E,
        ALPHA,
    ),
    columns=("params", "tokens"),
    formula=_equal_loss,
    starts=_equal_starts,
    source="The additive law with alpha = beta, as in Muennighoff et al. 2023, arXiv:2305.16264",
    note="Makes N* and D* grow alike, a = b = 1/2, by assumption.",
)


def _gamma_loss(c: Mapping[str, Quantity], x: Mapping[str, Quantity]) -> Quantity:
    return c["E"] + (c["A"] * x["params"] ** -c["alpha"] + c["B"] * x["tokens"] ** -c["beta"]) ** c["gamma"]


def _gamma_starts(columns: Mapping[str, Array], loss: Array, _: np.random.Generator) -> Array:
    """The additive grid with each term's share of the sum kept, under several powers."""
    base = linear_grid(columns, loss, GRID[::2], GRID[::2])
    rows = []
    for gamma in (0.5, 0.75, 1.0, 1.5):
        a, b, e, alpha, beta = base.T
        rows.append(np.stack([a ** (1 / gamma), b ** (1 / gamma), e, alpha / gamma, beta / gamma], axis=1))
        rows[-1] = np.column_stack([rows[-1], np.full(len(base), gamma)])
    return np.concatenate(rows)


GAMMA = Form(
    name="gamma",
    expression="E + (A/N^alpha + B/D^beta)^gamma",
    coefficients=(A, B, E, ALPHA, BETA, Coefficient(name="gamma", kind="exponent", meaning="power of the sum")),
    columns=("params", "tokens"),
    formula=_gamma_loss,
    starts=_gamma_starts,
    source="Holds the additive law (gamma = 1) and Kaplan's (E = 0, beta = 1) as special cases",
    note="Six coefficients: wants two decades of compute, or the exponents trade against gamma.",
)


def _kaplan_loss(c: Mapping[str, Quantity], x: Mapping[str, Quantity]) -> Quantity:
    ratio = c["alpha_N"] / c["alpha_D"]
    return ((c["N_c"] / x["params"]) ** ratio + c["D_c"] / x["tokens"]) ** c["alpha_D"]


def _kaplan_starts(columns: Mapping[str, Array], loss: Array, _: np.random.Generator) -> Array:
    """For each pair of exponents L^(1/alpha_D) is linear in N^-(alpha_N/alpha_D) and 1/D."""
    rows = []
    n, d = columns["params"], columns["tokens"]
    for alpha_n in np.geomspace(0.03, 0.6, 8):
        for alpha_d in np.geomspace(0.03, 0.6, 8):
            ratio = alpha_n / alpha_d
            target = loss ** (1 / alpha_d)
            terms = np.stack([(n / n.min()) ** -ratio, d.min() / d], axis=1) / target[:, None]
            solution = np.linalg.lstsq(terms, np.ones(len(loss)), rcond=None)[0]
            sizes = np.maximum(solution, 0.02 * target.min())
            rows.append([n.min() * sizes[0] ** (1 / ratio), d.min() * sizes[1], alpha_n, alpha_d])
    return np.array(rows)


KAPLAN_JOINT = Form(
    name="kaplan-joint",
    expression="((N_c/N)^(alpha_N/alpha_D) + D_c/D)^alpha_D",
    coefficients=(
        Coefficient(name="N_c", kind="scale", meaning="size at which unlimited data would give a loss of 1"),
        Coefficient(name="D_c", kind="scale", meaning="data at which an unlimited model would give a loss of 1"),
        Coefficient(name="alpha_N", kind="exponent", meaning="power of N"),
        Coefficient(name="alpha_D", kind="exponent", meaning="power of D"),
    ),
    columns=("params", "tokens"),
    formula=_kaplan_loss,
    starts=_kaplan_starts,
    source="Kaplan et al. 2020, arXiv:2001.08361, equation 1.5",
    note="Has no irreducible loss. Made for early-stopped training on limited data.",
)


def _rosenfeld_loss(c: Mapping[str, Quantity], x: Mapping[str, Quantity]) -> Quantity:
    power = c["E"] + c["A"] * x["params"] ** -c["alpha"] + c["B"] * x["tokens"] ** -c["beta"]
    return (power**-2.0 + c["L_0"] ** -2.0) ** -0.5


def _rosenfeld_starts(columns: Mapping[str, Array], loss: Array, _: np.random.Generator) -> Array:
    base = linear_grid(columns, loss, GRID[::2], GRID[::2])
    levels = (1.1, 2.0, 10.0)
    return np.concatenate([np.column_stack([base, np.full(len(base), level * loss.max())]) for level in levels])


ROSENFELD = Form(
    name="rosenfeld",
    expression="x / sqrt(1 + (x/L_0)^2), x = E + A/N^alpha + B/D^beta",
    coefficients=(A, B, E, ALPHA, BETA, Coefficient(name="L_0", kind="scale", meaning="loss of guessing")),
    columns=("params", "tokens"),
    formula=_rosenfeld_loss,
    starts=_rosenfeld_starts,
    source="Rosenfeld et al. 2020, arXiv:1909.12673, equation 5, with its two scales joined into one",
    note="Levels off at the loss of guessing, L_0, for tiny models and data; fix L_0 to ln(vocabulary) where known.",
)
