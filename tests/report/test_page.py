"""The page: complete, self-contained, well-formed, and nothing in it comes alive."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from analysis.figures.theme import COLOURS
from analysis.report import Report, Summary
from analysis.report.writing import write_report
from tests.report.conftest import HOSTILE, Page

SECTIONS = (
    "summary", "weaknesses", "isoflop", "envelope", "optima", "contour", "residuals", "approaches", "backtest",
    "uncertainty", "settings", "runs", "design", "diagnostics", "provenance",
)  # fmt: skip

FIGURES = (
    "isoflop-curves", "envelope", "optimal-size", "optimal-tokens", "tokens-per-parameter", "loss-contours", "residuals",
    "backtest", "bootstrap-pairs", "profiles", "delta-sensitivity",
)  # fmt: skip


def test_it_has_every_section_and_figure(page: Page) -> None:
    ids = [attributes.get("id") for _, attributes in page.tags]
    assert [one for one in ids if one in SECTIONS] == list(SECTIONS)
    assert [f"{name}-title" for name in FIGURES if f"{name}-title" not in ids] == []


def test_every_figure_has_a_name_and_its_data(page: Page) -> None:
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert len(drawings) == len(FIGURES)
    for attributes in drawings:
        assert attributes["role"] == "img"
        assert set((attributes["aria-labelledby"] or "").split()) <= ids
    assert page.text.count("<summary>Data of this figure</summary>") == len(FIGURES)


def test_it_asks_nothing_of_the_network(page: Page) -> None:
    asked = ("src", "srcset", "href", "xlink:href", "data", "poster", "action", "background")
    links = [value or "" for _, attributes in page.tags for name, value in attributes.items() if name in asked]
    assert links
    assert all(link.startswith("#") for link in links)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "img", "object", "embed", "base"}
    assert "@import" not in page.text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page.text))


def test_it_is_well_formed(page: Page) -> None:
    assert page.unclosed == []
    counts = Counter(attributes["id"] for _, attributes in page.tags if attributes.get("id"))
    assert [name for name, count in counts.items() if count > 1] == []


def test_what_comes_from_the_store_stays_text(page: Page, report: Report) -> None:
    assert "<script>" not in page.text
    assert "<b>above</b>" not in page.text
    assert "&lt;script&gt;" in page.text
    assert "loss rose &lt;b&gt;above&lt;/b&gt; 5.5" in page.text
    card = report.card.read_text()
    assert "<script>" not in card
    assert HOSTILE not in card


def test_colours_follow_the_page(page: Page) -> None:
    body = page.text.split("</style>", 1)[1]
    bare = [code for code in COLOURS.values() if re.search(rf"(?<!,){code}", body)]
    assert bare == []
    dark = page.text.split("prefers-color-scheme: dark", 1)[1].split("</style>", 1)[0]
    assert [name for name in COLOURS if f"--figure-{name}:" not in dark] == []


def test_it_has_pictures_and_a_card(report: Report) -> None:
    names = {picture.stem for picture in report.pictures}
    assert {"isoflop-curves", "envelope", "optimal-size", "optimal-tokens", "residuals"} <= names
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in report.pictures)
    card = report.card.read_text()
    assert report.summary.headline.law in card.replace("\\", "")  # type: ignore[union-attr]
    assert "What weakens this fit most" in card


def test_failed_runs_are_listed_with_their_reasons(page: Page) -> None:
    runs = page.text.split('<section id="runs"', 1)[1].split("</section>", 1)[0]
    assert "42 runs: 40 ok" in runs
    assert "diverged" in runs
    assert "RuntimeError" in runs


def test_the_same_summary_gives_the_same_page(report: Report, tmp_path: Path) -> None:
    again = write_report(report.summary, tmp_path / "again.html")
    assert again.path.read_text() == report.path.read_text()
    assert again.pictures == ()


@pytest.mark.parametrize("name", ["isoflop", "parametric", "envelope", "backtest"])
def test_every_fit_has_a_result(report: Report, name: str) -> None:
    summary: Summary = report.summary
    assert type(getattr(summary, name)).__name__ != "Failed"
