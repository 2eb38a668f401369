"""Predictions of runs before they are made, and their score afterwards: fit small, predict large, train, compare.

Three methods predict the same points. The parametric law: by default the gamma form averaged over the floors and powers that
the runs leave open (`analysis.posterior`), or one best fit of a named form, whose interval holds its error by bootstrap and the
runs' scatter. The additive law without a floor E, a pure power law. And a local slope: the largest curve's parabola moved
along the straight lines in logarithms through the two largest budgets' minima. Scores are errors in nats, the compute that
such an error is worth, and the interval score of Gneiting and Raftery 2007 (J. Am. Stat. Assoc. 102, 359), which
charges an interval for its width and for what it misses.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.errors import FitError
from analysis.formfit import FormFit
from analysis.forms.joint import GAMMA
from analysis.heldout import prediction_half_widths
from analysis.isoflop import fit_isoflop
from analysis.parametric import fit_form
from analysis.places import place_of
from analysis.posterior import sample_posterior
from analysis.table import Array, Runs
from analysis.trend import t_quantile

LAW, POWER_LAW, LOCAL_SLOPE = "law", "power law", "local slope"

NO_FLOOR = 1e-9
"""E of a pure power law: fits work in logarithms, where nothing is zero."""

AUTO = "auto"
"""The word for the gamma form averaged over what the runs leave open of it."""

FOLDER = "predictions"
"""Where a store keeps them, one object each, named by the hash of what it says."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A point that is to be predicted.

    Attributes:
        params: N.
        tokens: D.
        flops: C of its training.
        run_ids: Its runs, one for each seed.
    """

    params: float
    tokens: float
    flops: float
    run_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Score:
    """How one method predicted.

    Attributes:
        method: `law`, `power law` or `local slope`.
        errors: Predicted minus observed loss at each point, nats.
        compute: Factor of compute that each error is worth along the law's optima; above 1 whichever way it was off.
        hits: Points inside their intervals.
        half_width: Mean half-width of the intervals, nats.
        interval_score: Mean interval score, nats; lower is better.
    """

    method: str
    errors: tuple[float, ...]
    compute: tuple[float, ...]
    hits: int
    half_width: float
    interval_score: float

    @property
    def mean_absolute(self) -> float:
        """Mean size of the errors, nats."""
        return float(np.abs(self.errors).mean())


def predict_targets(
    runs: Runs, targets: Sequence[Target], *, form: str = AUTO, level: float = 0.9, seed: int = 0
) -> dict[str, Any]:
    """Predictions of targets from the runs at smaller budgets, as a JSON-ready document without its hash.

    Args:
        runs: The runs that are fitted.
        targets: What is predicted: means over their seeds.
        form: Form of the law; `auto` for the gamma form averaged over what the runs leave open of it.
        level: Nominal level of the intervals.
        seed: Seed of search, bootstrap and draws.

    Raises:
        FitError: The law cannot be fitted, or fewer than two curves have their minimum inside.
        LawError: An unknown form.
    """
    N, D, seeds = (np.array([value(t) for t in targets]) for value in (_params, _tokens, _seeds))
    if form == AUTO:
        law, slope, said = _by_average(runs, N, D, seeds, level, seed)
    else:
        flops = float(np.median([target.flops for target in targets]))
        law, slope, said = _by_best_fit(fit_form(runs, form, seed=seed), N, D, seeds, level, flops)
    pure = fit_form(runs, "additive", fixed={"E": NO_FLOOR}, seed=seed)
    power_law = pure.predict(N, D), prediction_half_widths(pure, N, D, seeds, level)
    predicted = {LAW: law, POWER_LAW: power_law}
    predicted[LOCAL_SLOPE] = _by_local_slope(runs, targets, level)
    ids = sorted(map(str, runs.frame["run_id"]))
    losses = [float(loss) for loss in runs.frame.set_index("run_id").loc[ids, "loss"]]
    return {
        "kind": "ladder",
        **said,
        "level": level,
        "fitted": ids,
        "fitted_losses": _digest(losses),
        "slope": slope,
        "targets": [
            {
                "params": t.params,
                "tokens": t.tokens,
                "flops": t.flops,
                "run_ids": list(t.run_ids),
                "predictions": {
                    name: {"loss": float(loss[i]), "half_width": float(half[i])}
                    for name, (loss, half) in predicted.items()
                },
            }
            for i, t in enumerate(targets)
        ],
    }


def _interval_score(errors: Array, half: Array, level: float) -> float:
    """Mean over points of the interval's width and 2 / (1 - level) of what it misses by."""
    missed = np.maximum(np.abs(errors) - half, 0.0)
    return float((2 * half + 2 / (1 - level) * missed).mean())


def name_of(document: Mapping[str, Any]) -> str:
    """The hash that predictions are named by: over what they say, not over when they were written."""
    return _digest({key: value for key, value in document.items() if key not in ("format", "written_at")})


def read_predictions(source: str | os.PathLike[str]) -> list[tuple[str, dict[str, Any]]]:
    """Names and documents of a store's predictions that are what they were when they were written, oldest first."""
    place = place_of(source)
    found = []
    for name in place.names(FOLDER):
        document = json.loads(place.read(f"{FOLDER}/{name}"))
        stem = name.removesuffix(".json")
        if name_of(document) == stem:
            found.append((stem, document))
    return sorted(found, key=lambda pair: str(pair[1].get("written_at", "")))


