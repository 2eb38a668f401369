"""Reports on disk: the page, its figures as PNG, and a card in Markdown beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from analysis.figures.svg import write_png
from analysis.reading import Source
from analysis.report.card import render_card
from analysis.report.page import exhibits, render_page, sections
from analysis.report.summary import Summary, summarize
from analysis.table import Runs


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was written.

    Attributes:
        path: The page.
        card: The sweep card, beside it.
        pictures: Figures as PNG.
        summary: What they were written from.
    """

    path: Path
    card: Path
    pictures: tuple[Path, ...]
    summary: Summary


def write_report(
    source: Source | Runs | Summary, path: str | os.PathLike[str], *, png_folder: str | os.PathLike[str] | None = None
) -> Report:
    """Write the report on a source of runs.

    Args:
        source: A store, a file of runs, a data frame, runs that were read already, or their summary.
        path: The HTML file; its folder is made where it is missing.
        png_folder: Folder for the main figures as PNG; None for none.

    Raises:
        SourceError: The source does not exist, is torn, or (other than a store) cannot be understood.
        ConventionError: Runs of a source other than a store mix conventions.
    """
    summary = source if isinstance(source, Summary) else summarize(source)
    made = sections(summary)
    page = Path(path)
    page.parent.mkdir(parents=True, exist_ok=True)
    _replace(page, render_page(summary, made))
    card = page.with_suffix(".md")
    _replace(card, render_card(summary))
    pictures = []
    if png_folder is not None:
        folder = Path(png_folder)
        folder.mkdir(parents=True, exist_ok=True)
        for exhibit in (one for one in exhibits(made) if one.main):
            picture = folder / f"{exhibit.name}.png"
            write_png(exhibit.draw(), str(picture))
            pictures.append(picture)
    return Report(path=page, card=card, pictures=tuple(pictures), summary=summary)


def _replace(path: Path, text: str) -> None:
    """Write at once, so that a browser never loads half a page."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
