"""The documents: generated pages are current, queries run, links lead somewhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from orchestrator.query import query

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
QUERIES = re.findall(r"```sql\n(.*?)```", (ROOT / "docs/queries.md").read_text(), flags=re.DOTALL)


def test_generated_pages_are_current(tmp_path: Path) -> None:
    generate = runpy.run_path(str(ROOT / "docs/generate.py"))
    generate["main"](tmp_path)
    for page in tmp_path.iterdir():
        assert page.read_text() == (ROOT / "docs" / page.name).read_text(), f"run make docs: {page.name} is not current"


@pytest.mark.parametrize("sql", QUERIES)
def test_every_query_of_the_cookbook_runs(sql: str, small_store: Path) -> None:
    query(str(small_store), sql)


def test_the_cookbook_has_ten_queries() -> None:
    assert len(QUERIES) == 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = {_anchor(line) for line in linked.read_text().splitlines() if line.startswith("#")}
            assert anchor in headings, f"{page.name} links to {target}"


def _anchor(heading: str) -> str:
    words = re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower())
    return words.replace(" ", "-")
