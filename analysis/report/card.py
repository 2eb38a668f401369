"""The sweep card: what a reader of a paper or a model card wants to know about a scaling-law fit, in Markdown."""

from __future__ import annotations

from analysis.report.blocks import Grid, capitalized
from analysis.report.checklist import checklist
from analysis.report.ending import backtest_text, factor_text, prediction_text
from analysis.report.outcome import Failed
from analysis.report.provenance import provenance_facts
from analysis.report.summary import Summary, of_setting


def render_card(summary: Summary) -> str:
    """The card; text from the source is escaped, so that it stays text."""
    parts = [
        f"# {_plain(summary.title)}",
        "",
        *_law(summary),
        "",
        _plain(capitalized(backtest_text(summary))),
        "",
    ]
    parts += ["## What weakens this fit most", ""]
    found = [f"{i}. {_plain(capitalized(warning.message))}" for i, warning in enumerate(summary.weaknesses, 1)]
    parts += found or ["None of the checks found anything."]
    parts += ["", "## How it was made", "", *_table(checklist(summary))]
    parts += ["", "## Where it comes from", ""]
    parts += [f"- {_plain(name)}: {_plain(value)}" for name, value in provenance_facts(summary)]
    return "\n".join(parts) + "\n"


def _law(summary: Summary) -> list[str]:
    headline = summary.headline
    if isinstance(headline, Failed):
        return [f"No law yet: {_plain(headline.reason)}"]
    basis = _plain(capitalized(f"{headline.basis}{of_setting(summary)}"))
    lines = [f"**{headline.law}**, {headline.exponent_text}. {basis}.", ""]
    return lines + [f"- {factor_text(headline, best)}: {prediction_text(best)}" for best in headline.predictions]


def _table(made: Grid) -> list[str]:
    rows = [made.header, tuple("---" for _ in made.header), *made.rows]
    return ["| " + " | ".join(_plain(cell) if cell != "---" else cell for cell in row) + " |" for row in rows]


_SPECIAL = str.maketrans(
    {c: f"\\{c}" for c in "\\`*_[]|#!"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " ", "\r": " "}
)


def _plain(text: str) -> str:
    """Text that Markdown shows as it stands."""
    return text.translate(_SPECIAL)
