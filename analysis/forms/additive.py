"""The additive law of Rosenfeld and Hoffmann, and where to start looking for its five coefficients."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from analysis.forms.form import Coefficient, Form
from analysis.forms.jet import Quantity

Array = NDArray[np.float64]

GRID = np.geomspace(0.05, 1.6, 14)
"""Exponents of the coarse grid (chosen): published ones lie between .07 and .7."""


def _loss(c: Mapping[str, Quantity], x: Mapping[str, Quantity]) -> Quantity:
    return c["E"] + c["A"] * x["params"] ** -c["alpha"] + c["B"] * x["tokens"] ** -c["beta"]


def linear_grid(columns: Mapping[str, Array], loss: Array, alphas: Array, betas: Array) -> Array:
    """Best E, A, B for each pair of exponents, by least squares on relative residuals.

    With the exponents held, the law is linear in the other three: 3 x 3 normal equations, all pairs at once.
    Solutions with a negative term are moved to a small positive one, since they only start a search.

    Args:
        columns: `params` and `tokens`, shape (n,).
        loss: Shape (n,).
        alphas: Exponents of N, shape (I,).
        betas: Exponents of D, shape (J,).

    Returns:
        Coefficients (A, B, E, alpha, beta), shape (I * J, 5).
    """
    u, v = np.log(columns["params"]), np.log(columns["tokens"])
    centre_u, centre_v = u.mean(), v.mean()
    terms_n = np.exp(-alphas[:, None] * (u - centre_u)) / loss
    terms_d = np.exp(-betas[:, None] * (v - centre_v)) / loss
    one = 1 / loss
    gram = np.empty((len(alphas), len(betas), 3, 3))
    gram[..., 0, 0] = one @ one
    gram[..., 0, 1] = gram[..., 1, 0] = (terms_n @ one)[:, None]
    gram[..., 0, 2] = gram[..., 2, 0] = (terms_d @ one)[None, :]
    gram[..., 1, 1] = (terms_n * terms_n).sum(1)[:, None]
    gram[..., 2, 2] = (terms_d * terms_d).sum(1)[None, :]
    gram[..., 1, 2] = gram[..., 2, 1] = terms_n @ terms_d.T
    right = np.empty((len(alphas), len(betas), 3))
    right[..., 0] = one.sum()
    right[..., 1] = terms_n.sum(1)[:, None]
    right[..., 2] = terms_d.sum(1)[None, :]
    ridge = 1e-10 * np.einsum("...ii->...", gram)[..., None, None] * np.eye(3)
    solution = np.linalg.solve(gram + ridge, right[..., None])[..., 0].reshape(-1, 3)
    floor, small = 0.05 * loss.min(), 0.01 * loss.min()
    pairs = np.stack(np.meshgrid(alphas, betas, indexing="ij"), -1).reshape(-1, 2)
    e = np.maximum(solution[:, 0], floor)
    a = np.maximum(solution[:, 1], small) * np.exp(pairs[:, 0] * centre_u)
    b = np.maximum(solution[:, 2], small) * np.exp(pairs[:, 1] * centre_v)
    return np.stack([a, b, e, pairs[:, 0], pairs[:, 1]], axis=1)


def _starts(columns: Mapping[str, Array], loss: Array, _: np.random.Generator) -> Array:
    return linear_grid(columns, loss, GRID, GRID)


A = Coefficient(name="A", kind="prefactor", meaning="size of the N term", exponent="alpha", column="params")
B = Coefficient(name="B", kind="prefactor", meaning="size of the D term", exponent="beta", column="tokens")
E = Coefficient(name="E", kind="floor", meaning="irreducible loss")
ALPHA = Coefficient(name="alpha", kind="exponent", meaning="power of N")
BETA = Coefficient(name="beta", kind="exponent", meaning="power of D")

ADDITIVE = Form(
    name="additive",
    expression="E + A/N^alpha + B/D^beta",
    coefficients=(A, B, E, ALPHA, BETA),
    columns=("params", "tokens"),
    formula=_loss,
    starts=_starts,
    source="Hoffmann et al. 2022, arXiv:2203.15556, approach 3",
)
