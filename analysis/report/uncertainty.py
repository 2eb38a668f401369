"""Sections on the parametric surface and on how well it is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis import notation
from analysis.figures.contour import contour_figure
from analysis.figures.uncertainty import bootstrap_pairs_figure, delta_figure, profile_figure
from analysis.fitting.bootstrap import Bootstrap
from analysis.fitting.optimum import Optimum
from analysis.fitting.profile import Profile
from analysis.formfit import FormFit
from analysis.isoflop import IsoflopFit
from analysis.report.blocks import Block, Exhibit, Section, grid, missing
from analysis.report.optima import exponent_of
from analysis.report.outcome import Failed, attempt
from analysis.report.sensitivity import DeltaFit, delta_fits
from analysis.report.summary import LEVEL, Summary
from analysis.results import Interval

CONTOUR_REACH = 10.0
"""The contour shows the frontier up to this multiple of the largest compute."""

ISOFLOP_RESAMPLES = 400
"""Resamples of approach 2 for the table of intervals (chosen: its refits are not compiled)."""

_PAIRED = 5


def contour_section(summary: Summary) -> Section:
    """L(N, D) with the efficient frontier."""
    fit = summary.parametric
    if isinstance(fit, Failed) or not {"params", "tokens"} <= set(fit.form.columns):
        reason = fit if isinstance(fit, Failed) else Failed(reason=f"{fit.form.name} is no law of N and D")
        return Section(name="contour", title="Loss over N and D", blocks=(missing("No surface", reason),))
    optima = summary.optima.get("parametric", ())
    frontier = [best for best in optima if (best.extrapolation or 0.0) <= CONTOUR_REACH * 1.05]
    rows = [_frontier_row(best) for best in frontier]
    exhibit = Exhibit(
        name="loss-contours",
        main=True,
        title="Contours of the fitted loss, the efficient frontier and the runs",
        description="Along a contour the loss is equal. " + _reach_text(frontier),
        draw=lambda: contour_figure(fit, frontier),
        data=grid("Efficient frontier of the parametric fit", ("compute", "N*", "D*", "loss"), rows, text_columns=0),
    )
    return Section(name="contour", title="Loss over N and D", blocks=(exhibit,))


def _frontier_row(best: Optimum) -> tuple[str, ...]:
    return (
        notation.flops(best.flops),
        notation.count(best.params),
        notation.count(best.tokens),
        notation.loss(best.loss),
    )


def _reach_text(frontier: list[Optimum]) -> str:
    if not frontier:
        return "The fit gives no efficient frontier inside the sizes that are searched."
    last = frontier[-1]
    where = f"N {notation.count(last.params)}, D {notation.count(last.tokens)} at {notation.flops(last.flops)} FLOPs"
    return f"The efficient frontier runs to {where}; it is dashed where no run was as large."


def uncertainty_section(summary: Summary) -> Section:
    """Intervals of the exponent side by side; bootstrap, profiles and sensitivity of the parametric fit."""
    blocks: list[Block] = list(_exponent_grids(summary))
    fit = summary.parametric
    if isinstance(fit, Failed):
        blocks.append(missing("No parametric fit to look into", fit))
    else:
        blocks += [_pairs(fit.resamples), *_profiles(fit), *_deltas(fit)]
    return Section(name="uncertainty", title="Uncertainty", blocks=tuple(blocks))


def _exponent_grids(summary: Summary) -> Iterator[Block]:
    rows: list[tuple[str, ...]] = []
    isoflop, form = summary.isoflop, summary.parametric
    if isinstance(isoflop, IsoflopFit) and isoflop.params_trend is not None:
        rows.append(
            _exponent_row(
                "approach 2, t with the scatter between curves", isoflop.exponents["a"], isoflop.intervals["a"]
            )
        )
        boot = attempt(lambda: isoflop.bootstrap(ISOFLOP_RESAMPLES))
        if isinstance(boot, Bootstrap):
            rows.append(
                _exponent_row(
                    f"approach 2, bootstrap of {boot.scheme}", isoflop.exponents["a"], boot.interval("a", LEVEL)
                )
            )
        filtered = isoflop.params_trend_filtered
        if filtered is not None:
            rows.append(
                _exponent_row(
                    "approach 2, bracketed minima alone", filtered.exponent, filtered.exponent_interval(LEVEL)
                )
            )
    if isinstance(form, FormFit) and "a" in form.exponents:
        span = exponent_of(form)[1]
        method = "" if span is None else span.method
        rows.append(_exponent_row(f"approach 3, {method}; a = β/(α + β)", form.exponents["a"], span))
        resamples = form.resamples
        label = f"approach 3, bootstrap of {resamples.scheme}"
        rows.append(_exponent_row(label, form.exponents["a"], resamples.interval("a", LEVEL)))
    if not isinstance(summary.envelope, Failed):
        rows.append(_exponent_row("approach 1, t", summary.envelope.exponents["a"], summary.envelope.intervals["a"]))
    if rows:
        yield grid(
            "The exponent a of N*(C), with 90 % intervals made in different ways", ("how", "a", "interval"), rows
        )


def _exponent_row(label: str, value: float | None, span: Interval | None) -> tuple[str, ...]:
    return label, notation.number(value), notation.interval(span, notation.number)


def _pairs(boot: Bootstrap) -> Exhibit:
    names = boot.names[:_PAIRED]
    rows = [
        (first, second, f"{np.corrcoef(boot.sample(first), boot.sample(second))[0, 1]:+.2f}")
        for i, first in enumerate(names)
        for second in names[i + 1 :]
        if boot.sample(first).std() > 0 and boot.sample(second).std() > 0
    ]
    return Exhibit(
        name="bootstrap-pairs",
        title="Coefficients of the parametric fit over the bootstrap",
        description=(
            f"{len(boot.draws)} resamples of {boot.scheme}; contours hold half and nine tenths of them. Narrow "
            "slanted clouds are coefficients that can only be told apart together: predictions are better known than they are."
        ),
        draw=lambda: bootstrap_pairs_figure(boot, names),
        data=grid("Correlations over the bootstrap", ("coefficient", "with", "correlation"), rows, text_columns=2),
    )


def _profiles(fit: FormFit) -> list[Block]:
    names = [
        name for name in ("E", "alpha", "beta") if name in fit.coefficients and name not in fit.certificate.at_bounds
    ]
    if not names:
        return []
    made = attempt(lambda: {name: fit.profile(name, LEVEL) for name in names})
    return [missing("No profiles", made)] if isinstance(made, Failed) else [_profile_exhibit(fit, made)]


def _profile_exhibit(fit: FormFit, made: dict[str, Profile]) -> Exhibit:
    spans = "; ".join(f"{name} {notation.interval(found.interval, notation.number)}" for name, found in made.items())
    rows = [
        (name, f"{value:.4g}", f"{z:+.3g}")
        for name, found in made.items()
        for value, z in zip(found.values, found.z, strict=True)
    ]
    return Exhibit(
        name="profiles",
        title="Profiles of the objective",
        description=(
            "Each coefficient is held and all others are fitted again; a straight V is a coefficient whose error is "
            f"symmetric. Shaded, the 90 % intervals: {spans}."
        ),
        draw=lambda: profile_figure(made, fit.coefficients),
        data=grid("Signed root of the rise, in standard errors", ("coefficient", "held at", "rise"), rows),
    )


def _deltas(fit: FormFit) -> list[Block]:
    made = delta_fits(fit)
    if len(made) < 2:
        return []
    shown = {
        key: label for key, label in (("a", "exponent a"), ("E", "E"), ("alpha", "alpha")) if key in made[0].values
    }
    return [_delta_exhibit(fit, made, shown)] if shown else []


def _delta_exhibit(fit: FormFit, made: tuple[DeltaFit, ...], shown: dict[str, str]) -> Exhibit:
    rows = [(f"{again.delta:.1e}", *(f"{again.values[key]:.4g}" for key in shown)) for again in made]
    return Exhibit(
        name="delta-sensitivity",
        title="What the choice of δ does",
        description=(
            f"The fit again with δ from {made[0].delta:.0e} to {made[-1].delta:.0e} (δ of this fit: {fit.delta:.2g}). Small δ "
            "is nearly least absolute deviation, a large one least squares; a number that depends on it rests on a few runs."
        ),
        draw=lambda: delta_figure(made, fit.delta, shown),
        data=grid("Refits", ("δ", *shown.values()), rows, text_columns=0),
    )
