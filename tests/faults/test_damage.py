"""A driver was killed, and a file of the store is torn besides: what can be made again is, and the rest is named."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from cells import CellServer
from oracle import check, curves, events, results
from processes import wait_for_state

from orchestrator.status import status


def first(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def tail_of_events(store: Path) -> None:
    log = store / "events.jsonl"
    log.write_bytes(log.read_bytes()[:-7])


def middle_of_events(store: Path) -> None:
    lines = (store / "events.jsonl").read_bytes().splitlines(keepends=True)
    lines[2] = b"x" + lines[2][1:]
    (store / "events.jsonl").write_bytes(b"".join(lines))


DERIVED: dict[str, Callable[[Path], object]] = {
    "tail of the event log": tail_of_events,
    "event in the middle": middle_of_events,
    "table of runs": lambda store: half(store / "tables/runs/runs.parquet"),
    "table of runs removed": lambda store: (store / "tables/runs/runs.parquet").unlink(),
    "part of the curves": lambda store: half(first(store, "tables/curves/*.parquet")),
    "checkpoint": lambda store: half(first(store, "checkpoints/*/*/step-*")),
    "temporary file": lambda store: (store / "tmp/left").write_bytes(b"half"),
    "request of a dead driver": lambda store: (store / "requests/stop-0").write_bytes(b""),
    "progress of a dead worker": lambda store: (store / "progress/00.json").write_bytes(b'{"format": 1}'),
}
"""Damage to what can be made again; it is not even mentioned."""

TRUTH: dict[str, Callable[[Path], Path]] = {
    "proposal of a committed run": lambda store: first(store, "proposals/*0.json"),
    "proposal of an open run": lambda store: first(store, "proposals/*5.json"),
    "commit": lambda store: first(store, "commits/*.json"),
    "empty commit": lambda store: first(store, "commits/*.json"),
}
"""Damage to objects; they are set aside, and their runs are made again."""


@pytest.fixture
def killed(server: CellServer, sweep: Path, store: Path) -> Path:
    """A store whose driver died in the fourth run, after its second checkpoint."""
    ended = server.run(sweep=str(sweep), settings=[], store=str(store), faults="attempt.before_commit=kill@4")
    assert ended["code"] == -9
    for name in ("tmp", "requests", "progress"):
        (store / name).mkdir(exist_ok=True)
    return store


@pytest.mark.parametrize("damage", DERIVED)
def test_what_is_derived_is_made_again(
    damage: str, server: CellServer, sweep: Path, killed: Path, reference: Path
) -> None:
    if "curves" in damage:
        server.run(sweep=str(sweep), settings=[], store=str(killed), faults="attempt.before_commit=kill@2")
    DERIVED[damage](killed)
    last = server.run(sweep=str(sweep), settings=[], store=str(killed))
    assert last == {"code": 0, "message": None, "counts": {"ok": 6}}
    check(killed, reference)


@pytest.mark.parametrize("damage", TRUTH)
def test_a_torn_object_is_set_aside_and_named(
    damage: str, server: CellServer, sweep: Path, killed: Path, reference: Path
) -> None:
    path = TRUTH[damage](killed)
    if damage.startswith("empty"):
        path.write_bytes(b"")
    else:
        half(path)
    (killed / "tables/runs/runs.parquet").unlink()
    content = path.read_bytes()
    last = server.run(sweep=str(sweep), settings=[], store=str(killed))
    assert last == {"code": 0, "message": None, "counts": {"ok": 6}}
    assert results(killed).equals(results(reference))
    assert curves(killed).equals(curves(reference))
    aside = killed / "quarantine" / f"{path.parent.name}-{path.name}.0"
    assert aside.read_bytes() == content
    assert status(str(killed))["unreadable"] == [f"quarantine/{aside.name}"]


def test_a_bad_event_in_the_middle_hides_only_itself(server: CellServer, sweep: Path, killed: Path) -> None:
    before = events(killed)
    middle_of_events(killed)
    server.run(sweep=str(sweep), settings=[], store=str(killed))
    after = events(killed)
    assert after[: len(before) - 1] == before[:2] + before[3:]
    assert after[-1]["event"] == "driver ended"


def test_a_torn_header_is_one_message(server: CellServer, sweep: Path, killed: Path) -> None:
    half(killed / "store.json")
    ended = server.run(sweep=str(sweep), settings=[], store=str(killed))
    assert ended["code"] == 1
    assert "store.json is torn" in ended["message"]


def test_a_second_copy_with_another_result_is_kept_and_reported(
    server: CellServer, sweep: Path, store: Path, reference: Path
) -> None:
    """A worker that was cut off comes back after its run was committed by another, and has another number."""
    (store / "commits").mkdir()
    pid = server.start(sweep=str(sweep), settings=[], store=str(store), faults="attempt.before_commit=freeze")
    wait_for_state(pid, "T")
    proposals = [json.loads(path.read_bytes())["run_id"] for path in sorted((store / "proposals").iterdir())]
    for run_id in proposals:
        commit = json.loads((reference / f"commits/{run_id}.json").read_bytes())
        commit["row"]["loss"] += 1e-9
        (store / f"commits/{run_id}.json").write_text(json.dumps(commit))
    os.kill(pid, signal.SIGCONT)
    assert server.wait()["counts"] == {"ok": 6}
    kept = list((store / "nondeterminism").iterdir())
    assert len(kept) == 1, "the run that was under way"
    notes = [event for event in events(store) if event["event"] == "note"]
    assert len(notes) == 1
    assert notes[0]["text"].startswith("nondeterminism: run ")
