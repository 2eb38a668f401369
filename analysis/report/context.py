"""Section on what settings make of context: loss by the number of tokens that a prediction saw."""

from __future__ import annotations

from analysis import notation
from analysis.figures.context import context_figure
from analysis.positions import RESOLVED, ByContext, Crossover, losses_by_context
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
        f"point; {made.settings[0].setting} is the baseline. Differences are a setting's loss less the baseline's, so that a "
        "negative one is better. Numbers after ± are standard errors over seeds, with one variance for all settings."
    )
    exhibit = Exhibit(
        name="context", title="Loss by context seen", description=_SHOWN,
        draw=lambda: context_figure(made), data=grid("Losses by context seen", *_table(made)),
    )  # fmt: skip
    blocks = (Text(text=lead), Text(kind="list", items=sentences), exhibit)
    return Section(name="context", title="What settings make of context", blocks=blocks, answers=turning)


_SHOWN = "Above, the loss of each setting; below, its loss less the baseline's, with bars of two standard errors."


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
        return _one_sided(crossover)
    less, more = crossover.sides
    words = ("better", "worse") if crossover.difference[made.last.index(less[1])] < 0 else ("worse", "better")
    return f"{words[0]} at {_span(*less)}, {words[1]} at {_span(*more)}"


def _one_sided(crossover: Crossover) -> str:
    """What can be said where no crossover is resolved: whether one of the two is better wherever they differ."""
    assert crossover.se is not None
    z = crossover.difference / crossover.se
    seen = z[abs(z) > RESOLVED]
    if not len(seen):
        return "no difference is resolved at any context"
    if (seen < 0).all() or (seen > 0).all():
        words = "better" if seen[0] < 0 else "worse"
        others = ", and not resolved at the others" if len(seen) < len(z) else ""
        return f"{words} at {len(seen)} of {len(z)} contexts{others}; no crossover is resolved"
    return "no single crossover is resolved here"


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
