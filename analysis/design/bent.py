"""The sampler's family of laws: additive, with room to be wrong.

L = E + (u + v)^gamma, u = exp(a - alpha n (1 + k n / 2)), v = exp(b - beta d (1 + l d / 2)), where n and d are ln N and
ln D less their values at the middle of the sweep. On curve c, n is replaced by n - s_c and d by d + s_c: every curve's
optimum may lie a little off the law's. With gamma = 1 and k = l = s = 0 this is the additive law. The prior holds these
four near there; what the runs say beyond it is learnt, and because it could be, cheap curves alone can never make
the extrapolation certain.

Far from a curve's optimum the loss may leave the law: to it is added f |x|^3, x the decades of N from where the optimum was
expected and f of its own on either side, f + g t at t decades of budget from the middle. This moves no optimum; but where it
is likely (`belief.likeliest`), far runs no longer bend the law near its minima, and teach little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.design.surface import Columns

Array = NDArray[np.float64]

COMMON = ("ln E", "a", "b", "ln alpha", "ln beta", "ln gamma", "k", "l")
FAR = ("f left", "f right", "g left", "g right")


@dataclass(frozen=True, kw_only=True)
class BentSurface:
    """The additive law with bends, a shift for every curve, and departures far off; reads `curve` and `off` beside N and D.

    `off` is the distance in decades of N from where the curve's optimum was expected; where it is 0 nothing departs.

    Attributes:
        middle_n: ln N at the middle of the sweep.
        middle_d: ln D there.
        curves: Number of curves.
    """

    middle_n: float
    middle_d: float
    curves: int

    @property
    def names(self) -> tuple[str, ...]:
        """See `Surface`."""
        return (*COMMON, *(f"shift {curve}" for curve in range(self.curves)), *FAR)

    def predict(self, theta: Array, columns: Columns) -> tuple[Array, Array]:
        """See `Surface`; a row whose curve is negative has no shift."""
        with np.errstate(over="ignore", invalid="ignore"):  # a step too far is not finite, and is not taken
            return self._predict(theta, columns)

    def _predict(self, theta: Array, columns: Columns) -> tuple[Array, Array]:
        floor, alpha, beta, gamma = np.exp(theta[[0, 3, 4, 5]])
        k, bend = theta[6], theta[7]
        curve = columns["curve"].astype(np.int64)
        shift = np.where(curve >= 0, theta[8 : 8 + self.curves][curve], 0.0)
        n = np.log(columns["params"]) - self.middle_n - shift
        d = np.log(columns["tokens"]) - self.middle_d + shift
        u = np.exp(theta[1] - alpha * n * (1 + 0.5 * k * n))
        v = np.exp(theta[2] - beta * d * (1 + 0.5 * bend * d))
        total = u + v
        power = total**gamma
        slope = gamma * power / total
        jacobian = np.zeros((len(n), len(theta)))
        jacobian[:, 0] = floor
        jacobian[:, 1] = slope * u
        jacobian[:, 2] = slope * v
        jacobian[:, 3] = -jacobian[:, 1] * alpha * n * (1 + 0.5 * k * n)
        jacobian[:, 4] = -jacobian[:, 2] * beta * d * (1 + 0.5 * bend * d)
        jacobian[:, 5] = gamma * power * np.log(total)
        jacobian[:, 6] = -jacobian[:, 1] * 0.5 * alpha * n * n
        jacobian[:, 7] = -jacobian[:, 2] * 0.5 * beta * d * d
        by_shift = jacobian[:, 1] * alpha * (1 + k * n) - jacobian[:, 2] * beta * (1 + bend * d)
        rows = np.flatnonzero(curve >= 0)
        jacobian[rows, 8 + curve[rows]] = by_shift[rows]
        jacobian[:, -len(FAR) :] = far = self._far(columns)
        return floor + power + far @ theta[-len(FAR) :], jacobian

    def _far(self, columns: Columns) -> Array:
        """What the coordinates of `FAR` multiply, shape (n, 4)."""
        off = columns["off"]
        decades = (np.log(columns["params"] * columns["tokens"]) - self.middle_n - self.middle_d) / np.log(10)
        sides = np.column_stack([np.maximum(-off, 0.0), np.maximum(off, 0.0)]) ** 3
        return np.hstack([sides, sides * decades[:, None]])

    def observed(self, loss: Array) -> Array:
        """See `Surface`: losses in nats."""
        return loss
