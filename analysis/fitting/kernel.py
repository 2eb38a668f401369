"""Compiled damped Newton for the additive law: one call solves many starts or many bootstrap weights.

The same steps as `fitting.newton`, written out for five coefficients. numba compiles it at first use (some seconds)
and caches the machine code beside this file, or in the user's cache folder where that is read-only.

Coordinates theta = (a, b, e, alpha, beta): the terms are exp(a - alpha u), exp(b - beta v) and exp(e), with u and v
the centred logs of N and D.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compile with numba, cached on disk; sums may be reordered, so that they use vector registers."""
    return cast(
        "F", numba.njit(cache=True, error_model="numpy", fastmath={"reassoc", "nsz", "contract", "arcp"})(function)
    )


@compiled
def terms(theta: Array, u: Array, v: Array, y: Array, w: Array, delta: float, log_space: bool, out: Array) -> float:
    """Objective at theta; fills out[0:4] with the N term, the D term, the floor and the residual of each run.

    In log space the terms are shares of the predicted loss, so that they are the derivatives of its logarithm.
    """
    floor = math.exp(theta[2])
    total = 0.0
    for i in range(u.shape[0]):
        p = math.exp(theta[0] - theta[3] * u[i])
        q = math.exp(theta[1] - theta[4] * v[i])
        s = p + q + floor
        if log_space:
            r = y[i] - math.log(s)
            share = 1.0 / s
        else:
            r = y[i] - s
            share = 1.0
        out[0, i] = p * share
        out[1, i] = q * share
        out[2, i] = floor * share
        out[3, i] = r
        size = abs(r)
        inside = min(size, delta)
        total += w[i] * inside * (size - 0.5 * inside)
    return total


@compiled
def sums(t: Array, u: Array, v: Array, w: Array, delta: float, log_space: bool, exact: bool, out: Array) -> None:
    """Sums that make up gradient, Hessian and damping.

    With c the curvature weight of a run and m its clipped residual, J = (p, q, s, -p u, -q v). `exact` asks for the
    Hessian, else for the reweighted Gauss-Newton matrix that lies above it.
    """
    g0 = g1 = g2 = g3 = g4 = k3 = k4 = 0.0
    h00 = h10 = h11 = h20 = h21 = h22 = h30 = h31 = h32 = h33 = h40 = h41 = h42 = h43 = h44 = 0.0
    d0 = d1 = d2 = d3 = d4 = 0.0
    for i in range(u.shape[0]):
        p, q, s, r = t[0, i], t[1, i], t[2, i], t[3, i]
        pu, qv = p * u[i], q * v[i]
        size = abs(r)
        inside = min(size, delta)
        irls = w[i] * (inside / size if size > 0.0 else 1.0)
        m = irls * r
        c = irls
        if exact:
            c = (w[i] if size <= delta else 0.0) + (m if log_space else 0.0)
        g0 -= m * p
        g1 -= m * q
        g2 -= m * s
        g3 += m * pu
        g4 += m * qv
        k3 += m * pu * u[i]
        k4 += m * qv * v[i]
        cp, cq, cs, cpu, cqv = c * p, c * q, c * s, c * pu, c * qv
        h00 += cp * p
        h10 += cp * q
        h11 += cq * q
        h20 += cp * s
        h21 += cq * s
        h22 += cs * s
        h30 -= cpu * p
        h31 -= cpu * q
        h32 -= cpu * s
        h33 += cpu * pu
        h40 -= cqv * p
        h41 -= cqv * q
        h42 -= cqv * s
        h43 += cpu * qv
        h44 += cqv * qv
        d0 += irls * p * p
        d1 += irls * q * q
        d2 += irls * s * s
        d3 += irls * pu * pu
        d4 += irls * qv * qv
    out[0, 0], out[0, 1], out[0, 2], out[0, 3], out[0, 4] = g0, g1, g2, g3, g4
    out[1, 0], out[1, 1], out[1, 2], out[1, 3], out[1, 4] = d0, d1, d2, d3, d4
    if exact:
        h00, h11, h22, h30, h41 = h00 + g0, h11 + g1, h22 + g2, h30 + g3, h41 + g4
        h33, h44 = h33 - k3, h44 - k4
    out[2, 0] = h00
    out[3, 0], out[3, 1] = h10, h11
    out[4, 0], out[4, 1], out[4, 2] = h20, h21, h22
    out[5, 0], out[5, 1], out[5, 2], out[5, 3] = h30, h31, h32, h33
    out[6, 0], out[6, 1], out[6, 2], out[6, 3], out[6, 4] = h40, h41, h42, h43, h44


