"""Sections that a report has where the sweep asked a question of its own: of settings, rates, batches or counts."""

from __future__ import annotations

from analysis.report.blocks import Section
from analysis.report.ladder import ladder_section
from analysis.report.settings import comparison_section
from analysis.report.summary import Summary
from analysis.report.transfer import transfer_section


def experiment_sections(summary: Summary) -> tuple[Section, ...]:
    """Those of the sections that this sweep gives rise to, in order."""
    made = (ladder_section(summary), comparison_section(summary), transfer_section(summary))
    return tuple(section for section in made if section is not None)
