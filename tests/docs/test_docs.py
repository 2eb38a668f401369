"""The documents: generated pages are current, queries run, links lead somewhere."""

from __future__ import annotations

import re
import runpy
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import typer

from orchestrator import cli
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


def _commands(page: Path) -> list[list[str]]:
    """Every `isoflop` command of a page, in code blocks and in the text."""
    text = page.read_text()
    lines = re.findall(r"^(?:    )?(?:\$ )?(isoflop .*)$", text, flags=re.MULTILINE) + re.findall(
        r"`(isoflop [^`]*)`", text
    )
    return [shlex.split(line, comments=True) for line in lines if '"' not in line or line.count('"') % 2 == 0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_ones_that_exist(page: Path) -> None:
    for module in cli.VERBS:
        import_module(f"orchestrator.cli.{module}")
    group = typer.main.get_command(cli.app)
    for _, *words in _commands(page):
        command = group
        while isinstance(subcommands := getattr(command, "commands", None), dict):
            verb = words.pop(0) if words else "--help"
            if verb.startswith("-"):
                break
            assert verb in subcommands, f"{page.name}: isoflop {verb}"
            command = subcommands[verb]
        else:
            known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
            used = {word.partition("=")[0] for word in words if word.startswith("-") and len(word) > 1}
            assert used <= known, f"{page.name}: {command.name} {used - known}"


def test_every_warning_is_explained() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "analysis").rglob("*.py"))
    codes = set(re.findall(r'FitWarning\(\s*"(\w+)"', sources))
    assert len(codes) > 15
    explained = set(re.findall(r"`(\w+)`", (ROOT / "docs/uncertainty.md").read_text()))
    assert codes <= explained, f"docs/uncertainty.md lacks {codes - explained}"


def _anchor(heading: str) -> str:
    words = re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower())
    return words.replace(" ", "-")