@compiled
def damped_step(s: Array, free: NDArray[np.bool_], damping: float, lower: Array, step: Array) -> bool:
    """Solve (H + damping diag) step = -g over the free coordinates; False where that is not positive definite."""
    for k in range(5):
        for m in range(k + 1):
            if not (free[k] and free[m]):
                lower[k, m] = 1.0 if k == m else 0.0
                continue
            total = s[2 + k, m]
            if k == m:
                total += damping * s[1, k]
            for j in range(m):
                total -= lower[k, j] * lower[m, j]
            if k == m:
                if not total > 1e-14 * (abs(s[2 + k, k]) + damping * s[1, k]):
                    return False
                lower[k, k] = math.sqrt(total)
            else:
                lower[k, m] = total / lower[m, m]
    for k in range(5):
        total = -s[0, k] if free[k] else 0.0
        for j in range(k):
            total -= lower[k, j] * step[j]
        step[k] = total / lower[k, k]
    for k in range(4, -1, -1):
        total = step[k]
        for j in range(k + 1, 5):
            total -= lower[j, k] * step[j]
        step[k] = total / lower[k, k]
    return True


@compiled
def descend(
    theta: Array,
    u: Array,
    v: Array,
    y: Array,
    w: Array,
    delta: float,
    log_space: bool,
    low: Array,
    high: Array,
    reweighted: int,
    iterations: int,
) -> tuple[float, bool]:
    """Minimise in place; the objective reached and whether the Newton decrement said to stop."""
    n = u.shape[0]
    here, there = np.empty((4, n)), np.empty((4, n))
    s, lower = np.zeros((7, 5)), np.zeros((5, 5))
    step, trial, free = np.zeros(5), np.empty(5), np.empty(5, np.bool_)
    value = terms(theta, u, v, y, w, delta, log_space, here)
    damping = 1e-3
    for iteration in range(iterations):
        exact = iteration >= reweighted
        sums(here, u, v, w, delta, log_space, exact, s)
        for k in range(5):
            at_low = theta[k] <= low[k] and s[0, k] >= 0.0
            at_high = theta[k] >= high[k] and s[0, k] <= 0.0
            free[k] = not (at_low or at_high)
        moved = False
        decrease = 0.0
        while damping < 1e12:
            if damped_step(s, free, damping, lower, step):
                decrease = 0.0
                for k in range(5):
                    trial[k] = min(max(theta[k] + step[k], low[k]), high[k])
                    decrease -= s[0, k] * step[k]
                reached = terms(trial, u, v, y, w, delta, log_space, there)
                if reached <= value:
                    moved = True
                    break
                if exact and decrease <= 1e-12 * value:
                    break
            damping = max(damping * 8.0, 1e-8)
        if not moved:
            return value, exact and decrease <= 1e-9 * value + 1e-26 * n
        theta[:] = trial
        here, there = there, here
        value = reached
        if exact and decrease <= 1e-12 * value + 1e-30 * n and damping < 1.0:
            return value, True
        damping = max(damping * 0.15, 1e-12)
    return value, False


@compiled
def solve_rows(
    starts: Array,
    u: Array,
    v: Array,
    y: Array,
    weights: Array,
    deltas: Array,
    log_space: bool,
    low: Array,
    high: Array,
    reweighted: int,
    iterations: int,
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Solve every row of starts (R, 5) with its row of weights (R, n), or with the only row of weights.

    Runs of weight zero are left out of the arithmetic. Several deltas are passed through in order, each from the one
    before.
    """
    rows = starts.shape[0]
    thetas, values, converged = starts.copy(), np.empty(rows), np.empty(rows, np.bool_)
    n = u.shape[0]
    cu, cv, cy, cw = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for row in range(rows):
        w = weights[row if weights.shape[0] > 1 else 0]
        count = 0
        for i in range(n):
            if w[i] > 0.0:
                cu[count], cv[count], cy[count], cw[count] = u[i], v[i], y[i], w[i]
                count += 1
        for k in range(deltas.shape[0]):
            values[row], converged[row] = descend(
                thetas[row], cu[:count], cv[:count], cy[:count], cw[:count],
                deltas[k], log_space, low, high, reweighted, iterations,
            )  # fmt: skip
    return thetas, values, converged
