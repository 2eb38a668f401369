"""Repeated data: what an epoch beyond the first is worth, held against runs on fresh text of the same length.

Muennighoff et al. 2023 (arXiv:2305.16264) let U distinct tokens seen e times count as D' = U (1 + R (1 - exp(-(e - 1) / R))).
Here R is fitted at one N with the losses of fresh runs in between their own D. The form lets a loss fall or stand still as
epochs are added; where it rises, no R can describe it, and the fit says that it is rejected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.conventions import settings_of
from analysis.errors import FitError
from analysis.table import Array, Runs

RISES, REJECTED = 2.0, 3.0
"""Standard errors by which a loss rises with epochs, and misfit of the form in standard deviations of a run of points, from
which they are said to (chosen)."""


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """Runs on so many distinct tokens.

    Attributes:
        setting: Their setting.
        unique_tokens: U.
        epochs: Passes over them, shape (n,), rising.
        loss: Losses at the end, means over seeds, shape (n,).
        fresh: Losses of fresh runs of the same D, NaN beyond them, shape (n,).
        best: Losses at the best checkpoint of each run, NaN where none was looked for, shape (n,).
        se: Standard error of one mean; None without replicates.
        half_life: R; None where it is not bounded by the runs.
        misfit: Root mean square of (loss - form) in standard errors; None without replicates.
        rises: Whether a loss lies above one of fewer epochs beyond noise.
    """

    setting: str
    unique_tokens: float
    epochs: Array
    loss: Array
    fresh: Array
    best: Array
    se: float | None
    half_life: float | None
    misfit: float | None
    rises: bool

    @property
    def rejected(self) -> bool:
        """Whether the form cannot describe these runs."""
        return self.rises or (self.misfit is not None and self.misfit > REJECTED)


def fit_repeats(runs: Runs) -> tuple[Repeated, ...]:
    """What repeats are worth, for every setting that limits its unique tokens.

    Raises:
        FitError: No setting repeats its text, or none is fresh, or runs are of several models.
    """
    frame = runs.frame
    if not {"setting", "epochs", "unique_tokens", "params"} <= set(frame.columns) or frame["params"].nunique() != 1:
        raise FitError(
            "repeats are compared at one N, with columns setting, epochs and unique_tokens. Sweep one shape."
        )
    by_setting = {name: frame[frame["setting"] == name] for name in settings_of(frame)}
    fresh = [name for name, rows in by_setting.items() if rows["epochs"].max() <= 1]
    repeated = [name for name, rows in by_setting.items() if rows["epochs"].max() > 1]
    if not fresh or not repeated:
        raise FitError(
            f"{len(fresh)} settings are fresh and {len(repeated)} repeat their text; expected one of each. "
            "Set data.unique_tokens in a setting, and data.allow_epochs."
        )
    tokens, loss = _means(by_setting[fresh[0]], "loss")
    variance = _variance(frame)
    return tuple(_repeated(name, by_setting[name], np.log(tokens), loss, variance) for name in repeated)


def _means(rows: pd.DataFrame, column: str) -> tuple[Array, Array]:
    means = rows.groupby("tokens")[column].mean()
    return means.index.to_numpy(np.float64), means.to_numpy(np.float64)


def _variance(frame: pd.DataFrame) -> float | None:
    groups = frame.groupby(["setting", "tokens"])["loss"]
    degrees = int((groups.size() - 1).sum())
    return float(((frame["loss"] - groups.transform("mean")) ** 2).sum()) / degrees if degrees else None


def _repeated(name: str, rows: pd.DataFrame, log_tokens: Array, fresh: Array, variance: float | None) -> Repeated:
    tokens, loss = _means(rows, "loss")
    unique = float(rows["unique_tokens"].iloc[0])
    epochs = tokens / unique
    seeds = float(rows.groupby("tokens").size().mean())
    se = None if variance is None else float(np.sqrt(variance / seeds))
    best = rows["best_loss"] if "best_loss" in rows else pd.Series(np.nan, index=rows.index)
    half_life, squares = _fitted(epochs, unique, loss, log_tokens, fresh)
    drop = np.minimum.accumulate(loss)
    within = np.interp(np.log(tokens), log_tokens, fresh, left=np.nan, right=np.nan)
    return Repeated(
        setting=name,
        unique_tokens=unique,
        epochs=epochs,
        loss=loss,
        fresh=within,
        best=_means(rows.assign(best=pd.to_numeric(best)), "best")[1],
        se=se,
        half_life=half_life,
        misfit=None if se is None else float(np.sqrt(squares) / se),
        rises=se is not None and bool((loss - drop > RISES * np.sqrt(2) * se).any()),
    )


def _fitted(epochs: Array, unique: float, loss: Array, log_tokens: Array, fresh: Array) -> tuple[float | None, float]:
    """R on a grid of logarithms, None at its end, and the mean square it leaves."""
    grid = np.geomspace(0.05, 500, 400)
    over = np.maximum(epochs - 1, 0.0)
    worth = np.minimum(epochs, 1.0) + grid[:, None] * (1 - np.exp(-over / grid[:, None]))
    form = np.interp(np.log(unique * worth), log_tokens, fresh)
    squares = ((form - loss) ** 2).mean(axis=1)
    best = int(squares.argmin())
    return (float(grid[best]) if 0 < best < len(grid) - 1 else None), float(squares[best])
