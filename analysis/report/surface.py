"""Sections on the parametric law: what it says, and what its residuals say about it."""

from __future__ import annotations

from analysis import notation
from analysis.figures.residuals import residual_figure
from analysis.formfit import FormFit
from analysis.report.blocks import Block, Exhibit, Section, Text, grid, missing
from analysis.report.outcome import Failed
from analysis.report.summary import LEVEL, Summary


def residuals_section(summary: Summary) -> Section:
    """Approach 3: coefficients, certificate and residuals."""
    fit = summary.parametric
    if isinstance(fit, Failed):
        return Section(
            name="residuals",
            title="Parametric fit and its residuals",
            blocks=(missing("Approach 3 has no result", fit),),
        )
    blocks = (Text(text=_objective_text(fit)), _coefficients(fit), _residual_exhibit(fit))
    return Section(name="residuals", title="Parametric fit and its residuals", blocks=blocks)


_OBJECTIVES = {"huber": "Huber's loss", "lad": "absolute values", "squares": "squares"}


def _objective_text(fit: FormFit) -> str:
    objective = fit.objective
    delta = f", δ = {objective.delta:.2g}," if objective.delta else ""
    return (
        f"L = {fit.form.expression} through {len(fit.runs)} runs ({fit.form.source}), minimising "
        f"{_OBJECTIVES[objective.kind]}{delta} of {objective.space} residuals, summed: {objective.value:.6g}. {_verdict(fit)}"
    )


def _verdict(fit: FormFit) -> str:
    certificate = fit.certificate
    if not certificate.converged:
        return f"NOT converged: {certificate.reason}. Its numbers are shown to find out why, not to be used."
    starts = f"{certificate.starts_agreeing} of {certificate.starts} starts agree"
    return f"Converged: {starts}, scaled gradient {certificate.gradient_norm:.0e}."


def _coefficients(fit: FormFit) -> Block:
    errors = fit.sandwich().se if fit.smooth else fit.resamples.se
    spans = {name: fit.interval(name, LEVEL) for name in fit.coefficients}
    methods = ", ".join(sorted({span.method for span in spans.values()}))
    rows = [
        (name, notation.number(value), notation.number(errors[name]), notation.interval(spans[name], notation.number))
        for name, value in fit.coefficients.items()
    ]
    made_by = "sandwich" if fit.smooth else f"bootstrap of {fit.resamples.scheme}"
    caption = f"Coefficients, with standard errors ({made_by}) and 90 % intervals ({methods})"
    return grid(caption, ("coefficient", "value", "standard error", "interval"), rows)


def _residual_exhibit(fit: FormFit) -> Exhibit:
    scale, unit = (100.0, "%") if fit.objective.space == "log" else (1.0, "nats")
    residuals = fit.residuals * scale
    frame = fit.runs.frame
    rows = [
        (notation.count(n), notation.count(d), notation.flops(c), notation.loss(loss), f"{r:+.2f}")
        for n, d, c, loss, r in zip(
            frame["params"], frame["tokens"], frame["flops"], frame["loss"], residuals, strict=True
        )
    ]
    return Exhibit(
        name="residuals",
        main=True,
        title="Residuals of the parametric fit",
        description=(
            f"Observed minus predicted of {len(rows)} runs against N, D and C, and against normal quantiles; the "
            f"largest is {abs(residuals).max():.2f} {unit}. "
            "A slope or a bend means that the form misses something. Dotted lines are ±δ."
        ),
        draw=lambda: residual_figure(fit),
        data=grid("Residuals", ("params", "tokens", "compute", "loss", f"residual, {unit}"), rows, text_columns=0),
    )
