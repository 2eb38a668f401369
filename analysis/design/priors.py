"""What is believed of a form before its runs are seen: a published law's constants, or where its search starts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from analysis.design.belief import Noise, Prior
from analysis.design.surface import Columns, FormSurface
from analysis.errors import LawError
from analysis.forms import Coefficient
from analysis.laws.published import LAWS

Array = NDArray[np.float64]

NOISE = Noise(sd=0.005, degrees=2.0)
"""Half a percent of the loss between seeds, believed no more than two runs' worth (chosen)."""

LEAST_SD, MOST_SD = 0.15, 3.0
"""Limits of a coordinate's standard deviation where it comes from the spread of starts (chosen)."""


def law_prior(surface: FormSurface, coefficients: Mapping[str, float]) -> Prior:
    """Around a published law: terms and floor within about a factor of two, exponents within 40 % (chosen).

    Raises:
        LawError: A coefficient of the form is missing.
    """
    if missing := [name for name in surface.names if name not in coefficients]:
        raise LawError(
            f"{', '.join(missing)} of {surface.form.name} is not given; expected {', '.join(surface.names)}. Add it."
        )
    values = np.array([coefficients[name] for name in surface.names])
    sd = np.array([_spread(c, value) for c, value in zip(surface.form.coefficients, values, strict=True)])
    return Prior(mean=surface.problem.coordinates(values), sd=sd, noise=NOISE)


def _spread(coefficient: Coefficient, value: float) -> float:
    if coefficient.positive:
        return 0.5 if coefficient.kind == "floor" else 0.7
    return 0.4 * abs(value) if value else 1.0


def starting_points(surface: FormSurface, columns: Columns, loss: Array, *, seed: int = 0) -> Array:
    """Coordinates where the form's own search would start for these losses, the best first, shape (S, P)."""
    read = {name: columns[name] for name in surface.form.columns}
    with np.errstate(all="ignore"):
        starts = surface.problem.coordinates(surface.form.starts(read, loss, np.random.default_rng(seed)))
        misfits = ((surface.values(starts, read) - surface.observed(loss)) ** 2).sum(axis=1)
    usable = np.isfinite(misfits) & np.isfinite(starts).all(axis=1)
    return np.asarray(starts[usable][np.argsort(misfits[usable], kind="stable")])


def wide_prior(surface: FormSurface, columns: Columns) -> Prior:
    """Where the form's search starts for a typical surface over these rows, with the spread of those starts.

    Raises:
        LawError: No start serves these rows.
    """
    starts = starting_points(surface, columns, reference_loss(columns))
    if len(starts) == 0:
        raise LawError(
            f"no start of {surface.form.name} serves these {len(next(iter(columns.values())))} rows; expected "
            "sizes and tokens on usual scales. Name a published law of that form (--law), or --observed runs."
        )
    better = starts[: max(len(starts) // 2, 1)]
    return Prior(mean=starts[0], sd=np.clip(better.std(axis=0), LEAST_SD, MOST_SD), noise=NOISE)


def reference_loss(columns: Columns) -> Array:
    """A typical surface over these rows: corrected Chinchilla where there are N and D, else a slow power law."""
    if {"params", "tokens"} <= set(columns):
        return np.asarray(LAWS["besiroglu2024"].loss(columns["params"], columns["tokens"]))
    first = next(iter(columns.values()))
    return np.asarray(1.8 + (first / first.min()) ** -0.2)
