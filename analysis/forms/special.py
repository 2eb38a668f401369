"""Forms for over-training (Gadre), Farseer's nine coefficients, and three laws that read a further column."""

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
    source="Gadre et al. 2024, arXiv:2403.08540, equation 4: E + (a' M^eta + b M^-eta) C^-eta with M = D/N, eta = alpha/2",
    note="Equal exponents keep the law the same at every over-training M. The paper's a' is a 6^(alpha/2).",
)

_FARSEER_NAMES = ("s", "q", "S", "B", "b", "Q", "A", "a", "E")


def _farseer_loss(c: Mapping[str, Quantity], x: Mapping[str, Quantity]) -> Quantity:
    n = x["params"]
    floor = exp(c["s"] * n ** c["q"] + c["S"])
    size = c["B"] * n ** c["b"] + c["Q"]
    power = exp(c["A"] * n ** c["a"] + c["E"])
    return floor + exp(size - power * np.log(x["tokens"]))


def _farseer_starts(columns: Mapping[str, Array], loss: Array, generator: np.random.Generator) -> Array:
    """Around the additive law: its floor + N term, D term's size and power, each bent by a power of N.

    s N^q + S etc. are matched to their value and slope at the middle of ln N, for several powers.
    """
    u = np.log(columns["params"])
    middle = u.mean()
    rows = []
    for a, b, e, alpha, beta in linear_grid(columns, loss, GRID[4:11:2], GRID[4:11:2]):
        term = a * np.exp(-alpha * middle)
        floor, floor_slope = np.log(e + term), -alpha * term / (e + term)
        for q in (0.1, 0.3):
            for power_slope in (-0.05, 0.0, 0.05):
                size_slope = power_slope * beta * np.log(columns["tokens"]).mean()
                parts = (
                    *_bent(q, floor, floor_slope, middle),
                    *_bent(-0.1, np.log(b), size_slope, middle),
                    *_bent(0.1, np.log(beta), power_slope, middle),
                )
                rows.append(parts)
    starts = np.array(rows)
    return starts * (1 + 1e-3 * generator.standard_normal(starts.shape))


def _bent(power: float, value: float, slope: float, middle: float) -> tuple[float, float, float]:
    """(s, q, S) such that s N^q + S has this value and this slope in ln N at the middle."""
    factor = slope / power * np.exp(-power * middle)
    return factor, power, value - slope / power


FARSEER = Form(
    name="farseer",
    expression="exp(s N^q + S) + exp(B N^b + Q) D^(-exp(A N^a + E))",
    coefficients=tuple(Coefficient(name=name, kind="number") for name in _FARSEER_NAMES),
    columns=("params", "tokens"),
    formula=_farseer_loss,
    starts=_farseer_starts,
    source="Farseer, arXiv:2506.10972",
    note="Nine coefficients: needs hundreds of runs over three decades. Its E is no irreducible loss.",
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
        effective = effective * (1.0 - exp(-x[f"bits_{part}"] / c[f"gamma_{part}"]))
    return c["E"] + c["A"] * effective ** -c["alpha"] + c["B"] * x["tokens"] ** -c["beta"]


def _precision_starts(columns: Mapping[str, Array], loss: Array, _: np.random.Generator) -> Array:
    base = linear_grid(columns, loss, GRID[::2], GRID[::2])
    return np.concatenate([np.column_stack([base, np.full((len(base), 3), bits)]) for bits in (0.7, 1.5, 2.5)])


PRECISION = Form(
    name="precision",
    expression="E + A/N'^alpha + B/D^beta, N' = N prod over weights, activations, cache of (1 - exp(-bits/gamma))",
    coefficients=(
        A,
        B,
        E,
        ALPHA,
        BETA,
        *(
            Coefficient(name=f"gamma_{part}", kind="scale", meaning=f"bits of the {part} that matter")
            for part in _PARTS
        ),
    ),
    columns=("params", "tokens", *(f"bits_{part}" for part in _PARTS)),
    formula=_precision_loss,
    starts=_precision_starts,
    source="Kumar et al. 2024, arXiv:2411.04330, equation 3",
    note="Training in low precision. The paper's own fit adds a shift of each bit count that its equation leaves out.",
)
