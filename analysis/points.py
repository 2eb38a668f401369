"""Runs gathered into points: replicates of one (N, D) and setting averaged, before anybody looks for a minimum.

The lowest of three seeds is lower than their mean by .85 standard deviations, and more so where more seeds were
spent: a minimum over single runs would favour the sizes that were repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import FitError
from analysis.results import Dropped
from analysis.table import Array, Runs

Indices = NDArray[np.int64]

SETTINGS = (
    "family", "layers", "width", "heads", "kv_heads", "ffn_width", "activation", "positions", "qk_norm", "experts",
    "active_experts", "context", "vocab", "tied_head", "optimizer",
    "learning_rate", "batch_tokens", "schedule", "warmup_steps", "precision", "recipe", "corpus",
)  # fmt: skip
"""Columns that tell settings of one (N, D) apart; the seed and where it ran do not."""

BUDGET_TOLERANCE = 0.02
"""Half-width, relative, within which FLOPs count as one budget where the source has none (chosen: twice the planner's
1 %)."""


@dataclass(frozen=True, kw_only=True)
class Points:
    """Seed-averaged points.

    Attributes:
        frame: One row per point: `budget` where known, `params`, `tokens`, `flops`, `loss` (mean), `replicates`, and
            `squares`, the sum of squared deviations of its replicates from their mean.
        members: For each run, the row of its point in `frame`, -1 for runs of a point that was left out; shape (runs,).
        dropped: Points left out because another setting of the same (N, D) is lower.
    """

    frame: pd.DataFrame
    members: Indices
    dropped: tuple[Dropped, ...]


def average_replicates(runs: Runs) -> Points:
    """One point per (budget, N, D), from its best setting; runs that differ by seed alone are averaged."""
    frame = runs.frame
    place = [c for c in ("budget", "params", "tokens") if c in frame]
    setting = [c for c in SETTINGS if c in frame and frame[c].nunique(dropna=False) > 1]
    first, codes = _groups(frame, [*place, *setting])
    loss, flops = runs.column("loss"), runs.column("flops")
    replicates = np.bincount(codes)
    mean = np.bincount(codes, loss) / replicates
    points = pd.DataFrame(
        {name: runs.column(name)[first] for name in place}
        | {
            "flops": np.bincount(codes, flops) / replicates,
            "loss": mean,
            "replicates": replicates,
            "squares": np.bincount(codes, (loss - mean[codes]) ** 2),
        }
    )
    if not setting:
        return Points(frame=points, members=codes, dropped=())
    best = _lowest_in_place(frame, place, first, mean)
    names = [f"point N {n:.4g}, D {d:.4g}" for n, d in zip(points["params"], points["tokens"], strict=True)]
    dropped = [Dropped(names[i], "another setting of this point is lower") for i in np.flatnonzero(~best)]
    rows = np.where(best, np.cumsum(best) - 1, -1)
    return Points(frame=points[best].reset_index(drop=True), members=rows[codes], dropped=tuple(dropped))


def _groups(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[Indices, Indices]:
    """First row of each group of equal values, in order of appearance, and each row's group."""
    values = np.stack([pd.factorize(frame[c])[0] for c in columns], axis=1)
    _, first, inverse = np.unique(values, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[inverse.ravel()]


def _lowest_in_place(frame: pd.DataFrame, place: Sequence[str], first: Indices, mean: Array) -> NDArray[np.bool_]:
    """Which point is the lowest of those with its budget, N and D, shape (points,)."""
    _, where = _groups(frame.iloc[first], place)
    order = np.lexsort((mean, where))
    leads = np.append(True, np.diff(where[order]) > 0)
    best = np.zeros(len(first), dtype=np.bool_)
    best[order[leads]] = True
    return best


def with_budgets(runs: Runs, *, tolerance: float = BUDGET_TOLERANCE) -> Runs:
    """`runs` with a column `budget`: its own, or runs of equal FLOPs grouped within `tolerance` and named as derived.

    Groups are stretches of the sorted FLOPs without a step larger than `tolerance`; a stretch that is itself wider than
    twice the tolerance is no group. The budget of a group is its median.

    Raises:
        FitError: The FLOPs do not fall into groups of at least three sizes.
    """
    if "budget" in runs.frame:
        return runs
    flops = runs.column("flops")
    order = np.argsort(flops, kind="stable")
    steps = np.diff(np.log(flops[order]))
    labels = np.empty(len(flops), dtype=np.int64)
    labels[order] = np.concatenate([[0], np.cumsum(steps > np.log1p(tolerance))])
    groups = runs.frame.groupby(labels)
    width = groups["flops"].max() / groups["flops"].min() - 1
    sizes = groups["params"].nunique()
    if (width > 2 * tolerance).any() or (sizes < 3).any():
        raise FitError(
            f"{runs.source or 'the table'} has no column `budget`, and its FLOPs do not fall into groups of three "
            "sizes within "
            f"{tolerance:.0%} ({len(sizes)} groups for {len(flops)} runs). IsoFLOP curves need runs of equal compute: "
            "map a column (--map budget=COLUMN), allow a wider tolerance, or fit a form (--method parametric)."
        )
    budgets = groups["flops"].median().to_numpy()[labels]
    note = f"median flops of runs within {tolerance:.0%} of each other"
    return replace(runs, frame=runs.frame.assign(budget=budgets), derived={**runs.derived, "budget": note})
