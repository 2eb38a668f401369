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
from analysis.isoflop import IsoflopFit
from analysis.laws.published import law
from analysis.minima import CurveMinimum
from analysis.parametric import FormFit
from analysis.report.blocks import Block, Exhibit, Grid, Section, Text, grid, missing
from analysis.report.headline import FACTORS, AnyFit, Headline, predictions
from analysis.report.outcome import Failed, attempt
from analysis.report.summary import Summary
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

_GRID_POINTS = 13


@dataclass(frozen=True, kw_only=True)
class Line:
    """Optima of one approach over a range of compute."""

    name: str
    colour: str
    optima: tuple[Optimum, ...]

    @property
    def flops(self) -> Array:
        """C, shape (n,)."""
        return np.array([best.flops for best in self.optima])

    def band(self, quantity: str) -> Band:
        """`params`, `tokens`, `loss` or `ratio` with its interval; the ratio D/N has none of its own."""
        values = np.array([_value(best, quantity) for best in self.optima])
        spans = [best.intervals.get(quantity) for best in self.optima]
        return Band(
            name=self.name,
            colour=self.colour,
            flops=self.flops,
            values=values,
            low=_ends(spans, "low"),
            high=_ends(spans, "high"),
        )


def lines(summary: Summary) -> list[Line]:
    """Every approach that has a result, from the smallest fitted compute to a hundred times the largest."""
    made = []
    for name, (label, colour) in APPROACHES.items():
        fit = getattr(summary, name)
        if isinstance(fit, Failed):
            continue
        flops = fit.runs.column("flops")
        grid_flops = np.geomspace(flops.min(), flops.max() * FACTORS[-1], _GRID_POINTS)
        optima = [attempt(lambda c=c, fit=fit: fit.optimum(float(c))) for c in grid_flops]  # type: ignore[misc]
        usable = tuple(best for best in optima if isinstance(best, Optimum))
        if len(usable) == len(optima):
            made.append(
                Line(
                    name=label.format(form=getattr(getattr(fit, "form", None), "name", "")),
                    colour=colour,
                    optima=usable,
                )
            )
    return made


def optima_section(summary: Summary, drawn: list[Line]) -> Section:
    """N*(C), D*(C) and tokens per parameter."""
    if not drawn:
        reason = (
            summary.headline if isinstance(summary.headline, Failed) else Failed(reason="no approach gives an optimum")
        )
        return Section(name="optima", title="N* and D*", blocks=(missing("No law of compute yet", reason),))
    lead = (
        "Compute-optimal parameters and tokens against compute, with 90 % bands. Known laws are drawn for "
        "comparison: they were fitted at millions of times "
        "this compute, on other data, and count parameters and FLOPs in their own way, so that a distance from them "
        "is no error."
    )
    largest = float(max(line.flops.max() for line in drawn)) / FACTORS[-1]
    quantities: tuple[tuple[str, str, str, Callable[[float], str]], ...] = (
        ("params", "optimal-size", "optimal parameters N*", notation.count),
        ("tokens", "optimal-tokens", "optimal training tokens D*", notation.count),
        ("ratio", "tokens-per-parameter", "tokens per parameter D*/N*", notation.number),
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
    last = "; ".join(f"{band.name} {write(float(band.values[-1]))}" for band in bands)
    return Exhibit(
        name=name,
        title=f"{label[0].upper()}{label[1:]} against compute",
        description=f"At {notation.flops(float(drawn[0].flops[-1]))} FLOPs: {last}.",
        draw=lambda: frontier_figure(everything, marks, label=label, write=write, fitted_to=largest),
        data=_band_grid(label, everything, write),
    )


def _band_grid(label: str, bands: list[Band], write: Callable[[float], str]) -> Grid:
    def rows() -> list[tuple[str, ...]]:
        return [
            (band.name, notation.flops(float(c)), write(float(v)), _span_text(band, i, write))
            for band in bands
            for i, (c, v) in enumerate(zip(band.flops, band.values, strict=True))
        ]

    return grid(label, ("from", "compute", "value", "90 % interval"), rows())


def _span_text(band: Band, index: int, write: Callable[[float], str]) -> str:
    if band.low is None or band.high is None:
        return ""
    low, high = (float(end[index]) for end in (band.low, band.high))
    return notation.interval(Interval(None if np.isnan(low) else low, None if np.isnan(high) else high), write)


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
                values=np.array([_value(best, quantity) for best in optima]),
                dashes=dashes,
            )
        )
    return bands


def _value(best: Optimum, quantity: str) -> float:
    return best.tokens / best.params if quantity == "ratio" else float(getattr(best, quantity))


def _ends(spans: list[Interval | None], end: str) -> Array | None:
    if all(span is None for span in spans):
        return None
    values = [None if span is None else getattr(span, end) for span in spans]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def approaches_section(summary: Summary) -> Section:
    """Exponents and predictions of the three approaches side by side."""
    blocks: list[Block] = []
    rows = []
    for name, (label, _) in APPROACHES.items():
        fit = getattr(summary, name)
        if isinstance(fit, Failed):
            blocks.append(missing(label.format(form="parametric"), fit))
        else:
            rows += _approach_rows(
                label.format(form=getattr(getattr(fit, "form", None), "name", "")), fit, summary.headline
            )
    if rows:
        header = ("approach", "exponent a", "interval", "compute", "N*", "interval", "D*", "loss", "interval")
        blocks.insert(
            0, grid("Exponent of N*(C), and predictions at 1, 10 and 100 times the largest compute", header, rows)
        )
    return Section(name="approaches", title="Three approaches compared", blocks=tuple(blocks))


def _approach_rows(label: str, fit: AnyFit, headline: Headline | Failed) -> list[tuple[str, ...]]:
    largest = headline.fitted_to if isinstance(headline, Headline) else float(fit.runs.column("flops").max())
    exponent, span = _exponent(fit)
    first = (label, notation.number(exponent), notation.interval(span, notation.number))
    rows: list[tuple[str, ...]] = []
    for best in predictions(fit, largest, (1.0, *FACTORS)):
        lead = first if not rows else ("", "", "")
        spans = best.intervals
        params = (notation.count(best.params), notation.interval(spans.get("params"), notation.count))
        loss = (notation.loss(best.loss), notation.interval(spans.get("loss"), notation.loss))
        rows.append((*lead, notation.flops(best.flops), *params, notation.count(best.tokens), *loss))
    return rows or [(*first, "", "no prediction", "", "", "", "")]


def _exponent(fit: AnyFit) -> tuple[float | None, Interval | None]:
    if isinstance(fit, (IsoflopFit, EnvelopeFit)):
        return fit.exponents["a"], fit.intervals.get("a")
    assert isinstance(fit, FormFit)
    if "a" not in fit.exponents:
        return None, None
    return fit.exponents["a"], fit.resamples.interval("a", 0.9)
