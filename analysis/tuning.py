"""Axes that are tuned over: the fitted minimum of each point's valley in place of its several tries.

The best of several noisy tries is too good, by .85 standard deviations for three; so a parabola in the logs of the
tuned values is laid through the tries near the lowest, and its minimum, with its standard error, stands for the point.
Where a sweep has trained the best try again on fresh seeds, these runs alone stand for it, as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.conventions import refuse_settings
from analysis.results import Dropped
from analysis.table import Array, Runs
from analysis.tries import columns_of_point, is_retrained, name_of_point, read_knobs, retrained_points

WINDOW = 2
"""Values on either side of the lowest that enter the parabola (chosen: a factor of 4 each way on a grid of doublings,
beyond which the valley rises more steeply on the right than on the left)."""

CURVATURE_ERRORS = 3.0
"""Standard errors of its curvature from which a valley's bottom is placed (chosen: from there on the error of the place is
near normal; a flatter valley still says how low it is)."""

PRIOR_DEGREES = 4.0
"""Weight of all budgets' common variance in each budget's own, in degrees of freedom (chosen, as for curves)."""


@dataclass(frozen=True, kw_only=True)
class TunedPoint:
    """One point (N at a budget, under a setting) and what was tried there.

    Attributes:
        setting: Its setting, None for a sweep of one.
        budget: C in FLOPs; None where the source has none.
        params: N.
        knobs: Best value of each tuned axis.
        log_se: Standard error of the log of each; None where the best lies at the end of what was tried, where the valley
            is too flat for the noise to have a place, or where the noise is unknown.
        loss: The valley's minimum, or the lowest mean where it has none inside.
        loss_se: Its standard error; None where the noise is unknown.
        inside: Whether the minimum lies inside the values that were tried.
        tried: One row per tried combination: each axis, `loss` (mean over seeds), `runs`, and `near`, whether it entered
            the parabola.
        rows: Rows of the runs, and of these the one that stands for the point: a seed at the lowest mean.
    """

    setting: str | None
    budget: float | None
    params: float
    knobs: Mapping[str, float]
    log_se: Mapping[str, float | None]
    loss: float
    loss_se: float | None
    inside: bool
    tried: pd.DataFrame
    rows: tuple[int, ...]


def valley_minimum(values: Array, loss: Array) -> tuple[Array, float] | None:
    """The bottom of the valley through tries of one point: its values and its loss; None where it has none inside.

    Args:
        values: Values of the tuned axes at each try, shape (n, axes).
        loss: Its loss, shape (n,).
    """
    names = [str(axis) for axis in range(values.shape[1])]
    tries = pd.DataFrame(values, columns=names).assign(loss=loss, runs=1)
    lowest = {name: float(values[int(loss.argmin()), axis]) for axis, name in enumerate(names)}
    found = _valley(tries[_near(tries, names, lowest)], names, None)
    return None if found is None else (np.array([found[0][name] for name in names]), found[2])


def tuned_points(runs: Runs) -> tuple[TunedPoint, ...]:
    """Every point at which several values of tuned axes were tried, in order of appearance; retrained runs are no tries."""
    groups = list(_groups(runs.frame))
    cells = [_tries(runs.frame.loc[rows]) for rows in groups]
    variances = _variances([cell for cell, _ in cells], runs, groups)
    return tuple(
        _point(runs.frame, rows, tries, variance)
        for rows, (tries, _), variance in zip(groups, cells, variances, strict=True)
    )


def one_point_each(runs: Runs) -> Runs:
    """`runs` of one setting, with one row for each tuned point: its valley's minimum, under its best values.

    Where any best try was trained again, the rows are those runs: a point whose best try was not, or not yet, is left out.

    Raises:
        FitError: The runs are of several settings.
    """
    refuse_settings(runs.frame)
    if "tuned" not in runs.frame or runs.frame["tuned"].isna().all():
        return runs
    if is_retrained(runs.frame).any():
        return retrained_points(runs)
    points = tuned_points(runs)
    if not points:
        return runs
    frame, lost = runs.frame, [row for point in points for row in point.rows[1:]]
    frame = frame.assign(tuned=frame["tuned"].astype(object))
    for point in points:
        row = point.rows[0]
        frame.loc[row, "loss"] = point.loss
        frame.loc[row, "tuned"] = " ".join(f"{name}={value:.4g}" for name, value in point.knobs.items())
        if "loss_se" in frame:
            frame.loc[row, "loss_se"] = np.nan if point.loss_se is None else point.loss_se
    notes = [Dropped(name_of_point(point.params, point.budget), _note(point)) for point in points]
    return replace(runs, frame=frame.drop(index=lost).reset_index(drop=True), dropped=(*runs.dropped, *notes))


def _groups(frame: pd.DataFrame) -> list[list[int]]:
    """Rows of each point that was tried with several values."""
    if "tuned" not in frame:
        return []
    tried = frame[frame["tuned"].notna() & ~is_retrained(frame)]
    groups = tried.groupby(columns_of_point(tried), sort=False, dropna=False)
    return [list(rows.index) for _, rows in groups if rows["tuned"].nunique() > 1]


def _tries(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """One row per combination: knobs, mean loss, runs and squares about the mean; and the knobs' names."""
    knobs = pd.DataFrame([read_knobs(text) for text in rows["tuned"]], index=rows.index)
    names = list(knobs.columns)
    grouped = knobs.assign(loss=rows["loss"]).groupby(names)["loss"]
    table = grouped.agg(loss="mean", runs="size").reset_index()
    table["squares"] = grouped.agg(lambda loss: float(((loss - loss.mean()) ** 2).sum())).to_numpy()
    return table, names


