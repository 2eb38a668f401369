"""The ten laws that arXiv:2604.22753 fits to its pool of repeated data, as forms, for benchmarks/scalebench.py.

Each is a sum of terms with a weight: once its powers and rates are held, the weights follow by linear least squares. The
search starts from that solution on a grid of powers and rates. N is in 2e8 parameters, D and U (unique tokens) in 1e9, near the
middle of sweeps of that size: that moves weights, not laws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.forms.form import Coefficient, Form, Kind, Starts
from analysis.forms.jet import Quantity, exp, maximum, minimum
from analysis.forms.repeated import effective_amount

Array = NDArray[np.float64]
Named = Mapping[str, Quantity]
Terms = Callable[[Named, Named], Sequence[Quantity]]
"""(powers and rates by name, columns by name) -> the terms, without their weights."""
Grid = Mapping[str, tuple[Kind, Sequence[float]]]
"""Kind and starting values of each power and rate."""

PARAMS, TOKENS = 2e8, 1e9

POWERS = (0.25, 0.5, 0.9)
"""Starting powers of a column (chosen): published ones lie between .07 and .7."""

REPEATS = (3.0, 12.0, 50.0)
"""Starting numbers of epochs after which more add little (chosen): Muennighoff et al. 2023 found 15."""

NEVER = 1e-9
"""Stands for no repeats at all where a power of them is taken: its derivative is not defined at zero."""

LEAST = 0.01
"""A positive weight starts at no less than this share of the lowest loss (chosen, as in the additive law's starts)."""


def amounts(x: Named) -> tuple[Quantity, Quantity, Quantity]:
    """N, D and U in units."""
    return x["params"] / PARAMS, x["tokens"] / TOKENS, x["unique_tokens"] / TOKENS


def floor_moves(c: Named, x: Named) -> Sequence[Quantity]:
    n, d, u = amounts(x)
    return n ** -c["alpha"], d ** -c["beta"], u ** -c["gamma"] * n ** -c["delta"]


def three_powers(c: Named, x: Named) -> Sequence[Quantity]:
    n, d, u = amounts(x)
    return 1.0, u ** -c["p"], n ** -c["q"], d ** -c["r"]


def effective(c: Named, x: Named) -> Sequence[Quantity]:
    n, d, u = amounts(x)
    tokens = effective_amount(u, np.maximum(d / u - 1.0, 0.0), c["tau_D"])
    base = minimum(c["rho"] * (x["unique_tokens"] / PARAMS), n)
    params = effective_amount(base, maximum(n / base - 1.0, 0.0), c["tau_N"])
    return params ** -c["alpha"], tokens ** -c["alpha"], 1.0


def saturating(c: Named, x: Named) -> Sequence[Quantity]:
    n, d, u = amounts(x)
    return 1.0, n ** -c["a"], (1.0 / d + 1.0 / (c["s"] * u * n ** c["d"])) ** c["b"]


def geometric(c: Named, x: Named) -> Sequence[Quantity]:
    n, d, u = amounts(x)
    share = c["odds"] / (1.0 + c["odds"])
    return n ** -c["alpha"], exp(-c["beta"] * (share * np.log(u) + (1.0 - share) * np.log(d))), 1.0


def discounted(c: Named, x: Named) -> Sequence[Quantity]:
    n, d, u = amounts(x)
    waste = c["C"] * np.maximum(d / u - 1.0, NEVER) ** c["c"] * n ** c["d"]
    return 1.0, n ** -c["alpha"], ((1.0 + waste) / d) ** c["beta"]


def product(c: Named, x: Named) -> Sequence[Quantity]:
    n, d, u = amounts(x)
    return 1.0, (n * u) ** -c["p"], d ** -c["q"], n ** -c["r"]


def log_ratio(c: Named, x: Named) -> Sequence[Quantity]:
    n, d, u = amounts(x)
    return 1.0, d ** -c["alpha"], n ** -c["beta"], np.log(u / d + 1.0) ** c["gamma"]


def scarcity(c: Named, x: Named) -> Sequence[Quantity]:
    n, d, u = amounts(x)
    return n ** -c["alpha"], d ** -c["beta"], d ** -c["beta"] * u ** -c["gamma"], 1.0


def norm(c: Named, x: Named) -> Sequence[Quantity]:
    n, d, u = amounts(x)
    power = c["b"] * c["q"]
    return 1.0, n ** -c["a"], (d**-power + (c["k"] * u) ** -power) ** (1.0 / c["q"])


def make_law(number: int, expression: str, weights: str, terms: Terms, grid: Grid, *, signed: str = "") -> Form:
    """A form of its terms.

    Args:
        number: In the paper's list.
        expression: The formula for people.
        weights: Names of the terms' weights.
        terms: The terms.
        grid: Where powers and rates start.
        signed: Names of the weights that may be negative.
    """
    names = weights.split()

    def loss(c: Named, x: Named) -> Quantity:
        return sum((c[name] * term for name, term in zip(names, terms(c, x), strict=True)), 0.0)

    kinds: list[Kind] = ["number" if name in signed.split() else "prefactor" for name in names]
    return Form(
        name=f"dc-{number}",
        expression=expression,
        coefficients=(
            *(Coefficient(name=name, kind=kind) for name, kind in zip(names, kinds, strict=True)),
            *(Coefficient(name=name, kind=kind) for name, (kind, _) in grid.items()),
        ),
        columns=("params", "tokens", "unique_tokens"),
        formula=loss,
        starts=grid_starts(terms, grid, np.array([kind == "prefactor" for kind in kinds])),
        source="arXiv:2604.22753, the pool of repeated data",
    )


def grid_starts(terms: Terms, grid: Grid, positive: NDArray[np.bool_]) -> Starts:
    """Best weights at each point of the grid, by least squares on relative residuals."""
    points = np.stack(np.meshgrid(*(values for _, values in grid.values()), indexing="ij"), -1).reshape(-1, len(grid))
    named = dict(zip(grid, points.T[:, :, None], strict=True))

    def starts(columns: Mapping[str, Array], loss: Array, _: np.random.Generator) -> Array:
        shape = (len(points), len(loss))
        basis = np.stack([np.broadcast_to(term, shape) for term in terms(named, columns)], axis=-1)
        size = basis.mean(axis=1)
        scaled = basis / size[:, None] / loss[:, None]
        gram = np.einsum("gni,gnj->gij", scaled, scaled)
        ridge = 1e-8 * np.einsum("gii->g", gram)[:, None, None] * np.eye(len(positive))
        weights = np.linalg.solve(gram + ridge, scaled.sum(axis=1)[..., None])[..., 0]
        weights = np.where(positive, np.maximum(weights, LEAST * loss.min()), weights)
        return np.concatenate([weights / size, points], axis=1)

    return starts


def powers(*names: str, values: Sequence[float] = POWERS) -> dict[str, tuple[Kind, Sequence[float]]]:
    return dict.fromkeys(names, ("exponent", values))


def rate(name: str, values: Sequence[float]) -> dict[str, tuple[Kind, Sequence[float]]]:
    return {name: ("scale", values)}


def number(name: str, *values: float) -> dict[str, tuple[Kind, Sequence[float]]]:
    return {name: ("number", values)}


TEN_LAWS = (
    make_law(1, "A/N^alpha + B/D^beta + E/(U^gamma N^delta)", "A B E", floor_moves,
             powers("alpha", "beta") | number("gamma", 0.0, 0.05, 0.1) | number("delta", 0.0, 0.05, 0.1)),
    make_law(2, "a + b/U^p + c/N^q + d/D^r", "a b c d", three_powers,
             powers("p", values=(0.1, 0.25, 0.5, 0.9)) | powers("q", "r")),
    make_law(3, "A/N'^alpha + B/D'^alpha + C, D' = U + U tau_D (1 - exp(-(D/U - 1)/tau_D)), N' likewise of min(rho U, N)",
             "A B C", effective, powers("alpha") | rate("tau_N", (0.2, 1.0, 5.0)) | rate("tau_D", REPEATS)
             | rate("rho", (0.05, 0.3, 2.0))),
    make_law(4, "L0 + A/N^a + B/T^b, T = D/(1 + D/(s U N^d))", "L0 A B", saturating,
             powers("a", "b") | rate("s", REPEATS) | number("d", -0.5, 0.0, 0.5)),
    make_law(5, "A/N^alpha + B/D'^beta + E, D' = U^g D^(1-g), g = odds/(1 + odds)", "A B E", geometric,
             powers("alpha", "beta") | rate("odds", (0.03, 0.1, 0.3, 1.0))),
    make_law(6, "E + A/N^alpha + B/D'^beta, D' = D/(1 + C max(D/U - 1, 0)^c N^d)", "E A B", discounted,
             powers("alpha", "beta") | rate("C", (0.02, 0.2)) | powers("c", values=(0.5, 1.0))
             | number("d", -0.5, 0.0, 0.5)),
    make_law(7, "L0 + A/(N U)^p + B/D^q + C/N^r", "L0 A B C", product,
             powers("p", values=(0.1, 0.25, 0.5)) | powers("q") | powers("r", values=(0.25, 0.5, 0.9, 1.6))),
    make_law(8, "a + b/D^alpha + c/N^beta + d ln(U/D + 1)^gamma", "a b c d", log_ratio,
             powers("alpha", "beta") | powers("gamma", values=(0.2, 0.5, 1.0, 2.0)), signed="a d"),
    make_law(9, "A/N^alpha + B/D^beta + K/(D^beta U^gamma) + L, where K = B C", "A B K L", scarcity,
             powers("alpha", "beta") | powers("gamma", values=(0.1, 0.25, 0.5, 1.0))),
    make_law(10, "L0 + A/N^a + B (D^(-b q) + (k U)^(-b q))^(1/q)", "L0 A B", norm,
             powers("a", "b") | rate("k", REPEATS) | rate("q", (1.0, 3.0))),
)  # fmt: skip
"""In the paper's order."""
