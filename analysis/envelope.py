"""Approach 1: the lower envelope of loss against compute, and power laws of compute through the models that lie on it.

By default over final losses: the best point of every budget, with those on the convex hull side by side. Hoffmann et
al. 2022 (arXiv:2203.15556, section 3.1) take the envelope of whole training curves instead; there all points but the
last of a run are losses before the learning rate has decayed, higher than a run of that length would end at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import notation
from analysis.documents import fit_document
from analysis.errors import FitError
from analysis.fitting.shapes import shape_rule
from analysis.frontier import LossFrontier, fit_frontier
from analysis.points import average_replicates
from analysis.power_laws import PowerLawFit
from analysis.results import FitWarning
from analysis.run_checks import stopping_warnings
from analysis.table import Array, Runs
from analysis.trend import Trend, fit_trend
from analysis.tuning import one_point_each

CURVE_POINTS = 1500
"""Log-spaced FLOPs at which training curves are compared, as Hoffmann et al. 2022 do."""


@dataclass(frozen=True, kw_only=True)
class EnvelopeFit(PowerLawFit):
    """The envelope and the power laws along it; the filter keeps points on the hull.

    A best point above the hull was searched too coarsely.

    Attributes:
        over: `final losses` or `training curves`.
        flops: C of the envelope's points, rising, shape (k,).
        params: Their N, shape (k,).
        tokens: Their D, shape (k,).
        losses: Their losses, shape (k,).
        on_hull: Which of them lie on the lower convex hull of (ln C, ln L), shape (k,).
    """

    over: Literal["final losses", "training curves"]
    flops: Array
    params: Array
    tokens: Array
    losses: Array
    on_hull: np.ndarray[tuple[int], np.dtype[np.bool_]]
    params_trend: Trend
    tokens_trend: Trend
    frontier: LossFrontier

    def to_json(self) -> dict[str, Any]:
        """The fit as a JSON object with the keys that all methods share, and the envelope's `points`."""
        return fit_document(
            method="envelope",
            form=f"lower envelope of {self.over}",
            objective={"kind": "minimum", "space": "linear"},
            n=len(self.runs),
            dropped=self.dropped,
            coefficients=self.coefficients,
            se=self.se,
            intervals=self.intervals,
            certificate={"converged": True, "at_bounds": []},
            exponents=self.exponents,
            exponents_filtered=self.exponents_filtered,
            warnings=self.warnings,
            points=[
                {"flops": c, "params": n, "tokens": d, "loss": loss, "on_hull": bool(hull)}
                for c, n, d, loss, hull in zip(
                    *_thinned(self.flops, self.params, self.tokens, self.losses, self.on_hull), strict=True
                )
            ],
        )


def fit_envelope(runs: Runs, curves: pd.DataFrame | None = None, *, level: float = 0.9) -> EnvelopeFit:
    """Fit approach 1.

    Args:
        runs: Finished runs; with a column `budget` the envelope is each budget's best point, else every point below
            all that cost less.
        curves: Loss curves with `run_id`, `tokens`, `flops` and `train_loss`; given, the envelope is theirs, at 1500
            log-spaced FLOPs, and the fit says that it rests on losses before decay.
        level: Nominal level of the intervals.

    Raises:
        FitError: One budget only, fewer than two budgets with a choice of sizes, or an envelope of a single point or size.
    """
    runs = one_point_each(runs)
    points = average_replicates(runs)
    envelope = _final_envelope(points.frame) if curves is None else _curve_envelope(runs, curves)
    _refuse_unusable(envelope, runs)
    if curves is None and "budget" in points.frame:
        _refuse_single_sizes(points.frame, runs)
    flops, params, tokens, losses = (
        envelope[name].to_numpy(np.float64) for name in ("flops", "params", "tokens", "loss")
    )
    hull = _on_hull(flops, losses)
    through = _one_per_size(envelope) if curves is not None else envelope
    params_trend, tokens_trend = _trends(through)
    hull_trends = _trends(envelope[hull]) if curves is None and hull.sum() >= 2 else (None, None)
    return EnvelopeFit(
        runs=runs,
        over="final losses" if curves is None else "training curves",
        level=level,
        flops=flops,
        params=params,
        tokens=tokens,
        losses=losses,
        on_hull=hull,
        shapes=shape_rule(runs),
        params_trend=params_trend,
        tokens_trend=tokens_trend,
        params_trend_filtered=hull_trends[0],
        tokens_trend_filtered=hull_trends[1],
        frontier=fit_frontier(
            through["flops"].to_numpy(np.float64), through["loss"].to_numpy(np.float64), variances=None, degrees=0.0
        ),
        dropped=(*runs.dropped, *points.dropped),
        warnings=(*_warnings(through, points.frame, curves is not None), *stopping_warnings(runs)),
    )


