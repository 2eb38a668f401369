"""The driver over a real store, with a trainer that takes microseconds: every way in which its runs can end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from cells import HERE as SUPPORT
from forked import ForkedLauncher
from oracle import events

from analysis import store_rows
from orchestrator import load_sweep, run
from orchestrator.errors import InfrastructureError, SweepError
from orchestrator.observing import Result
from orchestrator.requests import cancel, retry
from orchestrator.running import Options


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tiny")
    shutil.copy(SUPPORT / "tiny.yaml", made)
    (made / "tiny.txt").write_text("".join(f"line {i * i % 9973} of words {i}\n" * 3 for i in range(20_000)))
    return made


@pytest.fixture(scope="module")
def template(folder: Path) -> Path:
    """A finished store, whose snapshot of the text spares each test to make one."""
    run(load_sweep(folder / "tiny.yaml"), folder / "template", Options(inline=True))
    for name in ("proposals", "commits", "tables", "driver", "sweeps", "logs"):
        shutil.rmtree(folder / "template" / name, ignore_errors=True)
    (folder / "template/events.jsonl").unlink()
    return folder / "template"


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "store")
    return tmp_path / "store"


def drive(folder: Path, store: Path, trainer: str, *settings: str, **options: Any) -> Result:
    sweep = load_sweep(folder / "tiny.yaml", [f"trainer=tiny_trainer:{trainer}", *settings])
    return run(sweep, store, Options(**({"inline": True} | options)))


def rows(store: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = store_rows(store).to_pylist()
    return found


def test_a_trainer_of_ones_own_takes_the_spec_alone_or_an_execution(folder: Path, store: Path) -> None:
    assert drive(folder, store, "train_without_reporting").counts == {"ok": 6}
    assert all(row["loss"] > 2 for row in rows(store))


def test_a_trainer_of_ones_own_is_another_run(folder: Path, store: Path) -> None:
    drive(folder, store, "train")
    drive(folder, store, "train_without_reporting", confirm=lambda question: True)
    assert len(rows(store)) == 12


@pytest.mark.parametrize(("name", "words"), [("nothing", "has no attribute"), ("WORK", "not a callable")])
def test_a_trainer_that_is_not_there_costs_nothing(folder: Path, store: Path, name: str, words: str) -> None:
    with pytest.raises(SweepError, match=words):
        drive(folder, store, name)
    assert not (store / "proposals").exists()


def test_the_same_bug_three_times_pauses_the_sweep(folder: Path, store: Path) -> None:
    result = drive(folder, store, "fail")
    assert result.interrupted
    assert "3 runs failed with the same error: ValueError: bug at width" in str(result.stopped)
    assert result.counts["error"] == 3
    failed = [row for row in rows(store) if row["status"] == "error"]
    assert all(row["reason"].startswith("ValueError: bug") and row["attempts"] == 1 for row in failed)
    log = (store / "logs" / failed[0]["run_id"] / "0000.log").read_text()
    assert "Traceback" in log
    assert "ValueError: bug at width" in log


def test_failed_runs_are_left_alone_until_a_retry_is_asked_for(folder: Path, store: Path) -> None:
    drive(folder, store, "fail")
    again = drive(folder, store, "fail")
    assert again.counts["error"] == 6
    assert len(retry(str(store), [])) == 6
    third = drive(folder, store, "fail")
    assert third.counts == {"error": 3, "pending": 3}


def test_a_divergence_is_a_result(folder: Path, store: Path) -> None:
    assert drive(folder, store, "diverge").counts == {"diverged": 6}
    assert {row["reason"] for row in rows(store)} == {"up"}
    assert drive(folder, store, "diverge").counts == {"diverged": 6}


def test_device_memory_ends_in_a_smaller_micro_batch(folder: Path, store: Path) -> None:
    assert drive(folder, store, "need_small_batches").counts == {"ok": 6}
    for row in rows(store):
        assert row["attempts"] == 3, "four windows, two, one"
        assert "micro=1 " in row["numerics"]


def test_a_trainer_that_returns_something_else_is_an_error_with_advice(folder: Path, store: Path) -> None:
    drive(folder, store, "return_nonsense")
    reasons = {row["reason"] for row in rows(store) if row["status"] == "error"}
    assert reasons == {
        "SweepError: trainer tiny_trainer:return_nonsense returned float; expected a trainer.RunRecord. Return one, "
        "or raise."
    }


def test_a_full_disk_under_a_trainer_stops_the_sweep_and_fails_no_run(folder: Path, store: Path) -> None:
    with pytest.raises(InfrastructureError, match="the disk is full; what was committed is safe"):
        drive(folder, store, "fill_the_disk")
    assert {row["status"] for row in rows(store)} <= {"pending", "running"}


def test_text_that_the_store_cannot_hold_is_one_message(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").write_bytes(b"a file, where a folder has to be made")
    with pytest.raises(InfrastructureError, match="expected a sound disk; what was committed is safe"):
        drive(folder, tmp_path, "train")


def test_workers_that_die_three_times_give_up_on_the_run(folder: Path, store: Path) -> None:
    launcher = ForkedLauncher(workers=1, faults=dict.fromkeys(range(100), "train.step=kill@3"))
    result = drive(folder, store, "train", inline=False, launcher=launcher)
    assert result.counts == {"lost": 6}
    assert {row["attempts"] for row in rows(store)} == {3}


def test_what_a_killed_attempt_did_is_paid_for(folder: Path, store: Path) -> None:
    launcher = ForkedLauncher(workers=1, faults={0: "train.step=terminate@9"})
    assert drive(folder, store, "train", inline=False, launcher=launcher).counts == {"ok": 6}
    disturbed = next(row for row in rows(store) if row["attempts"] == 2)
    assert disturbed["flops_spent"] == pytest.approx(disturbed["flops"], rel=1e-12), "nothing was done twice"


def test_output_of_a_worker_is_kept(folder: Path, store: Path) -> None:
    drive(folder, store, "fail", inline=False, launcher=ForkedLauncher(workers=1))
    logs = [path.read_text() for path in (store / "logs").rglob("*.log")]
    assert len(logs) >= 3
    assert all("about to fail" in log and "ValueError" in log for log in logs)


class CancelAt:
    """An observer that asks for a cancel once a run is done."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.said = ""

    def update(self, snapshot: object) -> None:
        pass

    def finished(self, row: dict[str, Any]) -> None:
        self.said = self.said or cancel(str(self.store))


def test_a_cancelled_sweep_can_be_continued(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TRAINER_PAUSE", "0.02")
    observer = CancelAt(store)
    result = drive(folder, store, "train", inline=False, launcher=ForkedLauncher(workers=1), observer=observer)
    assert "will stop after checkpoints" in observer.said
    assert result.stopped == "cancelled"
    assert result.counts["ok"] < 6
    monkeypatch.delenv("TINY_TRAINER_PAUSE")
    assert drive(folder, store, "train").counts == {"ok": 6}


def test_the_event_log_tells_the_story(folder: Path, store: Path) -> None:
    drive(folder, store, "train")
    kinds = [event["event"] for event in events(store)]
    assert kinds[0] == "driver started"
    assert kinds[-1] == "driver ended"
    assert kinds.count("dispatched") == kinds.count("ended") == 6
