"""Learning-rate and batch-size laws from sweeps at several (N, D), by smoothing each cell's valley.

The lowest of a hundred noisy losses lies anywhere on the valley's floor: on the Step Law sweeps (arXiv:2503.04715)
taking it gives powers of N off by .1. Two rules use more of a cell. `paraboloid`: the minimum of a paraboloid in the
logs of the knobs through the runs near the floor, one point a cell. `near-best`: every run within .25 % of its cell's
lowest loss is a point, which is what Step Law's own code does (github.com/step-law/steplaw, code/fit_tool.py).

Neither gives Step Law's power of D in the learning rate from the smoothed losses of its public table: .21 and .20,
with standard errors of .02 and .04, against .307 (.02). The published fit also had models of 60M and 120M parameters
(section 3.4), which the table does not hold: it begins at 215M. From the table's final losses, which are noisier, the
authors' rule gives .28 (.15), and with `floor` from .01 to .06 the paraboloid .22 to .39: the table alone does not
settle this power. The powers of N and of the batch agree within their errors on either column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import FitError
from analysis.fitting.covariance import Groups
from analysis.laws.regression import Regression, regress
from analysis.results import Dropped

Array = NDArray[np.float64]

FLOOR_MARGIN = 0.02
"""Runs within this share of a cell's lowest loss are its valley (chosen: it gives back the published batch law)."""

NEAR_BEST = 0.0025
"""Runs within this share of a cell's lowest loss are all best to Step Law's fit (its code's threshold)."""

Rule = Literal["paraboloid", "near-best", "lowest"]


@dataclass(frozen=True, kw_only=True)
class ValleyFit:
    """Best knobs as powers of the cells' coordinates.

    Attributes:
        laws: For each knob, the regression of its log on the logs of the cells' coordinates; errors allow for what
            the points of one cell share.
        cells: One row per point of the regressions: coordinates, best knobs, runs in the valley.
        dropped: Cells left out, with reasons.
    """

    laws: Mapping[str, Regression]
    cells: pd.DataFrame
    dropped: tuple[Dropped, ...]

    def predict(self, **at: float) -> dict[str, float]:
        """Best knobs at a cell."""
        return {
            knob: float(np.exp(law.predict({n: np.log(x) for n, x in at.items()}))) for knob, law in self.laws.items()
        }


def fit_valley(
    frame: pd.DataFrame,
    *,
    knobs: Mapping[str, Sequence[str]],
    loss: str = "loss",
    rule: Rule = "paraboloid",
    floor: float | None = None,
) -> ValleyFit:
    """Fit how the best knobs move with N and D.

    Args:
        frame: One row per run.
        knobs: For each knob's column, the columns that its law reads: {"learning_rate": ["params", "tokens"], ...}.
        loss: Column of the loss.
        rule: `paraboloid`, the minimum of one through each cell's valley; `near-best`, Step Law's own rule; `lowest`,
            the lowest run of each cell, for comparison.
        floor: Runs within this share of a cell's lowest loss are its floor; by default .02 for `paraboloid` and .0025
            for `near-best`. A law that moves with it by more than its errors is not settled by these runs.

    Raises:
        FitError: A missing column, an unknown rule, a floor that is not positive, or fewer cells with a minimum inside
            than a law has coefficients.
    """
    columns = [*knobs, loss, *(name for reads in knobs.values() for name in reads)]
    if missing := sorted(set(columns) - set(frame.columns)):
        raise FitError(f"{', '.join(missing)} missing: expected columns among {', '.join(map(str, frame.columns))}.")
    if rule not in _RULES:
        raise FitError(f"rule {rule!r}: expected one of {', '.join(_RULES)}.")
    if floor is not None and not floor > 0:
        raise FitError(f"floor {floor!r}: expected a positive share of the lowest loss, such as {FLOOR_MARGIN:g}.")
    best_of, share = _RULES[rule]
    by = sorted({name for reads in knobs.values() for name in reads})
    rows, dropped = [], []
    for key, cell in frame.groupby(by):
        at = dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True))
        lowest = float(cell[loss].min())
        best = best_of(cell, cell[cell[loss] <= lowest * (1 + (share if floor is None else floor))], list(knobs), loss)
        if isinstance(best, str):
            dropped.append(Dropped(", ".join(f"{name} {value:.3g}" for name, value in at.items()), best))
        else:
            rows += [{**at, **point} for point in best]
    cells = pd.DataFrame(rows, columns=[*by, *knobs, "runs"])
    groups: Groups = np.asarray(cells.groupby(by, sort=False).ngroup(), dtype=np.int64)
    needed = 2 + max(len(reads) for reads in knobs.values())
    if len(found := np.unique(groups)) < needed:
        raise FitError(
            f"{len(found)} cells have a minimum inside: expected at least {needed}. Widen the knobs' ranges."
        )
    laws = {
        knob: regress({name: _log(cells, name) for name in reads}, _log(cells, knob), clusters=groups)
        for knob, reads in knobs.items()
    }
    return ValleyFit(laws=laws, cells=cells, dropped=tuple(dropped))


def _log(cells: pd.DataFrame, column: str) -> Array:
    return np.asarray(np.log(cells[column].to_numpy(float)))


Best = list[dict[str, float]] | str
"""Best knobs of a cell, one point or several, or why there are none."""


def _lowest(cell: pd.DataFrame, floor: pd.DataFrame, knobs: Sequence[str], loss: str) -> Best:
    best = floor.iloc[int(floor[loss].to_numpy().argmin())]
    return [{**{knob: float(best[knob]) for knob in knobs}, "runs": float(len(cell))}]


def _near_best(cell: pd.DataFrame, floor: pd.DataFrame, knobs: Sequence[str], loss: str) -> Best:
    tries = floor[list(knobs)].to_numpy(float)
    return [{**dict(zip(knobs, row, strict=True)), "runs": float(len(floor))} for row in tries.tolist()]


def _valley_minimum(cell: pd.DataFrame, valley: pd.DataFrame, knobs: Sequence[str], loss: str) -> Best:
    """Minimum of a paraboloid in the knobs' logs through the runs near the floor, or why there is none."""
    x = np.log(valley[list(knobs)].to_numpy(float))
    pairs = [(i, j) for i in range(len(knobs)) for j in range(i, len(knobs))]
    if len(valley) < 2 + len(knobs) + len(pairs):
        return f"{len(valley)} runs in the valley"
    centre = x.mean(0)
    z = x - centre
    design = np.column_stack([np.ones(len(z)), z, *(z[:, i] * z[:, j] for i, j in pairs)])
    solution = np.linalg.lstsq(design, valley[loss].to_numpy(float), rcond=None)[0]
    hessian = np.zeros((len(knobs), len(knobs)))
    for (i, j), value in zip(pairs, solution[1 + len(knobs) :], strict=True):
        hessian[i, j] += value
        hessian[j, i] += value
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        return "the valley does not bend upwards"
    best = centre - np.linalg.solve(hessian, solution[1 : 1 + len(knobs)])
    if (best < x.min(0)).any() or (best > x.max(0)).any():
        return "the minimum lies outside the valley"
    return [{**dict(zip(knobs, np.exp(best).tolist(), strict=True)), "runs": float(len(valley))}]


_RULES: dict[str, tuple[Callable[[pd.DataFrame, pd.DataFrame, Sequence[str], str], Best], float]] = {
    "paraboloid": (_valley_minimum, FLOOR_MARGIN),
    "near-best": (_near_best, NEAR_BEST),
    "lowest": (_lowest, 0.0),
}
"""Each rule, from a cell and its floor, and the floor's default share."""