def _final_envelope(points: pd.DataFrame) -> pd.DataFrame:
    """The best point of each budget; without budgets, each point that is lower than all that cost no more."""
    if "budget" in points:
        best = points.loc[points.groupby("budget")["loss"].idxmin()]
        return best.assign(flops=best["budget"]).sort_values("flops").reset_index(drop=True)
    rising = points.sort_values(["flops", "loss"])
    before = rising["loss"].cummin().shift(fill_value=np.inf)
    return rising[rising["loss"] < before].reset_index(drop=True)


def _curve_envelope(runs: Runs, curves: pd.DataFrame) -> pd.DataFrame:
    """The lowest training curve at 1500 log-spaced FLOPs; replicates of a size and length are averaged first."""
    if "run_id" not in runs.frame:
        raise FitError(
            "the runs have no column `run_id` to find their curves by. Read runs and curves from the same store."
        )
    known = curves[curves["run_id"].isin(runs.frame["run_id"]) & (curves["train_loss"] > 0) & (curves["flops"] > 0)]
    if known.empty:
        raise FitError("none of the curves belongs to a run of the table. Read runs and curves from the same store.")
    grid = np.geomspace(known["flops"].min(), known["flops"].max(), CURVE_POINTS)
    frame, by_run = runs.frame.set_index("run_id"), dict(tuple(known.groupby("run_id")))
    rows, sizes = [], []
    for params, group in frame.groupby(["params", "tokens"], sort=True):
        lines = [_interpolated(by_run[name], grid) for name in group.index if name in by_run]
        if lines:
            rows.append(np.mean(lines, axis=0))
            sizes.append(params[0])
    losses, N = np.array(rows), np.array(sizes, dtype=np.float64)
    covered = np.isfinite(losses).any(axis=0)
    lowest = np.where(np.isfinite(losses), losses, np.inf).argmin(axis=0)[covered]
    flops = grid[covered]
    params = N[lowest]
    return pd.DataFrame(
        {
            "flops": flops,
            "params": params,
            "tokens": flops / shape_rule(runs).flops_per_token(params),
            "loss": losses[lowest, np.flatnonzero(covered)],
        }
    )


def _interpolated(curve: pd.DataFrame, grid: Array) -> Array:
    """Loss of one run at the grid's FLOPs, linear in their logarithm; NaN outside the run."""
    curve = curve.sort_values("flops")
    x, y = np.log(curve["flops"].to_numpy(np.float64)), curve["train_loss"].to_numpy(np.float64)
    return np.asarray(np.interp(np.log(grid), x, y, left=np.nan, right=np.nan))


def _one_per_size(envelope: pd.DataFrame) -> pd.DataFrame:
    """The middle of each size's stretch of the envelope: its 1500 points are not 1500 observations.

    The first and last stretch are cut off by the range of the curves and not by a better size; with four sizes or
    more they are left out.
    """
    logs = envelope[["flops", "params", "tokens", "loss"]].apply(np.log)
    means = logs.groupby(envelope["params"].to_numpy()).mean().apply(np.exp)
    stretches = means.sort_values("flops").reset_index(drop=True)
    return stretches.iloc[1:-1] if len(stretches) >= 4 else stretches


