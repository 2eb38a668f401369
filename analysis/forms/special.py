"""Forms for over-training (Gadre), and for mixtures of experts and low precision, which read a further column."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from analysis.forms.additive import ALPHA, BETA, GRID, A, B, E, linear_grid
from analysis.forms.form import Coefficient, Form
from analysis.forms.jet import Quantity, exp

Array = NDArray[np.float64]


def _gadre_loss(c: Mapping[str, Quantity], x: Mapping[str, Quantity]) -> Quantity:
    scaled = c["b"] * 6.0 ** (-0.5 * c["alpha"])
    return c["E"] + c["a"] * x["params"] ** -c["alpha"] + scaled * x["tokens"] ** -c["alpha"]


def _gadre_starts(columns: Mapping[str, Array], loss: Array, _: np.random.Generator) -> Array:
    fits = np.concatenate([linear_grid(columns, loss, GRID[[k]], GRID[[k]])[:, :4] for k in range(len(GRID))])
    fits[:, 1] *= 6.0 ** (0.5 * fits[:, 3])
    return fits


OVER_TRAINING = Form(
    name="over-training",
    expression="E + a/N^alpha + b 6^(-alpha/2)/D^alpha",
    coefficients=(
        Coefficient(name="a", kind="prefactor", meaning="size of the N term", exponent="alpha", column="params"),
        Coefficient(name="b", kind="prefactor", meaning="size of the D term", exponent="alpha", column="tokens"),
        E,
        ALPHA,
    ),
    columns=("params", "tokens"),
    formula=_gadre_loss,
    starts=_gadre_starts,
    source="Gadre et al. 2024, arXiv:2403.08540: E + (a' M^eta + b M^-eta) C^-eta, M = D/N, eta = alpha/2",
    note="Equal exponents keep the law the same at every over-training M. The paper's a' is a 6^(alpha/2).",
)


def _granular_loss(c: Mapping[str, Quantity], x: Mapping[str, Quantity]) -> Quantity:
    factor = c["g"] * x["granularity"] ** -c["gamma"] + c["A"]
    return c["E"] + factor * x["params"] ** -c["alpha"] + c["B"] * x["tokens"] ** -c["beta"]


def _granular_starts(columns: Mapping[str, Array], loss: Array, _: np.random.Generator) -> Array:
    base = linear_grid(columns, loss, GRID[::2], GRID[::2])
    return np.concatenate(
        [np.column_stack([base, share * base[:, 0], np.full(len(base), 0.6)]) for share in (0.05, 0.2, 0.6)]
    )


GRANULARITY = Form(
    name="moe-granularity",
    expression="E + (g/G^gamma + A)/N^alpha + B/D^beta",
    coefficients=(
        A,
        B,
        E,
        ALPHA,
        BETA,
        Coefficient(name="g", kind="scale", meaning="size of the granularity term"),
        Coefficient(name="gamma", kind="exponent", meaning="power of granularity"),
    ),
    columns=("params", "tokens", "granularity"),
    formula=_granular_loss,
    starts=_granular_starts,
    source="Krajewski et al. 2024, arXiv:2402.07871, equation 7",
    note="A mixture of experts; N counts all parameters without embeddings, at a fixed expansion rate.",
)

_PARTS = ("weights", "activations", "cache")


def _precision_loss(c: Mapping[str, Quantity], x: Mapping[str, Quantity]) -> Quantity:
    effective = x["params"]
    for part in _PARTS:
        effective = effective * (1.0 - exp(c[f"shift_{part}"] - x[f"bits_{part}"] / c[f"gamma_{part}"]))
    return c["E"] + c["A"] * effective ** -c["alpha"] + c["B"] * x["tokens"] ** -c["beta"]


def _precision_starts(columns: Mapping[str, Array], loss: Array, _: np.random.Generator) -> Array:
    base = linear_grid(columns, loss, GRID[::2], GRID[::2])
    flat = np.zeros((len(base), 3))
    return np.concatenate([np.column_stack([base, flat + bits, flat]) for bits in (0.7, 1.5, 2.5)])


PRECISION = Form(
    name="precision",
    expression="E + A/N'^alpha + B/D^beta, N' = N prod (1 - exp(shift - bits/gamma)) over weights, activations, cache",
    coefficients=(
        A,
        B,
        E,
        ALPHA,
        BETA,
        *(Coefficient(name=f"gamma_{part}", kind="scale", meaning=f"bits of {part} that matter") for part in _PARTS),
        *(Coefficient(name=f"shift_{part}", kind="number", meaning=f"where {part} begin to matter") for part in _PARTS),
    ),
    columns=("params", "tokens", *(f"bits_{part}" for part in _PARTS)),
    formula=_precision_loss,
    starts=_precision_starts,
    source="Kumar et al. 2024, arXiv:2411.04330, equation 3",
    note="Training in low precision. Only the paper's appendix has the shifts; fix them to 0 for its equation.",
)
