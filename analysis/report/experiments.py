"""Sections that a report has where the sweep asked a question of its own."""

from __future__ import annotations

from analysis.report.blocks import Section
from analysis.report.context import context_section
from analysis.report.ladder import ladder_section
from analysis.report.looks import best_section, oracle_section
from analysis.report.settings import comparison_section
from analysis.report.studies import batch_section, counting_section, repeats_section
from analysis.report.summary import Summary
from analysis.report.transfer import transfer_section

_SECTIONS = (
    ladder_section,
    comparison_section,
    context_section,
    transfer_section,
    batch_section,
    repeats_section,
    counting_section,
    best_section,
    oracle_section,
)


def experiment_sections(summary: Summary) -> tuple[Section, ...]:
    """Those of the sections that this sweep gives rise to, in order."""
    made = (section(summary) for section in _SECTIONS)
    return tuple(section for section in made if section is not None)
