"""A summary as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.figures.svg import inline_svg
from analysis.report.backtesting import backtest_section
from analysis.report.blocks import Exhibit, Section
from analysis.report.curves import envelope_section, isoflop_section
from analysis.report.design import design_section, settings_section
from analysis.report.experiments import experiment_sections
from analysis.report.inventory import diagnostics_section, runs_section
from analysis.report.optima import approaches_section, lines, optima_section
from analysis.report.overview import summary_section, weaknesses_section
from analysis.report.provenance import provenance_section
from analysis.report.summary import Summary
from analysis.report.surface import residuals_section
from analysis.report.uncertainty import contour_section, uncertainty_section


def sections(summary: Summary) -> tuple[Section, ...]:
    """The report's sections, in order."""
    drawn = lines(summary)
    asked = experiment_sections(summary)
    return (
        summary_section(summary, asked),
        weaknesses_section(summary),
        *asked,
        isoflop_section(summary),
        envelope_section(summary),
        optima_section(summary, drawn),
        contour_section(summary),
        residuals_section(summary),
        approaches_section(summary),
        backtest_section(summary),
        uncertainty_section(summary),
        settings_section(summary),
        runs_section(summary),
        design_section(summary),
        diagnostics_section(summary),
        provenance_section(summary),
    )


def exhibits(made: tuple[Section, ...]) -> Iterator[Exhibit]:
    """All figures, in order."""
    return (block for section in made for block in section.blocks if isinstance(block, Exhibit))


def render_page(summary: Summary, made: tuple[Section, ...]) -> str:
    """The page; everything that comes from the source is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("analysis", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["svg"] = _svg
    return environment.get_template("report.html.j2").render(title=summary.title, source=summary.source, sections=made)


def _svg(exhibit: Exhibit) -> object:
    from markupsafe import Markup

    drawing = inline_svg(exhibit.draw(), name=exhibit.name, title=exhibit.title, description=exhibit.description)
    return Markup(drawing)  # noqa: S704 - matplotlib escapes the text in it, `inline_svg` the names
