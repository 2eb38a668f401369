"""The first sections: what was asked, the law, its predictions, the allocation, and the three things that weaken it most."""

from __future__ import annotations

from collections.abc import Iterable

from analysis import notation
from analysis.fitting.optimum import Optimum
from analysis.laws.allocation import BAND_NATS, Allocation, allocate
from analysis.report.blocks import Block, Section, Text, capitalized, grid, missing
from analysis.report.headline import FACTORS, Headline
from analysis.report.outcome import Failed, attempt
from analysis.report.summary import Summary, of_setting


def summary_section(summary: Summary, asked: Iterable[Section]) -> Section:
    """What the sweep says to a question of its own, then N*(C), predictions and allocation.

    Args:
        summary: Everything fitted.
        asked: Sections on the sweep's own questions; what they answer comes first.
    """
    blocks = [block for section in asked if section.answers for block in _answered(section)]
    headline = summary.headline
    if isinstance(headline, Failed):
        blocks.append(missing("No law of compute yet", headline))
        return Section(name="summary", title="Summary", blocks=tuple(blocks))
    basis = f"{headline.exponent_text}; {headline.basis}; C in FLOPs{of_setting(summary)}."
    blocks += [Text(kind="law", text=headline.law), Text(text=capitalized(basis))]
    blocks += [_predictions(headline), Text(text=_CAUTION), *_allocation(summary, headline)]
    return Section(name="summary", title="Summary", blocks=tuple(blocks))


def _answered(section: Section) -> list[Block]:
    return [Text(text=f"{section.title}:"), Text(kind="list", items=section.answers)]


_CAUTION = (
    "Intervals hold the noise of these runs and the scatter between budgets. None of them covers a law that changes on the "
    "way: beyond ten times the largest compute, read the backtest first and add a larger budget."
)


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


def _allocation(summary: Summary, headline: Headline) -> list[Block]:
    """What a size other than the best costs, by the parametric surface."""
    fit = summary.parametric
    if isinstance(fit, Failed) or not fit.certificate.converged:
        return []
    made = attempt(lambda: [allocate(fit, flops=factor * headline.fitted_to) for factor in FACTORS])
    if isinstance(made, Failed):
        return [missing("No allocation by the parametric fit", made)]
    header = (
        "compute",
        "N",
        "D",
        "D/N",
        "loss",
        f"sizes within {BAND_NATS:g} nats",
        "at half the size",
        "at twice the size",
    )
    caption = (
        "Allocation by the parametric fit: sizes that are nearly as good, and the compute that half or twice the size needs "
        "beyond this for the same loss"
    )
    return [grid(caption, header, map(_allocation_row, made))]


def _allocation_row(best: Allocation) -> tuple[str, ...]:
    extra = {cost.factor: cost.extra_compute for cost in best.size_costs}
    return (
        notation.flops(best.flops),
        notation.count(best.params),
        notation.count(best.tokens),
        notation.number(best.tokens_per_param),
        notation.loss(best.loss),
        "" if best.band is None else " to ".join(notation.count(end) for end in best.band),
        *(_extra_text(extra.get(factor)) for factor in (0.5, 2.0)),
    )


def _extra_text(share: float | None) -> str:
    return "never" if share is None else notation.percent(share, signed=True)


def weaknesses_section(summary: Summary) -> Section:
    """The three things that weaken the fits most."""
    items = tuple(capitalized(warning.message) for warning in summary.weaknesses)
    block = (
        Text(kind="numbered", items=items)
        if items
        else Text(text="None of the checks found anything that weakens this fit.")
    )
    return Section(name="weaknesses", title="What weakens this fit most", blocks=(block,))
