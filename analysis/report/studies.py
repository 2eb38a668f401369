"""Sections on what a sweep was made to study: batch sizes, repeated data, and what N counts."""

from __future__ import annotations

import numpy as np

from analysis import notation
from analysis.batch_sizes import Reached, fit_batches
from analysis.counting import fit_counts
from analysis.figures.studies import batches_figure, repeats_figure
from analysis.isoflop import IsoflopFit
from analysis.repeats import Repeated, fit_repeats
from analysis.report.blocks import Exhibit, Section, Text, grid
from analysis.report.outcome import Failed, attempt
from analysis.report.summary import LEVEL, Summary


def batch_section(summary: Summary) -> Section | None:
    """Critical batch sizes; None where the settings are not batch sizes."""
    if isinstance(summary.whole, Failed):
        return None
    whole = summary.whole
    made = attempt(lambda: fit_batches(whole))
    if isinstance(made, Failed):
        return None
    lead = (
        "The tokens D that each batch size B takes to a loss are read off between runs of several lengths, each at its best "
        "learning rate. The line is D = E_min + S_min B (McCandlish et al. 2018, arXiv:1812.06162): a small batch takes "
        "E_min tokens at least, a large one S_min steps at least. At the critical batch E_min / S_min a run takes twice both."
    )
    header = ("loss", "batches that reach it", "critical batch", "90 % interval", "least tokens", "least steps")
    exhibit = Exhibit(
        name="batches", main=True, title="Tokens to a loss against batch size", description=_BATCHES_SHOWN,
        draw=lambda: batches_figure(made), data=grid("Tokens to a loss", *_tokens_table(made)),
    )  # fmt: skip
    table = grid("Critical batch sizes, tokens", header, (_batch_row(one) for one in made))
    return Section(
        name="batch",
        title="Critical batch size",
        blocks=(Text(text=lead), Text(text=_batch_sentence(made)), table, exhibit),
        answers=(_batch_sentence(made),),
    )


_BATCHES_SHOWN = "Points are what each batch size took, read off between runs; lines are fitted through them."


def _batch_sentence(reached: tuple[Reached, ...]) -> str:
    found = [one.critical for one in reached if one.critical is not None]
    if len(found) < 2:
        return "Fewer than two losses are reached by three batch sizes: nothing can be said of growth."
    first, last = found[0], found[-1]
    apart = (
        first.interval.high is not None and last.interval.low is not None and last.interval.low > first.interval.high
    )
    known = [one for one in reached if one.critical is not None]
    change = " and ".join(_batch_at(one) for one in (known[0], known[-1]))
    if apart:
        return f"The critical batch grows as the loss falls: {change}. The sign is shown; the rate is not to be extrapolated."
    return f"The critical batch is {change}. The intervals overlap: growth is not resolved here. Add budgets and seeds."


def _batch_at(one: Reached) -> str:
    assert one.critical is not None
    span = one.critical.interval
    interval = f"{notation.percent(span.level)}: {notation.interval(span, notation.count)}"
    return f"{notation.count(one.critical.batch)} tokens at loss {one.loss:.3f} ({interval})"


def _batch_row(one: Reached) -> tuple[str, ...]:
    if one.critical is None:
        return f"{one.loss:.3f}", str(len(one.batch)), "", "", "", ""
    return (
        f"{one.loss:.3f}",
        str(len(one.batch)),
        notation.count(one.critical.batch),
        notation.interval(one.critical.interval, notation.count),
        notation.count(one.critical.least_examples),
        notation.count(one.critical.least_steps),
    )


