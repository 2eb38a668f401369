"""How a law is fitted to a few runs of a pool, and which way predicts the pool's other runs best.

A fitter is a space of residuals, an objective, and a number of starts; the prior is the design's wide one for all. Huber's
objective is a few reweighted fits of squares: a run beyond 1.345 standard deviations (the median absolute deviation's) of its
prediction weighs as much less.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analysis.design.belief import Belief, Evidence, Noise, Prior, learn
from analysis.design.surface import Columns, FormSurface
from analysis.design.worth import learn_runs

Array = NDArray[np.float64]

HUBER, MAD = 1.345, 1.4826
"""Huber's delta for 95 % of the efficiency of squares on normal noise, and the factor from the median absolute deviation."""

REWEIGHTED = 2
"""Reweighted fits (chosen)."""

RUNS, SPLITS = 30, 20
"""Runs that are fitted, about what 5 % of the pools' cost buys, and random splits."""

WORST = 2.0
"""Relative squared error at which a fit counts as failed: the score of the benchmark is clipped there, too."""


@dataclass(frozen=True, kw_only=True)
class Fitter:
    """Space of the residuals, objective, and starts of the form's own that are tried beside the prior."""

    space: Literal["log", "linear"]
    objective: Literal["squares", "huber"]
    starts: int

    @property
    def name(self) -> str:
        where = "ln loss" if self.space == "log" else "loss"
        return f"{self.objective} of {where}, {self.starts} start{'s' if self.starts > 1 else ''}"

    def surface(self, surface: FormSurface) -> FormSurface:
        """The law as this fitter sees it."""
        kind = FormSurface if self.space == "log" else LinearSurface
        return kind(form=surface.form, problem=surface.problem)

    def fit(self, surface: FormSurface, prior: Prior, columns: Columns, loss: Array) -> Belief:
        """What is believed after these runs; `surface` is that of `surface`."""
        if self.space == "linear":
            prior = replace(prior, noise=Noise(sd=prior.noise.sd * float(np.median(loss)), degrees=prior.noise.degrees))
        belief = learn_runs(surface, prior, columns, loss, starts=self.starts)
        for _ in range(REWEIGHTED if self.objective == "huber" else 0):
            misses = np.abs(surface.observed(loss) - surface.predict(belief.theta, columns)[0])
            delta = HUBER * max(MAD * float(np.median(misses)), prior.noise.sd)
            evidence = Evidence(
                columns=columns,
                loss=loss,
                count=delta / np.maximum(misses, delta),
                squares=np.zeros(len(loss)),
                group=np.zeros(len(loss), np.int64),
            )
            belief = learn(surface, prior, evidence, near=belief.theta)
        return belief


@dataclass(frozen=True, kw_only=True)
class LinearSurface(FormSurface):
    """A form's loss itself, in place of its logarithm."""

    def predict(self, theta: Array, columns: Columns) -> tuple[Array, Array]:
        """See `Surface`."""
        logs, jacobian = super().predict(theta, columns)
        with np.errstate(all="ignore"):
            losses = np.exp(logs)
            return losses, losses[:, None] * jacobian

    def values(self, thetas: Array, columns: Columns) -> Array:
        """See `FormSurface`."""
        with np.errstate(all="ignore"):
            return np.asarray(np.exp(super().values(thetas, columns)))

    def observed(self, loss: Array) -> Array:
        """See `Surface`."""
        return loss


FITTERS = tuple(
    Fitter(space=space, objective=objective, starts=starts)
    for space, objective, starts in product(("log", "linear"), ("squares", "huber"), (1, 4, 12))
)


def relative_error(surface: FormSurface, theta: Array, columns: Columns, loss: Array) -> float:
    """Squares of what was missed over squares about the mean, 1 - R2 of the loss; `WORST` at most."""
    coefficients = surface.problem.coefficients(theta)
    with np.errstate(all="ignore"):
        missed = surface.form.loss(dict(zip(surface.names, coefficients, strict=True)), columns) - loss
        error = (missed @ missed) / ((loss - loss.mean()) @ (loss - loss.mean()))
    return float(min(error, WORST)) if np.isfinite(error) else WORST


def cross_validate(surface: FormSurface, prior: Prior, columns: Columns, loss: Array, *, fitter: Fitter) -> Array:
    """Relative squared errors on the runs left over, of each random split, shape (SPLITS,)."""
    seen = fitter.surface(surface)
    errors = []
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(loss))
        fitted, rest = ({name: values[rows] for name, values in columns.items()} for rows in np.split(order, [RUNS]))
        belief = fitter.fit(seen, prior, fitted, loss[order[:RUNS]])
        errors.append(relative_error(seen, belief.theta, rest, loss[order[RUNS:]]))
    return np.array(errors)


def choose(errors: dict[str, Array]) -> tuple[str, dict[str, dict[str, float]]]:
    """The fitter of the lowest mean logarithm of the relative squared error, and how far the others are behind it.

    Args:
        errors: Of each fitter, shape (tasks, SPLITS).
    """
    logs = {name: np.log(values) for name, values in errors.items()}
    best = min(logs, key=lambda name: float(logs[name].mean()))
    behind = {}
    for name, values in logs.items():
        apart = values - logs[best]
        se = float(np.sqrt((apart.var(axis=1, ddof=1) / apart.shape[1]).sum()) / len(apart))
        behind[name] = {"mean ln error": float(values.mean()), "behind": float(apart.mean()), "se": se}
    return best, behind
