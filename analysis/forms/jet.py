"""Jets: a value with its exact first and second derivatives, so that a law is written once, as its formula.

Forward-mode differentiation over arrays. A jet stands for R x n predictions as functions of P coefficients.

Shapes: R candidate coefficient vectors, n runs, P coefficients; an axis of R or n may be 1 and broadcasts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

Quantity = Any
"""What a formula computes with: a float, an array, or a `Jet`. One formula serves all three."""


class Jet:
    """Value, gradient and (optionally) Hessian with respect to P coefficients.

    Attributes:
        value: Shape (R, n).
        gradient: Shape (R, n, P).
        hessian: Shape (R, n, P, P), or None where only first derivatives are wanted.
    """

    __slots__ = ("gradient", "hessian", "value")
    __array_ufunc__ = None  # makes `array ** jet` reach Jet.__rpow__ instead of looping over objects

    def __init__(self, value: Array, gradient: Array, hessian: Array | None) -> None:
        self.value, self.gradient, self.hessian = value, gradient, hessian

    @classmethod
    def variables(cls, theta: Array, *, second_order: bool) -> list[Jet]:
        """The P coordinates of `theta`, shape (R, P), as jets of shape (R, 1)."""
        rows, count = theta.shape
        eye = np.eye(count)
        zero = np.zeros((1, 1, count, count)) if second_order else None
        return [Jet(theta[:, k : k + 1], np.broadcast_to(eye[k], (rows, 1, count)), zero) for k in range(count)]

    def apply(self, value: Array, first: Array, second: Array) -> Jet:
        """Chain rule for a scalar function with these values, first and second derivatives."""
        hessian = None
        if self.hessian is not None:
            outer = self.gradient[..., :, None] * self.gradient[..., None, :]
            hessian = first[..., None, None] * self.hessian + second[..., None, None] * outer
        return Jet(value, first[..., None] * self.gradient, hessian)

    def __neg__(self) -> Jet:
        return Jet(-self.value, -self.gradient, None if self.hessian is None else -self.hessian)

    def __add__(self, other: Quantity) -> Jet:
        if not isinstance(other, Jet):
            return Jet(self.value + other, self.gradient, self.hessian)
        hessian = None if self.hessian is None or other.hessian is None else self.hessian + other.hessian
        return Jet(self.value + other.value, self.gradient + other.gradient, hessian)

    __radd__ = __add__

    def __sub__(self, other: Quantity) -> Jet:
        return self.__add__(-other)

    def __rsub__(self, other: Quantity) -> Jet:
        return (-self).__add__(other)

    def __mul__(self, other: Quantity) -> Jet:
        if not isinstance(other, Jet):
            factor = np.asarray(other, dtype=np.float64)
            hessian = None if self.hessian is None else self.hessian * factor[..., None, None]
            return Jet(self.value * factor, self.gradient * factor[..., None], hessian)
        hessian = None
        if self.hessian is not None and other.hessian is not None:
            cross = self.gradient[..., :, None] * other.gradient[..., None, :]
            hessian = (
                self.hessian * other.value[..., None, None]
                + other.hessian * self.value[..., None, None]
                + cross
                + np.swapaxes(cross, -1, -2)
            )
        gradient = self.gradient * other.value[..., None] + other.gradient * self.value[..., None]
        return Jet(self.value * other.value, gradient, hessian)

    __rmul__ = __mul__

    def __truediv__(self, other: Quantity) -> Jet:
        return self.__mul__(
            other.__pow__(-1.0) if isinstance(other, Jet) else 1.0 / np.asarray(other, dtype=np.float64)
        )

    def __rtruediv__(self, other: Quantity) -> Jet:
        return self.__pow__(-1.0).__mul__(other)

    def __pow__(self, power: Quantity) -> Jet:
        if isinstance(power, Jet):
            return _exp(_log(self).__mul__(power))
        value = self.value**power
        return self.apply(value, power * self.value ** (power - 1), power * (power - 1) * self.value ** (power - 2))

    def __rpow__(self, base: Quantity) -> Jet:
        return _exp(self.__mul__(np.log(base)))


def exp(x: Quantity) -> Quantity:
    """Exponential of a float, array or jet."""
    return _exp(x) if isinstance(x, Jet) else np.exp(x)


def log(x: Quantity) -> Quantity:
    """Natural logarithm of a float, array or jet."""
    return _log(x) if isinstance(x, Jet) else np.log(x)


def minimum(x: Quantity, y: Quantity) -> Quantity:
    """Smaller of two quantities; at a tie the derivatives are those of the first."""
    if not isinstance(x, Jet) and not isinstance(y, Jet):
        return np.minimum(x, y)
    return _choose(_value(x) <= _value(y), x, y)


def maximum(x: Quantity, y: Quantity) -> Quantity:
    """Larger of two quantities; at a tie the derivatives are those of the first."""
    if not isinstance(x, Jet) and not isinstance(y, Jet):
        return np.maximum(x, y)
    return _choose(_value(x) >= _value(y), x, y)


def _exp(x: Jet) -> Jet:
    value = np.exp(x.value)
    return x.apply(value, value, value)


def _log(x: Jet) -> Jet:
    return x.apply(np.log(x.value), 1 / x.value, -1 / x.value**2)


def _value(x: Quantity) -> Array:
    return x.value if isinstance(x, Jet) else np.asarray(x, dtype=np.float64)


def _choose(first: NDArray[np.bool_], x: Quantity, y: Quantity) -> Jet:
    like = x if isinstance(x, Jet) else y
    x, y = (side if isinstance(side, Jet) else like * 0.0 + side for side in (x, y))
    hessian = None
    if x.hessian is not None:
        hessian = np.where(first[..., None, None], x.hessian, y.hessian)
    return Jet(np.where(first, x.value, y.value), np.where(first[..., None], x.gradient, y.gradient), hessian)
