"""Which runs enter a fit, and the errors of those that can't be fitted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from analysis.errors import FitError, LawError
from analysis.fitting.objective import Space
from analysis.forms import Form
from analysis.results import Dropped
from analysis.table import Runs

Array = NDArray[np.float64]

ONE_VALUE = 1e-6
"""Sizes, tokens or budgets within this share of each other are one value."""

ONE_BUDGET = 0.01
"""FLOPs within this share of each other are one budget: rounding to whole steps moves them by about that (chosen)."""


def run_names(runs: Runs) -> tuple[str, ...]:
    """Names of runs for messages: `run_id`, else row number with N and D."""
    frame = runs.frame
    if "run_id" in frame:
        return tuple(str(name) for name in frame["run_id"])
    pairs = zip(frame["params"], frame["tokens"], strict=True)
    return tuple(f"row {i} ({n:.3g} params, {d:.3g} tokens)" for i, (n, d) in enumerate(pairs))


def drop_highest(runs: Runs, count: int) -> Runs:
    """Leave out the `count` runs of highest loss, named in `dropped`: the outlier rule of Besiroglu et al. 2024.

    Raises:
        FitError: As many as there are, or more.
    """
    return drop_highest_losses(runs, count)[0]


def drop_highest_losses(runs: Runs, count: int) -> tuple[Runs, NDArray[np.intp]]:
    """Leave out the runs of the highest loss.

    Args:
        runs: Runs.
        count: How many.

    Returns:
        The remaining runs, with the others added to `dropped`, and the positions that were kept.

    Raises:
        FitError: More than there are.
    """
    if not 0 <= count < max(len(runs), 1):
        raise FitError(
            f"drop_highest={count} (--drop-highest) of {len(runs)} runs: expected 0 to {max(len(runs) - 1, 0)}. Drop fewer."
        )
    order = np.argsort(-runs.column("loss"), kind="stable")
    out, kept = np.sort(order[:count]), np.sort(order[count:])
    names = run_names(runs)
    dropped = tuple(Dropped(names[i], f"among the {count} highest losses") for i in out)
    frame = runs.frame.iloc[kept].reset_index(drop=True)
    return dataclasses.replace(runs, frame=frame, dropped=(*runs.dropped, *dropped)), kept


def form_columns(runs: Runs, form: Form) -> dict[str, Array]:
    """Columns that a form reads.

    Raises:
        LawError: The runs don't have them.
    """
    if missing := [name for name in form.columns if name not in runs.frame.columns]:
        raise LawError(
            f"{form.name} reads {', '.join(missing)}, which these runs don't have: "
            f"they have {', '.join(map(str, runs.frame.columns))}. "
            "Name them with columns={...} (--map), or choose another form."
        )
    return {name: runs.column(name) for name in form.columns}


def check_runs(runs: Runs, form: Form, columns: Mapping[str, Array], free: int, space: Space) -> None:
    """Refuse runs that no fit of this form can use.

    Args:
        runs: The runs.
        form: The form.
        columns: Its columns.
        free: Coefficients to be fitted.
        space: Space of the residuals.

    Raises:
        FitError: Too few runs, one size or one budget only, values that are not positive.
    """
    loss = runs.column("loss")
    if space not in ("log", "linear"):
        raise FitError(f"space {space!r}: expected log or linear residuals.")
    if len(runs) < free:
        raise FitError(
            f"{len(runs)} runs for the {free} free coefficients of {form.name}: expected at least {free}, "
            f"better {3 * free}. Add runs, or fix coefficients with fixed={{...}} (--fix E=1.69)."
        )
    for name, values in {"loss": loss, **columns}.items():
        if wrong := int((~(np.isfinite(values) & (values > 0))).sum()):
            raise FitError(
                f"{wrong} of {len(values)} values of {name} are not positive numbers: expected them all to be. "
                "Leave these runs out."
            )
    for name in set(columns) & {"params", "tokens", "flops"}:
        if np.ptp(np.log(columns[name])) < ONE_VALUE:
            raise FitError(
                f"all {len(runs)} runs have {name} = {columns[name][0]:.4g}: expected several, or the terms of "
                f"{form.name} can't be told apart. Add runs at other {name}."
            )
    flops = runs.column("flops")
    if {"params", "tokens"} <= set(columns) and np.ptp(np.log(flops)) < ONE_BUDGET:
        raise FitError(
            f"all {len(runs)} runs have one budget, {flops[0]:.3g} FLOPs: expected at least two, or {form.name} can't "
            "tell N from D. Add another budget, or fit this one's minimum with approach 2."
        )


def check_weights(weights: Array | None, count: int) -> Array:
    """Weights of each run, 1 where none are given.

    Raises:
        FitError: Another number of weights than runs, a negative one, or none above zero.
    """
    if weights is None:
        return np.ones(count)
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (count,) or not (given >= 0).all() or not given.any():
        raise FitError(f"weights of shape {given.shape}: expected {count} numbers, none negative, one per run.")
    return given
