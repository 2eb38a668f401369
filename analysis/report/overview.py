"""The first section: the law, its predictions, the allocation, and the three things that weaken it most."""

from __future__ import annotations

from analysis import notation
from analysis.fitting.optimum import Optimum
from analysis.report.blocks import Block, Section, Text, grid, missing
from analysis.report.headline import Headline
from analysis.report.outcome import Failed
from analysis.report.summary import Summary


def summary_section(summary: Summary) -> Section:
    """N*(C), predictions and allocation."""
    headline = summary.headline
    if isinstance(headline, Failed):
        return Section(name="summary", title="Summary", blocks=(missing("No law of compute yet", headline),))
    text = f"{headline.law}, {headline.exponent_text}. {headline.basis[0].upper()}{headline.basis[1:]}."
    blocks: list[Block] = [Text(text=text), _predictions(headline)]
    return Section(name="summary", title="Summary", blocks=tuple(blocks))


def _predictions(headline: Headline) -> Block:
    header = ("compute", "beyond the fit", "N*", "interval", "D*", "interval", "D*/N*", "loss", "interval")
    largest = notation.flops(headline.fitted_to)
    caption = f"Compute-optimal models beyond the largest fitted compute ({largest} FLOPs), with 90 % intervals"
    return grid(caption, header, (_row(headline, best) for best in headline.predictions))


def _row(headline: Headline, best: Optimum) -> tuple[str, ...]:
    spans = best.intervals
    return (
        notation.flops(best.flops),
        f"{best.flops / headline.fitted_to:.0f}x",
        notation.count(best.params),
        notation.interval(spans.get("params"), notation.count),
        notation.count(best.tokens),
        notation.interval(spans.get("tokens"), notation.count),
        notation.number(best.tokens / best.params),
        notation.loss(best.loss),
        notation.interval(spans.get("loss"), notation.loss),
    )


def weaknesses_section(summary: Summary) -> Section:
    """The three things that weaken the fits most."""
    items = tuple(warning.message for warning in summary.weaknesses)
    block = (
        Text(kind="numbered", items=items)
        if items
        else Text(text="None of the checks found anything that weakens this fit.")
    )
    return Section(name="weaknesses", title="What weakens this fit most", blocks=(block,))