def _variances(cells: Sequence[pd.DataFrame], runs: Runs, groups: Sequence[Sequence[int]]) -> list[float | None]:
    """Variance of one run at each point: of its budget's replicates, drawn towards that of all; None without any."""
    budgets = [runs.frame["budget"].iloc[rows[0]] if "budget" in runs.frame else 0.0 for rows in groups]
    squares = np.array([cell["squares"].sum() for cell in cells])
    degrees = np.array([float((cell["runs"] - 1).sum()) for cell in cells])
    if not degrees.sum():
        return [None] * len(cells)
    common = squares.sum() / degrees.sum()
    found: list[float | None] = []
    for budget in budgets:
        mine = np.array([other == budget for other in budgets])
        found.append(float((PRIOR_DEGREES * common + squares[mine].sum()) / (PRIOR_DEGREES + degrees[mine].sum())))
    return found


def _point(frame: pd.DataFrame, rows: list[int], tries: pd.DataFrame, variance: float | None) -> TunedPoint:
    names = [name for name in tries.columns if name not in ("loss", "runs", "squares")]
    best = int(tries["loss"].to_numpy().argmin())
    lowest = {name: float(v) for name, v in zip(tries.columns, tries.to_numpy(np.float64)[best], strict=True)}
    near = _near(tries, names, lowest)
    found = _valley(tries[near], names, variance)
    knobs = [read_knobs(text) for text in frame.loc[rows, "tuned"]]
    stands = next(row for row, tried in zip(rows, knobs, strict=True) if all(tried[n] == lowest[n] for n in names))
    knobs_found, errors, loss, loss_se = found or (
        {name: lowest[name] for name in names},
        dict.fromkeys(names),
        lowest["loss"],
        None if variance is None else float(np.sqrt(variance / lowest["runs"])),
    )
    setting = frame["setting"].iloc[stands] if "setting" in frame else None
    return TunedPoint(
        setting=None if setting is None or pd.isna(setting) else str(setting),
        budget=float(frame["budget"].to_numpy(np.float64)[stands]) if "budget" in frame else None,
        params=float(frame["params"].to_numpy(np.float64)[stands]),
        knobs=knobs_found,
        log_se=errors,
        loss=loss,
        loss_se=loss_se,
        inside=found is not None,
        tried=tries[[*names, "loss", "runs"]].assign(near=near),
        rows=(stands, *(row for row in rows if row != stands)),
    )


