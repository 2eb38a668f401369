"""Collapse of loss curves: runs that were tuned alike look alike once their ends are put on one another.

With loss above E and tokens both divided by their values at the end of the run, curves of compute-optimal models of
all sizes fall on one another, and mistuned ones fall off (Qiu et al. 2025, arXiv:2507.02119). Off the optimum the
shape follows D/N and C smoothly, so that a run is compared with what its neighbours in (N, D) predict.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.table import Array, Runs

SHARES = np.linspace(0.2, 0.9, 8)
"""Shares of a run's tokens at which its normalised loss is compared (chosen: past warm-up, short of the end)."""

FALLS_OFF = 5.0
"""Robust standard deviations from the neighbours' prediction from which a run falls off the collapse (chosen)."""

LEAST_RUNS = 8


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """Normalised curves and how far each is from its neighbours.

    Attributes:
        run_ids: Runs with a usable curve.
        curves: (L(x D) - E) / (L(D) - E) at the shares x, shape (runs, shares).
        distance: Root mean square of each curve's departure from the fitted trend, in robust standard deviations.
        spread: Robust standard deviation of the departures, as a share of the normalised loss.
        fallen: Runs that fall off.
    """

    run_ids: tuple[str, ...]
    curves: Array
    distance: Array
    spread: float
    fallen: tuple[str, ...]


def collapse_curves(runs: Runs, curves: pd.DataFrame, *, floor: float) -> Collapse | None:
    """Normalise every run's curve and find those that fall off.

    Args:
        runs: Finished runs with `run_id`.
        curves: Loss curves: `run_id`, `tokens`, `train_loss`.
        floor: E, from a fit.

    Returns:
        The collapse, or None with fewer than eight usable curves.
    """
    if "run_id" not in runs.frame:
        return None
    by_run = dict(tuple(curves.groupby("run_id")))
    frame = runs.frame.set_index("run_id")
    known = {str(name): _normalised(by_run[name], floor) for name in frame.index if name in by_run}
    usable = {name: curve for name, curve in known.items() if curve is not None}
    if len(usable) < LEAST_RUNS:
        return None
    names, values = tuple(usable), np.stack(list(usable.values()))
    chosen = frame.loc[list(names)]
    departure = _departures(
        chosen["params"].to_numpy(np.float64), chosen["tokens"].to_numpy(np.float64), np.log(values)
    )
    scale = 1.4826 * np.median(np.abs(departure), axis=0)
    distance = np.sqrt(np.mean((departure / np.maximum(scale, 1e-9)) ** 2, axis=1))
    fallen = tuple(name for name, far in zip(names, distance, strict=True) if far > FALLS_OFF)
    return Collapse(run_ids=names, curves=values, distance=distance, spread=float(scale.mean()), fallen=fallen)


def _normalised(curve: pd.DataFrame, floor: float) -> Array | None:
    """The curve at the shares, None where it is too short or ends at or below E."""
    curve = curve.sort_values("tokens")
    x, loss = (curve[name].to_numpy(np.float64) for name in ("tokens", "train_loss"))
    if len(x) < 4 or x[0] > SHARES[0] * x[-1] or loss.min() <= floor:
        return None
    return np.asarray((np.interp(SHARES * x[-1], x, loss) - floor) / (loss[-1] - floor))


def _departures(params: Array, tokens: Array, values: Array) -> Array:
    """Residuals of each column about a robust plane in ln N and ln D: three rounds of reweighting by distance."""
    X = np.stack([np.ones_like(params), np.log(params), np.log(tokens)], axis=1)
    X[:, 1:] -= X[:, 1:].mean(axis=0)
    weights = np.ones(len(X))
    residual = values
    for _ in range(4):
        root = np.sqrt(weights)[:, None]
        coefficients = np.linalg.lstsq(X * root, values * root, rcond=None)[0]
        residual = values - X @ coefficients
        size = np.abs(residual).mean(axis=1)
        weights = np.where(size > 3 * np.median(size), 0.0, 1.0)
    return np.asarray(residual)
