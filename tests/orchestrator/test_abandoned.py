"""What the attempts of a driver that died had cost: charged to the sweep, and once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cells import HERE as SUPPORT
from cells import CellServer

from analysis import store_rows
from orchestrator import load_sweep, run
from orchestrator.running import Options
from orchestrator.store import Store


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    shutil.copy(SUPPORT / "tiny.yaml", tmp_path)
    (tmp_path / "tiny.txt").write_text("".join(f"line {i * i % 9973} of words {i}\n" * 3 for i in range(20_000)))
    return tmp_path / "tiny.yaml"


@pytest.fixture
def killed(sweep: Path, tmp_path: Path) -> Store:
    """A store whose driver was killed before its first run began."""
    with CellServer() as server:
        ended = server.run(sweep=str(sweep), settings=[], store=str(tmp_path / "s"), faults="attempt.start=kill")
    assert ended["code"] == -9, ended
    return Store(tmp_path / "s")


def first_run(store: Store) -> str:
    proposal = store.read(f"proposals/{store.objects.names('proposals')[0]}")
    return str(proposal["run_id"])


def finished(sweep: Path, store: Store) -> dict[str, dict[str, Any]]:
    assert run(load_sweep(sweep), store.location, Options(inline=True)).counts == {"ok": 6}
    return {row["run_id"]: row for row in store_rows(store.location).to_pylist()}


def test_steps_that_were_reported_are_charged(killed: Store, sweep: Path) -> None:
    run_id = first_run(killed)
    killed.note_progress(run_id, {"attempt": 0, "first": 4, "step": 12, "steps": 32, "seconds": 7.0})
    rows = finished(sweep, killed)
    charged = rows.pop(run_id)
    assert charged["flops_spent"] == pytest.approx(charged["flops"] * (1 + 8 / 32))
    assert charged["attempts"] == 2
    assert all(row["flops_spent"] == row["flops"] and row["attempts"] == 1 for row in rows.values())


def test_they_are_charged_once_however_often_drivers_die(killed: Store, sweep: Path) -> None:
    """The second one died after it had charged them and before it removed the progress."""
    run_id = first_run(killed)
    progress = {"attempt": 0, "first": 0, "step": 16, "steps": 32, "seconds": 7.0}
    killed.note_progress(run_id, progress)
    killed.add_attempt(run_id, 0, {"status": "cancelled", "reason": "", "flops_spent": 5.0, "seconds": 7.0})
    row = finished(sweep, killed)[run_id]
    assert row["flops_spent"] == pytest.approx(row["flops"] + 5.0)
    assert row["attempts"] == 2


def test_last_words_count_as_said(killed: Store, sweep: Path) -> None:
    run_id = first_run(killed)
    outcome = {"run_id": run_id, "attempt": 0, "ending": "oom", "flops_spent": 11.0, "seconds": 3.0}
    killed.note_progress(run_id, {"attempt": 0, "outcome": outcome})
    row = finished(sweep, killed)[run_id]
    assert row["flops_spent"] == pytest.approx(row["flops"] + 11.0)


def test_what_says_nothing_is_passed_over(killed: Store, sweep: Path) -> None:
    run_id = first_run(killed)
    killed.note_progress(run_id, {"attempt": 0, "first": None, "step": None, "steps": None, "seconds": 0.1})
    killed.objects.replace("progress/torn.json", b'{"format": 1}')
    row = finished(sweep, killed)[run_id]
    assert row["flops_spent"] == row["flops"]
    attempts = killed.objects.names(f"attempts/{run_id}")
    kept = json.loads(killed.objects.read(f"attempts/{run_id}/{attempts[0]}"))
    assert (kept["status"], kept["reason"], kept["final"]) == ("cancelled", "its driver ended", False)