def _near(tries: pd.DataFrame, names: Sequence[str], lowest: Mapping[str, float]) -> NDArray[np.bool_]:
    """Which combinations lie within `WINDOW` values of the lowest on every axis, shape (combinations,)."""
    near: NDArray[np.bool_] = np.ones(len(tries), dtype=np.bool_)
    for name in names:
        levels = np.sort(tries[name].unique())
        places = np.searchsorted(levels, tries[name].to_numpy())
        near &= np.abs(places - np.searchsorted(levels, lowest[name])) <= WINDOW
    return near


_Valley = tuple[dict[str, float], dict[str, float | None], float, float | None]


def _valley(tries: pd.DataFrame, names: Sequence[str], variance: float | None) -> _Valley | None:
    """Best values, errors of their logs, the loss there and its error; None without a minimum inside."""
    logs = np.log(tries[list(names)].to_numpy(np.float64))
    centre = logs.mean(axis=0)
    z = logs - centre
    X = _terms(z)
    if len(z) < X.shape[1] or np.linalg.matrix_rank(X) < X.shape[1]:
        return None
    weights = tries["runs"].to_numpy(np.float64)
    inverse = np.linalg.inv(X.T @ (X * weights[:, None]))
    solution = inverse @ (X.T @ (weights * tries["loss"].to_numpy(np.float64)))
    k = len(names)
    hessian = _slopes(np.eye(k)) @ solution - solution[1 : 1 + k]
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        return None
    best = -np.linalg.solve(hessian, solution[1 : 1 + k])
    if (best < z.min(axis=0)).any() or (best > z.max(axis=0)).any():
        return None
    at = _terms(best[None])[0]
    values = dict(zip(names, np.exp(best + centre).tolist(), strict=True))
    if variance is None:
        return values, dict.fromkeys(names), float(at @ solution), None
    loss_se = float(np.sqrt(variance * at @ inverse @ at))
    if not _bends(hessian, variance * inverse):
        return values, dict.fromkeys(names), float(at @ solution), loss_se
    moved = np.linalg.solve(hessian, _slopes(best[None])[0])  # best moves so as to keep the gradient at zero
    errors = np.sqrt(variance * np.einsum("ki,ij,kj->k", moved, inverse, moved))
    return values, dict(zip(names, errors.tolist(), strict=True)), float(at @ solution), loss_se


def _bends(hessian: Array, covariance: Array) -> bool:
    """Whether the valley bends upwards by more than noise in its flattest direction: else its bottom is anywhere."""
    values, vectors = np.linalg.eigh(hessian)
    flattest = vectors[:, :1].T
    row = (flattest @ _slopes(flattest)[0])[0]
    row[: 1 + len(hessian)] = 0.0
    return bool(values[0] > CURVATURE_ERRORS * np.sqrt(row @ covariance @ row))


def _terms(z: Array) -> Array:
    """1, z and the products of z, of shape (n, k): the columns of a paraboloid."""
    k = z.shape[1]
    products = [z[:, i] * z[:, j] for i in range(k) for j in range(i, k)]
    return np.column_stack([np.ones(len(z)), z, *products])


def _slopes(z: Array) -> Array:
    """Derivatives by z of `_terms`, shape (n, k, terms)."""
    n, k = z.shape
    slopes = np.zeros((n, k, 1 + k + k * (k + 1) // 2))
    slopes[:, :, 1 : 1 + k] = np.eye(k)
    pairs = [(i, j) for i in range(k) for j in range(i, k)]
    for term, (i, j) in enumerate(pairs, 1 + k):
        slopes[:, i, term] += z[:, j]
        slopes[:, j, term] += z[:, i]
    return slopes


def _note(point: TunedPoint) -> str:
    tried = f"{len(point.rows)} runs with {len(point.tried)} values"
    if point.inside:
        return f"{tried}: their valley's minimum stands for them"
    return f"{tried}, the best at the end of what was tried: the lowest mean stands for them. Widen the axis"