def _on_hull(flops: Array, losses: Array) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Points on the lower convex hull of (ln C, ln L), by Andrew's monotone chain over rising C."""
    x, y = np.log(flops), np.log(losses)
    chain: list[int] = []
    for i in range(len(x)):
        while len(chain) >= 2 and _turns_down(x, y, chain[-2], chain[-1], i):
            chain.pop()
        chain.append(i)
    kept = np.zeros(len(x), dtype=np.bool_)
    kept[chain] = True
    return kept


def _turns_down(x: Array, y: Array, i: int, j: int, k: int) -> bool:
    return bool((x[j] - x[i]) * (y[k] - y[i]) <= (y[j] - y[i]) * (x[k] - x[i]))


def _trends(envelope: pd.DataFrame) -> tuple[Trend, Trend]:
    flops, params, tokens = (envelope[name].to_numpy(np.float64) for name in ("flops", "params", "tokens"))
    return fit_trend(flops, params), fit_trend(flops, tokens)


def _refuse_single_sizes(points: pd.DataFrame, runs: Runs) -> None:
    """The only size of a budget is no optimum: nothing else was tried at this compute."""
    several = int((points.groupby("budget")["params"].nunique() > 1).sum())
    if several < 2:
        raise FitError(
            f"{runs.source or 'the table'} has several sizes at {several} of {points['budget'].nunique()} budgets; the only "
            "size of a budget is no optimum, and an envelope needs a choice of sizes at two budgets at least. Add sizes."
        )


def _refuse_unusable(envelope: pd.DataFrame, runs: Runs) -> None:
    if len(envelope) < 2 or envelope["flops"].nunique() < 2:
        raise FitError(
            f"{runs.source or 'the table'} has one budget only ({notation.flops(envelope['flops'].iloc[0])} FLOPs); "
            "an envelope over compute "
            "needs at least two. Add budgets."
        )
    if envelope["params"].nunique() < 2:
        raise FitError(
            f"{runs.source or 'the table'}: one size ({notation.count(envelope['params'].iloc[0])}) is best at every "
            "budget; expected N* to "
            "grow with C. Add sizes on both sides."
        )


def _warnings(through: pd.DataFrame, points: pd.DataFrame, mid_decay: bool) -> list[FitWarning]:
    found = []
    if mid_decay:
        message = (
            "the envelope rests on training losses before the learning rate has decayed; they lie above what a run "
            "of that length ends "
            "at, more so early. Compare with the envelope of final losses."
        )
        found.append(FitWarning("mid_decay_losses", message, 2.0))
    if len(through) < 4:
        left = len(through) - 2
        message = (
            f"{len(through)} points on the envelope leave {left} degree{'s' if left != 1 else ''} of freedom for its "
            "exponent. Add budgets."
        )
        found.append(FitWarning("few_budgets", message, 4.0))
    if "budget" in points and not mid_decay:
        found += [_edge(budget, group) for budget, group in points.groupby("budget") if _at_edge(group)]
    return sorted(found, key=lambda warning: -warning.severity)


def _at_edge(group: pd.DataFrame) -> bool:
    best = _best_size(group)
    return group["params"].nunique() > 1 and bool(best in (group["params"].min(), group["params"].max()))


def _best_size(group: pd.DataFrame) -> float:
    return float(group["params"].to_numpy(np.float64)[group["loss"].to_numpy().argmin()])


def _edge(budget: Any, group: pd.DataFrame) -> FitWarning:
    best = _best_size(group)
    end, more = ("smallest", "smaller") if best == group["params"].min() else ("largest", "larger")
    message = (
        f"budget {notation.flops(float(budget))}: the lowest loss is at the {end} size "
        f"({notation.count(float(best))}), so that the best size "
        f"may lie beyond it. Add {more} sizes."
    )
    return FitWarning("edge_minimum", message, 3.0)


def _thinned(*columns: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """At most a hundred rows, evenly spread: a document need not hold 1500 points of one line."""
    step = max(1, len(columns[0]) // 100)
    return tuple(column[::step] for column in columns)
