"""The global search: starts from a coarse grid, Newton from the best and some others, and how many of them agree."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analysis.errors import FitError
from analysis.fitting.model import AdditiveModel, build_model
from analysis.fitting.newton import MAX_STEPS, REWEIGHTED_STEPS, Solutions, minimise
from analysis.fitting.objective import LAD_DELTAS, objective_value
from analysis.fitting.problem import Problem

Array = NDArray[np.float64]
Engine = Literal["auto", "compiled", "numpy"]

START_RUNS = 20_000
"""Runs on which starts are found and compared (chosen): hundreds of starts on a million runs fill the memory."""

BEST_STARTS = 5
OTHER_STARTS = 5
AGREEMENT = 1e-6
"""Starts agree when their objectives differ by less than this share (chosen)."""

ROUNDING = 1e-9
"""Residuals of this size count as rounding (chosen): no measured loss has nine digits."""

LOADING_WORK = 500_000
COMPILING_WORK = 10_000_000
"""Row-runs that NumPy solves while the compiled kernel is loaded, or compiled (measured, on one core)."""

_numpy_work = 0
"""Row-runs that this process has solved with NumPy where the kernel could have served."""

CHUNK = 128
"""Rows that the NumPy path solves at once: a few megabytes, which stay in the cache."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """Where a global search ended.

    Attributes:
        theta: Best coordinates, shape (P,).
        value: Objective there.
        converged: Whether that search stopped by its Newton decrement.
        starts: Searches run.
        agreeing: Searches that ended within `AGREEMENT` of the best.
    """

    theta: Array
    value: float
    converged: bool
    starts: int
    agreeing: int


def search(problem: Problem, delta: float, *, seed: int = 0, engine: Engine = "auto") -> Search:
    """Find the global minimum.

    Args:
        problem: What to fit.
        delta: Huber's delta; 0 for least absolute deviation, inf for squares.
        seed: Chooses the starts that are not the best of the grid.
        engine: Which solver.

    Raises:
        FitError: No start gives a finite objective.
    """
    generator = np.random.default_rng(seed)
    few = thin(problem)
    candidates = problem.coordinates(problem.form.starts(few.columns, few.loss, generator))
    starts = choose_starts(few, candidates, delta, generator)
    ends = solve_rows(problem, starts, problem.weights[None], delta, engine=engine)
    best = int(np.argmin(ends.value))
    value = float(ends.value[best])
    slack = AGREEMENT * value + rounding(problem, delta)
    return Search(
        theta=ends.theta[best],
        value=value,
        converged=bool(ends.converged[best]),
        starts=len(starts),
        agreeing=int((ends.value <= value + slack).sum()),
    )


def thin(problem: Problem) -> Problem:
    """The problem on evenly spread runs, where there are more than starts need to be told apart."""
    step = -(-len(problem.loss) // START_RUNS)
    if step == 1:
        return problem
    order = np.argsort(problem.loss, kind="stable")[::step]
    columns = {name: values[order] for name, values in problem.columns.items()}
    return dataclasses.replace(problem, columns=columns, loss=problem.loss[order], weights=problem.weights[order])


def rounding(problem: Problem, delta: float) -> float:
    """Objective of residuals that are nothing but rounding."""
    return len(problem.loss) * (ROUNDING if delta == 0 else ROUNDING**2)


def choose_starts(problem: Problem, candidates: Array, delta: float, generator: np.random.Generator) -> Array:
    """The candidates of lowest objective, and some others by chance, so that agreement means something."""
    residuals = problem.observed - build_model(problem).value(candidates)
    with np.errstate(all="ignore"):
        value = objective_value(residuals, problem.weights, delta)
    order = np.argsort(np.where(np.isfinite(value), value, np.inf))
    order = order[: int(np.isfinite(value).sum())]
    if len(order) == 0:
        raise FitError(
            f"no start of {problem.form.name} gives a finite loss on these {len(problem.loss)} runs: "
            "expected columns on usual scales. Check params, tokens and loss, or choose another form."
        )
    rest = order[BEST_STARTS : max(len(order) // 2, BEST_STARTS)]
    others = generator.permutation(rest)[:OTHER_STARTS]
    return np.asarray(candidates[np.concatenate([order[:BEST_STARTS], others])])


def solve_rows(problem: Problem, starts: Array, weights: Array, delta: float, *, engine: Engine = "auto") -> Solutions:
    """Minimise from each start (R, P) under its weights (R, n) or (1, n).

    Least absolute deviation (delta = 0) is reached through Huber's loss with ever smaller delta; its values are then
    sums of absolute residuals.
    """
    deltas = LAD_DELTAS if delta == 0 else (delta,)
    work = len(starts) * len(problem.loss) * len(deltas)
    if engine == "compiled" or (engine == "auto" and can_compile(problem) and pays_to_compile(work)):
        ends = _compiled(problem, starts, weights, deltas)
    else:
        ends = _numpy(problem, starts, weights, deltas)
    if delta > 0:
        return ends
    residuals = problem.observed - build_model(problem).value(ends.theta)
    return Solutions(ends.theta, objective_value(residuals, weights, 0.0), ends.converged)


def can_compile(problem: Problem) -> bool:
    """Whether the compiled kernel serves this problem here."""
    return problem.form.name == "additive" and _has_numba()


@cache
def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


def pays_to_compile(work: int) -> bool:
    """Whether the compiled kernel is the faster choice for so many row-runs, given what it costs to have it.

    Loading numba and the cached machine code takes about a second, compiling ten; NumPy solves some 1e6 row-runs a
    second. So a single fit stays with NumPy, until a process has done as much with it as the kernel would have cost.
    """
    global _numpy_work
    if "analysis.fitting.kernel" in sys.modules:
        return True
    cost = LOADING_WORK if _is_cached() else COMPILING_WORK
    _numpy_work += work
    return work > cost or _numpy_work > 2 * cost


@cache
def _is_cached() -> bool:
    """Whether numba has left compiled code of the kernel on this machine."""
    folders = (Path(__file__).parent / "__pycache__", Path(os.environ.get("NUMBA_CACHE_DIR", "") or os.devnull))
    return any(next(folder.rglob("kernel.solve_rows-*.nbi"), None) is not None for folder in folders)


def _compiled(problem: Problem, starts: Array, weights: Array, deltas: tuple[float, ...]) -> Solutions:
    from analysis.fitting import kernel  # numba takes half a second to import

    model = AdditiveModel(problem)
    theta, value, converged = kernel.solve_rows(
        starts, model.u, model.v, problem.observed, np.ascontiguousarray(weights), np.array(deltas),
        problem.space == "log", problem.low, problem.high, REWEIGHTED_STEPS, MAX_STEPS,
    )  # fmt: skip
    return Solutions(theta, value, converged)


def _numpy(problem: Problem, starts: Array, weights: Array, deltas: tuple[float, ...]) -> Solutions:
    model = build_model(problem)
    chunk = CHUNK if isinstance(model, AdditiveModel) else CHUNK // 8
    parts = []
    for first in range(0, len(starts), chunk):
        rows = np.arange(first, min(first + chunk, len(starts)))
        ends = Solutions(starts[rows], np.empty(len(rows)), np.empty(len(rows), dtype=bool))
        for delta in deltas:
            ends = minimise(model, ends.theta, problem.tasks(delta, weights).take(rows))
        parts.append(ends)
    return Solutions(
        np.concatenate([part.theta for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.converged for part in parts]),
    )