def score_predictions(document: Mapping[str, Any], rows: pd.DataFrame) -> tuple[tuple[Score, ...], pd.DataFrame]:
    """Every method's score on the targets that have been trained, and those targets with their losses.

    Args:
        document: Predictions.
        rows: Rows of the results table.

    Raises:
        FitError: No target has a result yet.
    """
    done = rows[rows["loss"].notna()].set_index("run_id")["loss"]
    observed = [(t, done.reindex(t["run_ids"]).dropna()) for t in document["targets"]]
    known = [(t, losses) for t, losses in observed if len(losses)]
    if not known:
        raise FitError(
            "no predicted run has a result yet; expected one. Repeat isoflop run until the targets are done."
        )
    loss = np.array([losses.mean() for _, losses in known])
    table = pd.DataFrame(
        {
            "params": [t["params"] for t, _ in known],
            "tokens": [t["tokens"] for t, _ in known],
            "loss": loss,
            "runs": [len(losses) for _, losses in known],
        }
    )
    scores = []
    for method in (LAW, POWER_LAW, LOCAL_SLOPE):
        value, half = (np.array([t["predictions"][method][k] for t, _ in known]) for k in ("loss", "half_width"))
        table[method], table[f"{method} ±"] = value, half
        scores.append(_score(method, value - loss, half, document["level"], abs(document["slope"])))
    return tuple(scores), table


def _score(method: str, errors: Array, half: Array, level: float, slope: float) -> Score:
    missed = np.maximum(np.abs(errors) - half, 0.0)
    return Score(
        method=method,
        errors=tuple(map(float, errors)),
        compute=tuple(math.exp(min(abs(error) / slope, 50.0)) if slope else math.inf for error in errors),
        hits=int((missed == 0).sum()),
        half_width=float(half.mean()),
        interval_score=_interval_score(errors, half, level),
    )


def _params(target: Target) -> float:
    return target.params


def _tokens(target: Target) -> float:
    return target.tokens


def _seeds(target: Target) -> float:
    return float(len(target.run_ids))


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _by_average(
    runs: Runs, N: Array, D: Array, seeds: Array, level: float, seed: int
) -> tuple[tuple[Array, Array], float, dict[str, Any]]:
    """Losses and half-widths, dL*/d ln C at the targets, and what is said of the law, averaged over what runs leave open."""
    posterior = sample_posterior(runs, seed=seed)
    middle = np.argsort(N, kind="stable")[len(N) // 2]
    said = {
        "form": GAMMA.name,
        "coefficients": {name: float(np.median(draws)) for name, draws in posterior.coefficients.items()},
        "averaged": {
            "E": posterior.quantiles("E", level),
            "gamma": posterior.quantiles("gamma", level),
            "misfit": float(np.median(posterior.misfit)),
            "autocorrelations": posterior.autocorrelations,
        },
    }
    return posterior.predict(N, D, seeds, level), posterior.slope(float(N[middle]), float(D[middle])), said


def _by_best_fit(
    fit: FormFit, N: Array, D: Array, seeds: Array, level: float, flops: float
) -> tuple[tuple[Array, Array], float, dict[str, Any]]:
    """The same of one form's best fit, at targets of so many FLOPs."""
    low, high = (fit.optimum(flops * factor).loss for factor in (0.8, 1.25))
    if low is None or high is None:
        raise FitError(f"{fit.form.name} has no optimum near {flops:g} FLOPs; expected one. Add budgets.")
    said = {"form": fit.form.name, "coefficients": dict(fit.coefficients)}
    law = fit.predict(N, D), prediction_half_widths(fit, N, D, seeds, level)
    return law, (high - low) / math.log(1.25 / 0.8), said


def _by_local_slope(runs: Runs, targets: Sequence[Target], level: float) -> tuple[Array, Array]:
    """Losses and half-widths from the two largest minima and the largest curve's parabola."""
    inside = [m for m in fit_isoflop(runs).minima if m.usable]
    if len(inside) < 2:
        raise FitError(f"{len(inside)} curves have their minimum inside; a slope takes two. Add sizes.")
    (c1, n1, l1, s1), (c2, n2, l2, s2) = (
        (math.log(m.budget), math.log(m.params or 1), math.log(m.loss or 1), (m.loss_se or 0.0) / (m.loss or 1))
        for m in inside[-2:]
    )
    t = np.array([(math.log(target.flops) - c2) / (c2 - c1) for target in targets])
    minimum = np.exp(l2 + t * (l2 - l1))
    parabola = inside[-1].curve.parabola
    assert parabola is not None
    shift = np.log([target.params for target in targets]) - (n2 + t * (n2 - n1))
    loss = minimum + parabola.coefficients[2] * shift**2
    noise = inside[-1].noise
    own = 0.0 if noise is None else noise.sd
    spread = minimum * np.hypot((1 + t) * s2, t * s1)
    quantile = t_quantile(10.0 if noise is None else noise.degrees, level)
    return loss, quantile * np.hypot(spread, own / np.sqrt([_seeds(target) for target in targets]))
