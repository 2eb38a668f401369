"""Section on what settings make of context: loss by the number of tokens that a prediction saw."""

from __future__ import annotations

from analysis import notation
from analysis.figures.context import context_figure
from analysis.positions import ByContext, Crossover, losses_by_context
from analysis.report.blocks import Exhibit, Section, Text, grid
from analysis.report.outcome import Failed, attempt
from analysis.report.summary import Summary


def context_section(summary: Summary) -> Section | None:
    """Losses by context; None where the runs are of one setting, or nobody measured them."""
    if isinstance(summary.whole, Failed):
        return None
    whole = summary.whole
    made = attempt(lambda: losses_by_context(whole))
    if isinstance(made, Failed):
        return None
    sentences = tuple(sentence(made, crossover) for crossover in made.crossovers)
    turning = tuple(text for text, one in zip(sentences, made.crossovers, strict=True) if one.sides is not None)
    lead = (
        f"Held-out loss at {notation.flops(made.budget)} FLOPs by the tokens that a prediction saw, each setting at its best "
        f"point; {made.settings[0].setting} is the baseline. Standard errors are over seeds."
    )
    exhibit = Exhibit(
        name="context", title="Loss by context seen", description=" ".join(sentences),
        draw=lambda: context_figure(made), data=grid("Losses by context seen", *_table(made)),
    )  # fmt: skip
    blocks = (Text(text=lead), Text(kind="list", items=sentences), exhibit)
    return Section(name="context", title="What settings make of context", blocks=blocks, answers=turning)


def sentence(made: ByContext, crossover: Crossover) -> str:
    """Where a setting is better than the baseline, and from how much context on that changes."""
    ends = "; ".join(
        f"{crossover.difference[i]:+.3f}{_plus_minus(crossover, i)} nats at {_span(made.first[i], made.last[i])}"
        for i in (0, len(made.first) - 1)
    )
    return f"{crossover.setting} less {made.settings[0].setting}, by context: {ends}; {_verdict(made, crossover)}."


def _verdict(made: ByContext, crossover: Crossover) -> str:
    if crossover.se is None:
        return "one seed says nothing of the noise"
    if crossover.sides is None:
        return "no crossover is resolved here"
    less, more = crossover.sides
    words = ("better", "worse") if crossover.difference[made.last.index(less[1])] < 0 else ("worse", "better")
    return f"{words[0]} at {_span(*less)}, {words[1]} at {_span(*more)}"


def _plus_minus(crossover: Crossover, octave: int) -> str:
    return "" if crossover.se is None else f" ± {crossover.se[octave]:.3f}"


def _span(first: int, last: int) -> str:
    if first == last:
        return f"{notation.count(first)} token" + ("" if first == 1 else "s")
    return f"{notation.count(first)} to {notation.count(last)} tokens"


def _table(made: ByContext) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    header = ("context seen", *(word for one in made.settings for word in (one.setting, "±")))
    rows = [
        (
            _span(made.first[i], made.last[i]),
            *(
                word
                for one in made.settings
                for word in (
                    notation.loss(float(one.loss[i])),
                    notation.loss(None if one.se is None else float(one.se[i])),
                )
            ),
        )
        for i in range(len(made.first))
    ]
    return header, rows
