"""Runs of one store in another, and sweeps that grow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cells import HERE as SUPPORT

from analysis import store_rows
from orchestrator import load_sweep, run
from orchestrator.errors import StoreError
from orchestrator.importing import import_store
from orchestrator.observing import Result
from orchestrator.running import Options


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tiny")
    shutil.copy(SUPPORT / "tiny.yaml", made)
    (made / "tiny.txt").write_text("".join(f"line {i * i % 9973} of words {i}\n" * 3 for i in range(20_000)))
    run(load_sweep(made / "tiny.yaml"), made / "done", Options(inline=True))
    return made


@pytest.fixture
def done(folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(folder / "done", tmp_path / "done")
    return tmp_path / "done"


def drive(folder: Path, store: Path, *settings: str) -> tuple[Result, list[str]]:
    """Run a sweep; gives the runs that were made, too."""
    before = {path.stem for path in (store / "commits").glob("*")}
    result = run(load_sweep(folder / "tiny.yaml", settings), store, Options(inline=True, confirm=lambda question: True))
    return result, sorted({path.stem for path in (store / "commits").glob("*")} - before)


@pytest.mark.parametrize(
    ("settings", "new"),
    [
        (["budgets=[1e8, 2e8, 4e8]"], 3),
        (["seeds=2"], 6),
        (["sizes={shapes: [{width: 8}, {width: 16}, {width: 24}, {width: 10}]}"], 2),
    ],
)
def test_a_sweep_that_grows_makes_only_what_is_new(folder: Path, done: Path, settings: list[str], new: int) -> None:
    result, made = drive(folder, done, *settings)
    assert len(made) == new
    assert result.counts == {"ok": 6 + new}


def test_a_sweep_that_shrinks_keeps_what_was_made(folder: Path, done: Path) -> None:
    result, made = drive(folder, done, "budgets=[1e8]")
    assert made == []
    assert result.counts == {"ok": 3}
    assert len(store_rows(done)) == 6


def test_imported_runs_are_not_made_again(folder: Path, done: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    imported = import_store(str(done), str(target))
    assert (len(imported.added), imported.known) == (6, 0)
    result, made = drive(folder, target, "budgets=[1e8, 2e8, 4e8]")
    assert len(made) == 3
    assert result.counts == {"ok": 9}
    losses = dict(zip(*(store_rows(done)[name].to_pylist() for name in ("run_id", "loss")), strict=True))
    brought = dict(zip(*(store_rows(target)[name].to_pylist() for name in ("run_id", "loss")), strict=True))
    assert losses.items() <= brought.items()


def test_importing_twice_changes_nothing(done: Path, tmp_path: Path) -> None:
    import_store(str(done), str(tmp_path / "target"))
    again = import_store(str(done), str(tmp_path / "target"))
    assert (again.added, again.known, again.contradicting) == ((), 6, ())


def test_a_run_with_another_loss_is_named_and_left(done: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    import_store(str(done), str(target))
    path = sorted((done / "commits").iterdir())[0]
    commit = json.loads(path.read_bytes())
    commit["row"]["loss"] += 1
    path.write_text(json.dumps(commit))
    before = (target / "commits" / path.name).read_bytes()
    assert import_store(str(done), str(target)).contradicting == (path.stem,)
    assert (target / "commits" / path.name).read_bytes() == before


def test_a_torn_commit_is_named(done: Path, tmp_path: Path) -> None:
    path = sorted((done / "commits").iterdir())[0]
    path.write_bytes(b"{")
    imported = import_store(str(done), str(tmp_path / "target"))
    assert imported.unreadable == (f"commits/{path.name}",)
    assert len(imported.added) == 5


def test_what_is_no_store_is_refused(done: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a store"):
        import_store(str(tmp_path / "nothing"), str(tmp_path / "target"))
    with pytest.raises(StoreError, match="into itself"):
        import_store(str(done), str(done))
