"""Parabolas through IsoFLOP curves: weighted least squares, the vertex, and what can be said about where it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.table import Array


@dataclass(frozen=True, kw_only=True)
class Parabola:
    """y = c0 + c1 (x - centre) + c2 (x - centre)², by weighted least squares.

    Attributes:
        centre: Middle of the observed x, so that the coefficients are nearly uncorrelated.
        coefficients: c0, c1, c2, shape (3,).
        unscaled: Inverse of X'WX, shape (3, 3); times the noise variance it is the covariance.
        gradient_norm: Largest component of the gradient at the solution over that at zero; rounding alone when solved.
        newton_decrement: Root of g' H^-1 g there: how far in the objective a Newton step would still go.
        condition: Condition number of the weighted design.
    """

    centre: float
    coefficients: Array
    unscaled: Array
    gradient_norm: float
    newton_decrement: float
    condition: float

    @property
    def vertex(self) -> float:
        """Where the slope is zero."""
        _, slope, bend = self.coefficients
        return float(self.centre - slope / (2 * bend)) if bend else float("inf")

    def __call__(self, x: Array) -> Array:
        """The parabola at x."""
        return np.asarray(_design(x - self.centre) @ self.coefficients)

    def at_vertex(self) -> float:
        """Its lowest (or highest) value."""
        constant, slope, bend = self.coefficients
        return float(constant - slope**2 / (4 * bend)) if bend else float("nan")

    def vertex_gradient(self) -> Array:
        """Derivative of the vertex by the coefficients, shape (3,)."""
        _, slope, bend = self.coefficients
        return np.array([0.0, -1 / (2 * bend), slope / (2 * bend**2)])

    def vertex_se(self, noise: float) -> float:
        """Standard error of the vertex for a standard deviation `noise` of one run, to first order."""
        gradient = self.vertex_gradient()
        return float(noise * np.sqrt(gradient @ self.unscaled @ gradient))

    def minimum_se(self, noise: float) -> float:
        """Standard error of the value at the vertex; the vertex' own error does not enter to first order."""
        row = _design(np.array([self.vertex - self.centre]))[0]
        return float(noise * np.sqrt(row @ self.unscaled @ row))

    def rise(self, x: Array, y: Array, weights: Array, noise: float) -> Array:
        """Each point's height above the fitted minimum, over the standard error of that difference.

        The point entered the fit, so their covariance is subtracted: var = noise² (1/w + h_vv - 2 h_vi).
        """
        rows, vertex = _design(x - self.centre), _design(np.array([self.vertex - self.centre]))[0]
        variance = 1 / weights + vertex @ self.unscaled @ vertex - 2 * rows @ self.unscaled @ vertex
        se = noise * np.sqrt(np.maximum(variance, 0))
        height = y - self.at_vertex()
        return np.asarray(np.divide(height, se, out=np.where(height > 0, np.inf, 0.0), where=se > 0))

    def fieller(self, noise: float, quantile: float) -> tuple[float | None, float | None]:
        """Fieller's interval of the vertex: all x at which the slope is within `quantile` standard errors of zero.

        Unlike the first-order error it knows that a ratio with an uncertain denominator has no bounds: where the
        curvature is not significant both ends are open.
        """
        _, slope, bend = self.coefficients
        V = self.unscaled * (noise * quantile) ** 2
        a, b, c = 4 * (bend**2 - V[2, 2]), 4 * (slope * bend - V[1, 2]), slope**2 - V[1, 1]
        if a <= 0 or bend <= 0:
            return None, None
        root = np.sqrt(max(b * b - 4 * a * c, 0.0))
        return float(self.centre + (-b - root) / (2 * a)), float(self.centre + (-b + root) / (2 * a))


def fit_parabola(x: Array, y: Array, weights: Array) -> Parabola:
    """Weighted least squares through at least three distinct x; all arrays have shape (n,)."""
    centre = float(x.min() + x.max()) / 2
    root = np.sqrt(weights)
    design = _design(x - centre) * root[:, None]
    Q, R = np.linalg.qr(design)
    inverse = np.linalg.inv(R)
    coefficients = inverse @ (Q.T @ (y * root))
    gradient = design.T @ (design @ coefficients - y * root)
    scale = np.abs(design.T @ (y * root)).max() or 1.0
    return Parabola(
        centre=centre,
        coefficients=coefficients,
        unscaled=inverse @ inverse.T,
        gradient_norm=float(np.abs(gradient).max() / scale),
        newton_decrement=float(np.linalg.norm(inverse.T @ gradient)),
        condition=float(np.linalg.cond(R)),
    )


def vertices(x: Array, y: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Vertex, value there and curvature of many parabolas through the same points.

    Args:
        x: Abscissae, shape (n,).
        y: Ordinates, shape (n,) or (m, n).
        weights: Weights, shape (m, n).

    Returns:
        Three arrays of shape (m,); NaN where fewer than three distinct x carry weight.
    """
    centre = float(x.min() + x.max()) / 2
    X = _design(x - centre)
    normal = np.einsum("mn,ni,nj->mij", weights, X, X)
    right = np.einsum("mn,mn,ni->mi", weights, np.broadcast_to(y, weights.shape), X)
    solvable = _distinct(x, weights) >= 3
    normal[~solvable] = np.eye(3)
    c = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    c[~solvable] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        return centre - c[:, 1] / (2 * c[:, 2]), c[:, 0] - c[:, 1] ** 2 / (4 * c[:, 2]), c[:, 2]


def _distinct(x: Array, weights: Array) -> Array:
    _, labels = np.unique(x, return_inverse=True)
    member = np.eye(labels.max() + 1)[labels]
    return np.asarray(((weights @ member) > 0).sum(axis=1))


def _design(x: Array) -> Array:
    return np.stack([np.ones_like(x), x, x * x], axis=1)
