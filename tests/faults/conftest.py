"""Where fault cells run, the table that they make, and the sweep without faults that they are compared with."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from cells import HERE as SUPPORT
from cells import CellServer


def memory_folder() -> str | None:
    """A folder in memory, where a sync costs nothing: no cell here loses power, only processes."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


TABLE = Path(__file__).resolve().parents[2] / "docs/reliability.md"
MARKS = ("<!-- fault matrix: written by pytest tests/faults --write-table -->", "<!-- end of fault matrix -->")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-table", action="store_true", help="write the fault matrix into docs/reliability.md")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what passed, by step and fault, between two marks of the document."""
    if not session.config.getoption("--write-table"):
        return
    passed: Counter[tuple[str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    by_hand = {_place(item) for item in session.items if PASSED not in item.stash and "slow" in item.keywords}
    for item in session.items:
        place = _place(item)
        total[place] += place not in by_hand
        passed[place] += item.stash.get(PASSED, False)
    lines = ["| fault | step | cells | passed |", "|---|---|---|---|"]
    for place in sorted(total):
        counted = "1 | with --slow" if place in by_hand else f"{total[place]} | {passed[place]}"
        lines.append(f"| {place[0]} | {place[1]} | {counted} |")
    lines.append(f"| all | | {total.total()} | {passed.total()} |")
    text = TABLE.read_text()
    before, after = text.index(MARKS[0]) + len(MARKS[0]), text.index(MARKS[1])
    TABLE.write_text(text[:before] + "\n\n" + "\n".join(lines) + "\n\n" + text[after:])


PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Note what passed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call":
        item.stash[PASSED] = report.passed


def _place(item: pytest.Item) -> tuple[str, str]:
    """Fault and step of a cell."""
    call = getattr(item, "callspec", None)
    cell = call.params.get("cell") if call else None
    if cell is not None:
        return cell.fault, cell.step
    words = getattr(item, "originalname", item.name).removeprefix("test_").replace("_", " ")
    return words, ", ".join(str(value) for value in call.params.values()) if call else ""


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """Folder of all stores."""
    with tempfile.TemporaryDirectory(dir=memory_folder(), prefix="isoflop-faults-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def server() -> Iterator[CellServer]:
    """Starts drivers."""
    with CellServer() as started:
        yield started


@pytest.fixture(scope="session")
def sweep(home: Path) -> Path:
    """The sweep that every cell runs, and its text."""
    shutil.copy(SUPPORT / "tiny.yaml", home)
    (home / "tiny.txt").write_text("".join(f"line {i * i % 9973} of words {i}\n" * 3 for i in range(20_000)))
    return home / "tiny.yaml"


@pytest.fixture(scope="session")
def template(sweep: Path, home: Path, server: CellServer) -> Path:
    """A store that holds the text and no run."""
    store = home / "template"
    ended = server.run(sweep=str(sweep), settings=[], store=str(store), faults="sweeps.before_write=kill")
    assert ended["code"] == -9, ended
    for name in ("driver", "tmp"):
        shutil.rmtree(store / name, ignore_errors=True)
    return store


@pytest.fixture(scope="session")
def reference(sweep: Path, home: Path, server: CellServer, template: Path) -> Path:
    """The store of a sweep that met no fault."""
    store = home / "reference"
    shutil.copytree(template, store)
    ended = server.run(sweep=str(sweep), settings=[], store=str(store))
    assert ended["counts"] == {"ok": 6}, ended
    return store


@pytest.fixture
def store(home: Path, template: Path, tmp_path: Path) -> Iterator[Path]:
    """A fresh store that holds the text."""
    folder = home / tmp_path.name
    shutil.copytree(template, folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def work(home: Path, tmp_path: Path) -> Iterator[Path]:
    """Folder in which every step leaves a byte."""
    folder = home / f"{tmp_path.name}-work"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