def _tokens_table(reached: tuple[Reached, ...]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    rows: list[tuple[str, ...]] = [
        (f"{one.loss:.3f}", notation.count(batch), notation.count(tokens), notation.count(tokens / batch))
        for one in reached
        for batch, tokens in zip(one.batch, one.tokens, strict=True)
    ]
    return ("loss", "batch", "tokens", "steps"), rows


def repeats_section(summary: Summary) -> Section | None:
    """What epochs are worth; None where no text was repeated on purpose."""
    if isinstance(summary.whole, Failed):
        return None
    whole = summary.whole
    made = attempt(lambda: fit_repeats(whole))
    if isinstance(made, Failed):
        return None
    header = ("distinct tokens", "epochs", "loss", "fresh, same D", "best checkpoint")
    exhibit = Exhibit(
        name="repeats", main=True, title="Loss against epochs", description=_REPEATS_SHOWN,
        draw=lambda: repeats_figure(made), data=grid("Losses", header, [row for one in made for row in _repeat_rows(one)]),
    )  # fmt: skip
    sentences = tuple(repeats_sentence(one) for one in made)
    blocks = (Text(text=_REPEATS_MEANING), Text(kind="list", items=sentences), exhibit)
    return Section(name="repeats", title="Repeated data", blocks=blocks, answers=sentences)


_REPEATS_MEANING = (
    "U distinct tokens seen in e epochs are worth D' = U (1 + R (1 - exp(-(e - 1) / R))) fresh ones (Muennighoff et al. 2023, "
    "arXiv:2305.16264, who find R = 15.4): the first repeats count as fresh text, and all of them together as R epochs at "
    "most. R is fitted here to the losses below; it has no interval."
)

_REPEATS_SHOWN = "Losses are means over seeds. The best checkpoint hides the end where a run was best at its end."


def repeats_sentence(one: Repeated) -> str:
    """What repeats of one text are worth."""
    name = f"{notation.count(one.unique_tokens)} distinct tokens, up to {notation.number(float(one.epochs[-1]))} epochs"
    life = "without bound" if one.half_life is None else notation.number(one.half_life)
    if one.rises:
        return (
            f"{name}: the loss rises with epochs, which the form of Muennighoff et al. cannot describe: rejected here. "
            f"Its closest R is {life}."
        )
    if one.misfit is None:
        return f"{name}: R = {life}; one seed says nothing of how well the form fits. Add seeds."
    verdict = "which rejects the form" if one.rejected else "which does not reject the form"
    return f"{name}: R = {life}; the losses lie {one.misfit:.1f} standard errors from the form (rms), {verdict}."


def _repeat_rows(one: Repeated) -> list[tuple[str, ...]]:
    return [
        (
            notation.count(one.unique_tokens),
            notation.number(float(epochs)),
            notation.loss(float(loss)),
            notation.loss(float(fresh)),
            notation.loss(float(best)),
        )
        for epochs, loss, fresh, best in zip(one.epochs, one.loss, one.fresh, one.best, strict=True)
    ]


def counting_section(summary: Summary) -> Section | None:
    """The exponent under several counts of N; None where the source has one count alone."""
    if isinstance(summary.runs, Failed):
        return None
    runs = summary.runs
    made = attempt(lambda: fit_counts(runs, level=LEVEL))
    if isinstance(made, Failed):
        return None
    lead = (
        "The same runs under other counts of N. What is counted changes the exponent of N*(C), and nothing about which model "
        "is best: compare exponents under one convention only."
    )
    header = ("N counts", "exponent of N*", "90 % interval", "D*/N* at the smallest budget", "D*/N* at the largest")
    table = grid("Exponents by what N counts", header, (_count_row(name, fit) for name, fit in made.items()))
    return Section(
        name="counting", title="What N counts", blocks=(Text(text=f"{lead} {_count_sentence(dict(made))}"), table)
    )


def _count_sentence(fits: dict[str, IsoflopFit]) -> str:
    names = list(fits)
    exponents = [fits[name].exponents["a"] or np.nan for name in names]
    gap = max(exponents) - min(exponents)
    span = fits[names[0]].intervals["a"]
    if span.low is None or span.high is None:
        return f"Here the exponents differ by {gap:.2f}; two minima leave no interval."
    half = (span.high - span.low) / 2
    words = "more than" if gap > half else "less than"
    return (
        f"Here the exponents differ by {gap:.2f}, {words} half the width of an interval, {half:.2f}. All come from the same "
        "runs and share their noise, so that their differences are known better than each of them."
    )


def _count_row(name: str, fit: IsoflopFit) -> tuple[str, ...]:
    inside = [m for m in fit.minima if m.usable and m.params and m.tokens]
    ratios = [(m.tokens or 0.0) / (m.params or 1.0) for m in inside]
    return (
        name,
        notation.number(fit.exponents["a"]),
        notation.interval(fit.intervals["a"], notation.number),
        notation.number(ratios[0]),
        notation.number(ratios[-1]),
    )
