"""Learning-rate and batch-size laws from sweeps at several (N, D), by smoothing each cell's valley.

The lowest of a hundred noisy losses lies anywhere on the valley's floor: on the Step Law sweeps (arXiv:2503.04715)
taking it gives powers of N off by .1. A paraboloid in the logs of the knobs, fitted to the runs near the floor, uses
them all. It gives back the published power of N and the batch law, though not the published power of D in the
learning rate (.21, not .31).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import FitError
from analysis.laws.regression import Regression, regress
from analysis.results import Dropped

Array = NDArray[np.float64]

FLOOR_MARGIN = 0.02
"""Runs within this share of a cell's lowest loss are its valley (chosen: it gives back the published batch law)."""


@dataclass(frozen=True, kw_only=True)
class ValleyFit:
    """Best knobs as powers of the cells' coordinates.

    Attributes:
        laws: For each knob, the regression of its log on the logs of the cells' coordinates.
        cells: One row per used cell: coordinates, best knobs, runs in the valley.
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
    smooth: bool = True,
) -> ValleyFit:
    """Fit how the best knobs move with N and D.

    Args:
        frame: One row per run.
        knobs: For each knob's column, the columns that its law reads: {"learning_rate": ["params", "tokens"], ...}.
        loss: Column of the loss.
        smooth: Minimum of a paraboloid through the valley; False takes the lowest run of each cell, for comparison.

    Raises:
        FitError: A missing column, or fewer cells with a minimum inside than a law has coefficients.
    """
    columns = [*knobs, loss, *(name for reads in knobs.values() for name in reads)]
    if missing := sorted(set(columns) - set(frame.columns)):
        raise FitError(f"{', '.join(missing)} missing: expected columns among {', '.join(map(str, frame.columns))}.")
    by = sorted({name for reads in knobs.values() for name in reads})
    rows, dropped = [], []
    for key, cell in frame.groupby(by):
        at = dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True))
        best = _valley_minimum(cell, list(knobs), loss) if smooth else _lowest(cell, list(knobs), loss)
        if isinstance(best, str):
            dropped.append(Dropped(", ".join(f"{name} {value:.3g}" for name, value in at.items()), best))
        else:
            rows.append({**at, **best})
    needed = 2 + max(len(reads) for reads in knobs.values())
    if len(rows) < needed:
        raise FitError(f"{len(rows)} cells have a minimum inside: expected at least {needed}. Widen the knobs' ranges.")
    cells = pd.DataFrame(rows)
    laws = {
        knob: regress(
            {name: np.log(cells[name].to_numpy(float)) for name in reads}, np.log(cells[knob].to_numpy(float))
        )
        for knob, reads in knobs.items()
    }
    return ValleyFit(laws=laws, cells=cells, dropped=tuple(dropped))


def _log(cells: pd.DataFrame, column: str) -> Array:
    return np.asarray(np.log(cells[column].to_numpy(float)))


def _lowest(cell: pd.DataFrame, knobs: Sequence[str], loss: str) -> dict[str, float]:
    best = cell.iloc[int(cell[loss].to_numpy().argmin())]
    return {**{knob: float(best[knob]) for knob in knobs}, "runs": float(len(cell))}


def _valley_minimum(cell: pd.DataFrame, knobs: Sequence[str], loss: str) -> dict[str, float] | str:
    """Minimum of a paraboloid in the knobs' logs through the runs near the floor, or why there is none."""
    valley = cell[cell[loss] <= cell[loss].min() * (1 + FLOOR_MARGIN)]
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
    return {**dict(zip(knobs, np.exp(best).tolist(), strict=True)), "runs": float(len(valley))}
