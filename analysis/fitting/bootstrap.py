"""Bootstrap of a fit: whole points are drawn with replacement and the law is refitted to each draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import FitError
from analysis.fitting.problem import Problem
from analysis.fitting.solve import Engine, solve_rows
from analysis.results import Interval

Array = NDArray[np.float64]
Groups = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """Refitted coefficients of R resamples.

    Attributes:
        names: Coefficients, in order.
        draws: Shape (R, P).
        converged: Which refits stopped by their Newton decrement, shape (R,).
        values: Objective of each refit, shape (R,).
        estimate: Coefficients of the fit itself, shape (P,).
        units: Number of units that were drawn.
        scheme: What was drawn, in words.
    """

    names: tuple[str, ...]
    draws: Array
    converged: NDArray[np.bool_]
    values: Array
    estimate: Array
    units: int
    scheme: str

    def sample(self, name: str) -> Array:
        """R values of a coefficient, or of the exponents `a` and `b` of N* and D* where alpha and beta exist.

        Raises:
            FitError: No such coefficient.
        """
        if name in self.names:
            return np.asarray(self.draws[:, self.names.index(name)])
        if name in ("a", "b") and {"alpha", "beta"} <= set(self.names):
            alpha, beta = self.sample("alpha"), self.sample("beta")
            return np.asarray((beta if name == "a" else alpha) / (alpha + beta))
        raise FitError(f"{name!r} is no coefficient of this fit: expected one of {', '.join(self.names)}.")

    @property
    def se(self) -> dict[str, float]:
        """Standard deviation of each coefficient over the resamples."""
        return {name: float(self.draws[:, k].std(ddof=1)) for k, name in enumerate(self.names)}

    def interval(self, name: str, level: float = 0.9) -> Interval:
        """Percentile interval of a coefficient."""
        return percentile_interval(self.sample(name), level)


def percentile_interval(sample: Array, level: float) -> Interval:
    """Interval between two quantiles of a bootstrap sample that hold `level` of it; infinite ends are open."""
    places = np.array([(1 - level) / 2, (1 + level) / 2]) * (len(sample) - 1)
    ordered = np.sort(sample)
    with np.errstate(invalid="ignore"):
        ends = np.interp(places, np.arange(len(sample)), ordered)
    low, high = (float(end) if np.isfinite(end) else None for end in ends)
    return Interval(low, high, level, "bootstrap percentile")


def group_runs(frame: pd.DataFrame, columns: Sequence[str]) -> Groups:
    """Number the groups of rows that are equal in these columns, shape (n,)."""
    return np.asarray(frame.groupby(list(columns), sort=False, dropna=False).ngroup(), dtype=np.int64)


def draw_weights(units: Groups, replicates: int, seed: int, strata: Groups | None = None) -> Array:
    """How often each run occurs in each resample, shape (R, n).

    Uses the generator that NumPy keeps unchanged between versions, so that a seed means the same resamples
    everywhere, the published ones of Besiroglu et al. 2024 (arXiv:2404.10102) among them.

    Args:
        units: Number of each run's unit, shape (n,).
        replicates: R.
        seed: Seed.
        strata: Number of each run's stratum; units are drawn within it.
    """
    generator = np.random.RandomState(seed)
    count = int(units.max()) + 1
    stratum = np.zeros(count, dtype=np.int64)
    if strata is not None:
        stratum[units] = strata
    weights = np.zeros((replicates, count))
    for number in np.unique(stratum):
        members = np.flatnonzero(stratum == number)
        picks = members[generator.randint(0, len(members), size=(replicates, len(members)))]
        flat = np.arange(replicates)[:, None] * count + picks
        weights += np.bincount(flat.ravel(), minlength=replicates * count).reshape(replicates, count)
    return np.asarray(weights[:, units])


def bootstrap_fit(
    problem: Problem,
    theta: Array,
    delta: float,
    frame: pd.DataFrame,
    replicates: int,
    *,
    seed: int,
    cluster: str | None,
    stratify: str | None,
    engine: Engine = "auto",
) -> Bootstrap:
    """Refit to resamples, each from the full fit's end.

    Args:
        problem: The problem.
        theta: The full fit's coordinates, shape (P,).
        delta: Huber's delta of the full fit; resamples keep it.
        frame: The fitted runs, for their points, clusters and strata.
        replicates: R.
        seed: Seed of the resampling.
        cluster: Column whose equal values form a unit, such as `params` or a trunk; None draws points, that is
            runs with equal values of the form's columns.
        stratify: Column within whose equal values units are drawn, such as `budget`.
        engine: Which solver.

    Raises:
        FitError: A column that does not exist, fewer than two units, or no replicates.
    """
    for column in (cluster, stratify):
        if column is not None and column not in frame.columns:
            raise FitError(f"bootstrap column {column!r} does not exist: expected one of {', '.join(map(str, frame))}.")
    if replicates < 2:
        raise FitError(f"{replicates} bootstrap replicates: expected at least 2. 1000 is usual.")
    units = group_runs(frame, [cluster] if cluster else list(problem.form.columns))
    strata = group_runs(frame, [stratify]) if stratify else None
    count = int(units.max()) + 1
    if count < 2:
        raise FitError(f"{cluster or 'points'} has {count} distinct value: expected several to draw from.")
    weights = draw_weights(units, replicates, seed, strata) * problem.weights
    ends = solve_rows(problem, np.tile(theta, (replicates, 1)), weights, delta, engine=engine)
    scheme = f"{count} {f'clusters of equal {cluster}' if cluster else 'points'}"
    return Bootstrap(
        names=problem.form.names,
        draws=problem.coefficients(ends.theta),
        converged=ends.converged,
        values=ends.value,
        estimate=problem.coefficients(theta),
        units=count,
        scheme=scheme + (f" within equal {stratify}" if stratify else ""),
    )
