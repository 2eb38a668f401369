"""Section on learning rates that were tuned: loss against rate, and whether the best one moves with width."""

from __future__ import annotations

from analysis import notation
from analysis.figures.transfer import best_rates_figure, valleys_figure
from analysis.report.blocks import Exhibit, Section, Text, grid
from analysis.report.outcome import Failed, attempt
from analysis.report.summary import LEVEL, Summary
from analysis.transfer import FLAT, LEAST_WIDTH, BestRate, RateTransfer, Slope, fit_transfer

_WORDS = {
    "transfers": f"the best rate transfers: the whole interval lies inside ±{FLAT:g}",
    "drifts": f"the best rate drifts with width: the whole interval lies outside ±{FLAT:g}",
    "not resolved": f"not resolved here: the interval crosses ±{FLAT:g}. Add seeds, or widths further apart",
}


def transfer_section(summary: Summary) -> Section | None:
    """Best learning rates; None where none were tuned at several widths."""
    if isinstance(summary.whole, Failed):
        return None
    whole = summary.whole
    made = attempt(lambda: fit_transfer(whole, level=LEVEL))
    if isinstance(made, Failed) or len({best.width for transfer in made for best in transfer.rates}) < 2:
        return None
    located = any(best.log2_se is not None for transfer in made for best in transfer.rates)
    lead = (
        "The best rate of a model and a number of tokens is the minimum of a parabola through the rates near the lowest loss, "
        "a star in the figure. It cannot be located where the valley is flat beside the noise, or where the best lies at the "
        "end of the rates tried. Under a rule that transfers, one rate is best at every width: the slope of log2 best rate on "
        f"log2 width is 0. Widths below {LEAST_WIDTH} are shown and not fitted."
    )
    rows = [_row(transfer, best) for transfer in made for best in transfer.rates]
    header = ("setting", "width", "tokens", "best rate", "± octaves", "loss", "±", "rates tried")
    data = grid("Best rates", header, rows)
    sentences = tuple(sentence(transfer) for transfer in made)
    answers = tuple(said for said, transfer in zip(sentences, made, strict=True) if transfer.width is not None)
    valleys = Exhibit(
        name="rate-valleys", main=True, title="Loss against learning rate at each width",
        description=f"{len(rows)} valleys, one for each width and number of tokens; a star is a best rate that is located.",
        draw=lambda: valleys_figure(made), data=data,
    )  # fmt: skip
    against_width = Exhibit(
        name="best-rates", title="Best learning rate against width",
        description="Best rates that are located, with bars of one standard error, and the fitted lines.",
        draw=lambda: best_rates_figure(made), data=data,
    )  # fmt: skip
    blocks = (Text(text=lead), Text(kind="list", items=sentences), valleys, *((against_width,) if located else ()))
    return Section(name="transfer", title="Best learning rates", blocks=blocks, answers=answers or (_NO_SLOPE,))


_NO_SLOPE = "Fewer than three widths have a best rate that could be located: no slope on width."


def sentence(transfer: RateTransfer) -> str:
    """The slope on width and what it says."""
    name = f"{transfer.setting}: " if transfer.setting else ""
    ends = sum(not best.point.inside for best in transfer.rates)
    flat = sum(best.point.inside and best.log2_se is None for best in transfer.rates)
    unlocated = [f"{ends} at the end of the rates tried"] if ends else []
    unlocated += [f"{flat} in a valley that is flat beside the noise"] if flat else []
    unbracketed = f" Not located of {len(transfer.rates)} best rates: {', '.join(unlocated)}." if unlocated else ""
    if transfer.width is None:
        return f"{name}fewer than three widths have a best rate that could be located: no slope.{unbracketed}"
    more = "" if transfer.tokens is None else f" On tokens it is {_slope(transfer.tokens)}."
    return (
        f"{name}slope of log2 best rate on log2 width {_slope(transfer.width)}; {_WORDS[transfer.verdict]}.{more}"
        f"{unbracketed}"
    )


def _slope(slope: Slope) -> str:
    span = notation.interval(slope.interval, lambda value: f"{value:+.2f}")
    return f"{slope.value:+.2f} ({notation.percent(slope.interval.level)}: {span})"


def _row(transfer: RateTransfer, best: BestRate) -> tuple[str, ...]:
    point = best.point
    return (
        transfer.setting or "",
        notation.count(best.width),
        notation.count(best.tokens),
        notation.number(best.rate),
        f"{best.log2_se:.2f}" if best.log2_se is not None else "flat" if point.inside else "at the end",
        notation.loss(point.loss),
        notation.loss(point.loss_se),
        str(len(point.tried)),
    )
