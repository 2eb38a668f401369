"""Downstream error in two steps, from loss to error; and the shape of any metric against scale.

A task's error need not scale smoothly with loss, nor loss alone decide it: see the warnings that every result carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import FitError
from analysis.forms.form import Coefficient, Form
from analysis.forms.jet import Quantity, exp
from analysis.laws.regression import regress
from analysis.parametric import FormFit, fit_form
from analysis.results import FitWarning, Interval
from analysis.table import Runs

Array = NDArray[np.float64]
Shape = Literal["exponential", "sigmoid"]
Trend = Literal["falling", "rising", "u-shaped", "inverted-u", "flat"]


def _exponential(c: Mapping[str, Quantity], x: Mapping[str, Quantity]) -> Quantity:
    return c["chance"] - c["k"] * exp(-c["gamma"] * x["validation_loss"])


def _exponential_starts(columns: Mapping[str, Array], error: Array, _: np.random.Generator) -> Array:
    """For each decay the error is linear in chance and k."""
    rows = []
    for gamma in np.geomspace(0.1, 5.0, 12):
        terms = np.stack([np.ones(len(error)), -np.exp(-gamma * columns["validation_loss"])], axis=1)
        chance, k = np.linalg.lstsq(terms, error, rcond=None)[0]
        rows.append([max(chance, error.max()), max(k, 1e-3), gamma])
    return np.array(rows)


EXPONENTIAL = Form(
    name="downstream-exponential",
    expression="chance - k exp(-gamma loss)",
    coefficients=(
        Coefficient(name="chance", kind="scale", meaning="error of a model that has learnt nothing"),
        Coefficient(name="k", kind="scale", meaning="size of the gain"),
        Coefficient(name="gamma", kind="scale", meaning="how fast error falls with loss"),
    ),
    columns=("validation_loss",),
    formula=_exponential,
    starts=_exponential_starts,
    source="Gadre et al. 2024, arXiv:2403.08540, equation 5",
)


def _sigmoid(c: Mapping[str, Quantity], x: Mapping[str, Quantity]) -> Quantity:
    rise = 1.0 / (1.0 + exp(-c["slope"] * (x["validation_loss"] - c["middle"])))
    return c["least"] + c["span"] * rise


def _sigmoid_starts(columns: Mapping[str, Array], error: Array, _: np.random.Generator) -> Array:
    loss = columns["validation_loss"]
    middles = np.quantile(loss, [0.1, 0.3, 0.5, 0.7, 0.9])
    span = max(float(np.ptp(error)), 1e-3)
    return np.array(
        [
            [max(float(error.min()) - extra * span, 1e-3), span * (1 + 2 * extra), slope, middle]
            for extra in (0.02, 0.3)
            for slope in (1.0, 3.0, 10.0)
            for middle in middles
        ]
    )


SIGMOID = Form(
    name="downstream-sigmoid",
    expression="least + span / (1 + exp(-slope (loss - middle)))",
    coefficients=(
        Coefficient(name="least", kind="scale", meaning="error that remains"),
        Coefficient(name="span", kind="scale", meaning="error of chance above it"),
        Coefficient(name="slope", kind="scale", meaning="how sudden the change is"),
        Coefficient(name="middle", kind="number", meaning="loss at which half is learnt"),
    ),
    columns=("validation_loss",),
    formula=_sigmoid,
    starts=_sigmoid_starts,
    source="Llama 3, arXiv:2407.21783, section 3.2.1: a sigmoid from loss to accuracy",
)


@dataclass(frozen=True, kw_only=True)
class Downstream:
    """A task's error as a function of loss.

    Attributes:
        fit: The fit, with residuals in the error's own unit.
        warnings: What weakens it.
    """

    fit: FormFit
    warnings: tuple[FitWarning, ...]

    def error(self, loss: Array | float) -> Array:
        """Predicted error at a validation loss."""
        values = {"validation_loss": np.asarray(loss, dtype=np.float64)}
        return np.asarray(self.fit.form.loss(self.fit.coefficients, values))


def fit_downstream(loss: Array, error: Array, shape: Shape = "exponential") -> Downstream:
    """Fit error (1 - accuracy) against validation loss; with a law of the loss this predicts the error at any (N, D).

    Args:
        loss: Validation loss, shape (n,).
        error: Error in (0, 1], shape (n,).
        shape: `exponential` or `sigmoid`.

    Raises:
        FitError: Another shape, too few models, or errors outside (0, 1].
    """
    forms = {"exponential": EXPONENTIAL, "sigmoid": SIGMOID}
    if shape not in forms:
        raise FitError(f"shape {shape!r}: expected exponential or sigmoid.")
    loss, error = np.asarray(loss, dtype=np.float64), np.asarray(error, dtype=np.float64)
    if not ((error > 0) & (error <= 1)).all():
        raise FitError(f"errors from {error.min():.3g} to {error.max():.3g}: expected shares of 1. Pass 1 - accuracy.")
    frame = pd.DataFrame({"params": 1.0, "tokens": 1.0, "flops": 1.0, "validation_loss": loss, "loss": error})
    fit = fit_form(Runs(frame=frame), forms[shape], space="linear")
    note = FitWarning(
        "downstream_not_smooth",
        "tasks need not follow the loss: they can change suddenly, saturate or turn. Hold out the largest models and "
        "compare.",
        1.0,
    )
    trend = scaling_trend(-loss, error)
    turning = FitWarning(
        "not_monotone",
        f"the error is {trend.trend} over these losses: neither form can follow it. Look at the points.",
        4.0,
    )
    bent = (turning,) if trend.trend in ("u-shaped", "inverted-u", "rising") else ()
    return Downstream(fit=fit, warnings=(*bent, *fit.warnings, note))


@dataclass(frozen=True, kw_only=True)
class ScalingTrend:
    """How a metric moves with scale.

    Attributes:
        trend: Named only where the slopes differ from zero at the level.
        left: Interval of the slope at the small end.
        right: Interval of the slope at the large end.
    """

    trend: Trend
    left: Interval
    right: Interval


def scaling_trend(scale: Array, metric: Array, level: float = 0.9) -> ScalingTrend:
    """Test for inverse and U-shaped scaling: slopes of a parabola at both ends (Lind and Mehlum 2010).

    Args:
        scale: ln C or the like, shape (n,), larger for larger models.
        metric: Any metric, shape (n,).
        level: Level of each slope's interval.

    Raises:
        FitError: Fewer than five points.
    """
    x, y = np.asarray(scale, dtype=np.float64), np.asarray(metric, dtype=np.float64)
    if len(x) < 5 or np.ptp(x) == 0:
        raise FitError(f"{len(x)} points: expected at least five at different scales. Add models.")
    slopes = []
    for end in (x.min(), x.max()):  # centred there, the linear slope is the slope at that end
        fit = regress({"slope": x - end, "bend": (x - end) ** 2}, y)
        slopes.append(fit.interval("slope", level))
    signs = [1 if s.low is not None and s.low > 0 else -1 if s.high is not None and s.high < 0 else 0 for s in slopes]
    left, right = slopes
    return ScalingTrend(trend=_trend(signs[0], signs[1]), left=left, right=right)


def _trend(left: int, right: int) -> Trend:
    if left * right < 0:
        return "u-shaped" if right > 0 else "inverted-u"
    total = left + right
    return "flat" if total == 0 else "rising" if total > 0 else "falling"
