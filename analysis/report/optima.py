"""Sections on what follows: N* and D* against compute, the approaches side by side, and the allocation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis import notation
from analysis.envelope import EnvelopeFit
from analysis.figures.frontier import frontier_figure
from analysis.figures.lines import Band, Marks
from analysis.fitting.optimum import Optimum
from analysis.formfit import FormFit
from analysis.isoflop import IsoflopFit
from analysis.laws.published import law
from analysis.minima import CurveMinimum
from analysis.report.blocks import Block, Exhibit, Grid, Section, Text, capitalized, grid, missing
from analysis.report.headline import FACTORS, AnyFit
from analysis.report.outcome import Failed
from analysis.report.summary import LEVEL, Summary
from analysis.results import Interval
from analysis.table import Array

APPROACHES = {
    "isoflop": ("approach 2, IsoFLOP minima", "blue"),
    "parametric": ("approach 3, {form}", "green"),
    "envelope": ("approach 1, envelope", "orange"),
}
"""Name and colour of each approach, the one that the headline prefers first."""

KNOWN_LAWS = (("besiroglu2024", "--"), ("20-tokens-per-param", ":"))
"""Laws drawn beside ours: the corrected Chinchilla law, and the rule of thumb."""

UNBANDED = frozenset({"envelope"})
"""Approaches drawn without a band: that of an envelope rests on the scatter of a few lowest points and hides all others."""

_DRAWN = 40


@dataclass(frozen=True, kw_only=True)
class Line:
    """Optima of one approach over a range of compute."""

    approach: str
    name: str
    colour: str
    optima: tuple[Optimum, ...]

    @property
    def flops(self) -> Array:
        """C, shape (n,)."""
        return np.array([best.flops for best in self.optima])

    def band(self, quantity: str) -> Band:
        """`params`, `tokens`, `loss` or `ratio` with its interval, drawn smoothly; the ratio D/N has no interval."""
        spans = [best.intervals.get(quantity) for best in self.optima]
        flops = np.geomspace(self.flops[0], self.flops[-1], _DRAWN)
        values = np.array([optimum_value(best, quantity) for best in self.optima])
        banded = self.approach not in UNBANDED
        low, high = (_ends(spans, end) if banded else None for end in ("low", "high"))
        return Band(
            name=self.name,
            colour=self.colour,
            flops=flops,
            values=_smooth(self.flops, values, flops),
            low=None if low is None else _smooth(self.flops, low, flops),
            high=None if high is None else _smooth(self.flops, high, flops),
        )


def _smooth(flops: Array, values: Array, wanted: Array) -> Array:
    """Values at other compute by a monotone cubic in logarithms; NaN beyond the first or last known one."""
    from scipy.interpolate import PchipInterpolator

    known = np.isfinite(values) & (values > 0)
    if known.sum() < 2:
        return np.full_like(wanted, np.nan)
    curve = PchipInterpolator(np.log(flops[known]), np.log(values[known]), extrapolate=False)
    inside = np.clip(np.log(wanted), np.log(flops[known][0]), np.log(flops[known][-1]))
    near = np.abs(inside - np.log(wanted)) < 1e-9
    return np.where(near, np.exp(curve(inside)), np.nan)


def lines(summary: Summary) -> list[Line]:
    """Every approach that gives optima, from the smallest fitted compute to a hundred times the largest."""
    return [
        Line(approach=name, name=approach_label(summary, name), colour=APPROACHES[name][1], optima=summary.optima[name])
        for name in APPROACHES
        if name in summary.optima
    ]


def approach_label(summary: Summary, name: str) -> str:
    """Approach 3, additive."""
    fit = summary.fits[name]
    return APPROACHES[name][0].format(form=fit.form.name if isinstance(fit, FormFit) else "parametric")


def optima_section(summary: Summary, drawn: list[Line]) -> Section:
    """N*(C), D*(C) and tokens per parameter."""
    if not drawn:
        reason = (
            summary.headline if isinstance(summary.headline, Failed) else Failed(reason="no approach gives an optimum")
        )
        return Section(name="optima", title="N* and D*", blocks=(missing("No law of compute yet", reason),))
    lead = (
        "Compute-optimal parameters and tokens against compute, with 90 % bands. Known laws are drawn for comparison: they "
        "were fitted on other text, between 6e18 and 3e21 FLOPs, and count parameters and FLOPs in their own way, so that a "
        "distance from them is no error."
    )
    largest = drawn[0].flops[-1] / FACTORS[-1]
    quantities: tuple[tuple[str, str, str, Callable[[float], str]], ...] = (
        ("params", "optimal-size", "optimal parameters N*", notation.count),
        ("tokens", "optimal-tokens", "optimal training tokens D*", notation.count),
        ("ratio", "tokens-per-parameter", "tokens per parameter D*/N*", notation.count),
    )
    exhibits = [
        _exhibit(summary, drawn, quantity, name, label, write, largest) for quantity, name, label, write in quantities
    ]
    return Section(name="optima", title="N* and D*", blocks=(Text(text=lead), *exhibits))


def _exhibit(
    summary: Summary,
    drawn: list[Line],
    quantity: str,
    name: str,
    label: str,
    write: Callable[[float], str],
    largest: float,
) -> Exhibit:
    bands = [line.band(quantity) for line in drawn]
    marks = _minima_marks(summary.minima, quantity)
    everything = [*bands, *_known(drawn[0].flops, quantity)]
    last = "; ".join(f"{line.name} {write(optimum_value(line.optima[-1], quantity))}" for line in drawn)
    return Exhibit(
        name=name,
        main=True,
        title=f"{label[0].upper()}{label[1:]} against compute",
        description=f"At {notation.flops(drawn[0].optima[-1].flops)} FLOPs: {last}.",
        draw=lambda: frontier_figure(everything, marks, label=label, write=write, fitted_to=largest),
        data=_line_grid(label, drawn, quantity, write),
    )


def _line_grid(label: str, drawn: list[Line], quantity: str, write: Callable[[float], str]) -> Grid:
    rows = [
        (
            line.name,
            notation.flops(best.flops),
            write(optimum_value(best, quantity)),
            "" if quantity == "ratio" else notation.interval(best.intervals.get(quantity), write),
        )
        for line in drawn
        for best in line.optima
    ]
    return grid(label, ("from", "compute", "value", "90 % interval"), rows)


def _minima_marks(minima: tuple[CurveMinimum, ...], quantity: str) -> list[Marks]:
    usable = [m for m in minima if m.usable]
    if not usable:
        return []
    spans = [getattr(m, f"{quantity}_interval", None) for m in usable]
    return [
        Marks(
            name="minima of curves",
            colour="blue",
            flops=np.array([m.budget for m in usable]),
            values=np.array(
                [(m.tokens or 0.0) / (m.params or 1.0) if quantity == "ratio" else getattr(m, quantity) for m in usable]
            ),
            low=_ends(spans, "low"),
            high=_ends(spans, "high"),
        )
    ]


def _known(flops: Array, quantity: str) -> list[Band]:
    bands = []
    for name, dashes in KNOWN_LAWS:
        optima = [law(name).optimum(float(c)) for c in flops]
        bands.append(
            Band(
                name=name,
                colour="muted",
                flops=flops,
                values=np.array([optimum_value(best, quantity) for best in optima]),
                dashes=dashes,
            )
        )
    return bands


def optimum_value(best: Optimum, quantity: str) -> float:
    """N*, D*, L* or D*/N* of an optimum."""
    return best.tokens / best.params if quantity == "ratio" else float(getattr(best, quantity))


def _ends(spans: list[Interval | None], end: str) -> Array | None:
    if all(span is None for span in spans):
        return None
    values = [None if span is None else getattr(span, end) for span in spans]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def approaches_section(summary: Summary) -> Section:
    """Exponents and predictions of the three approaches side by side."""
    blocks: list[Block] = []
    rows: list[tuple[str, ...]] = []
    for name, fit in summary.fits.items():
        label = approach_label(summary, name)
        if isinstance(fit, Failed):
            blocks.append(missing(label, fit))
        else:
            rows += _approach_rows(label, fit, summary.optima.get(name, ())[-1 - len(FACTORS) :])
    if rows:
        header = ("approach", "exponent a", "interval", "compute", "N*", "interval", "D*", "loss", "interval")
        caption = "Exponent of N*(C), and predictions at 1, 10 and 100 times the largest compute, with 90 % intervals"
        blocks.insert(0, grid(caption, header, rows))
    blocks += [Text(text=capitalized(warning.message)) for warning in summary.disagreement]
    return Section(name="approaches", title="Three approaches compared", blocks=tuple(blocks))


def _approach_rows(label: str, fit: AnyFit, optima: tuple[Optimum, ...]) -> list[tuple[str, ...]]:
    exponent, span = exponent_of(fit)
    first = (label, notation.number(exponent), notation.interval(span, notation.number))
    rows: list[tuple[str, ...]] = []
    for best in optima:
        lead = first if not rows else ("", "", "")
        spans = best.intervals
        params = (notation.count(best.params), notation.interval(spans.get("params"), notation.count))
        loss = (notation.loss(best.loss), notation.interval(spans.get("loss"), notation.loss))
        rows.append((*lead, notation.flops(best.flops), *params, notation.count(best.tokens), *loss))
    return rows or [(*first, "", "no prediction", "", "", "", "")]


def exponent_of(fit: AnyFit) -> tuple[float | None, Interval | None]:
    """The exponent a of N*(C) and its default interval; None for a form that has none."""
    if isinstance(fit, (IsoflopFit, EnvelopeFit)):
        return fit.exponents["a"], fit.intervals.get("a")
    assert isinstance(fit, FormFit)
    if "a" not in fit.exponents:
        return None, None
    return fit.exponents["a"], fit.interval("a", LEVEL)
