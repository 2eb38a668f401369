"""Mirrors in trackers: told of every run, from the store's own numbers, and never able to fail or stop a sweep."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from cells import HERE as SUPPORT

from orchestrator import load_sweep, run
from orchestrator.errors import StoreError, SweepError
from orchestrator.exporting import export_runs, export_study
from orchestrator.running import Options, Silent
from orchestrator.store import Store
from orchestrator.tracking.choosing import tracker_of
from orchestrator.tracking.mirror import Mirror
from orchestrator.tracking.tracker import Tracker


class Recording:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.curves: list[Mapping[str, Sequence[float]]] = []
        self.closed = False

    def run_ended(self, row: Mapping[str, Any], curve: Mapping[str, Sequence[float]]) -> None:
        assert threading.current_thread() is not threading.main_thread()
        self.rows.append(dict(row))
        self.curves.append(curve)

    def close(self) -> None:
        self.closed = True


class Raising(Recording):
    """A tracker that breaks where it is told to."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place
        self.calls = 0
        self._break("opening")

    def run_ended(self, row: Mapping[str, Any], curve: Mapping[str, Sequence[float]]) -> None:
        self.calls += 1
        self._break("a run" if self.calls == 2 else "")

    def close(self) -> None:
        self._break("closing")

    def _break(self, here: str) -> None:
        if here == self.place:
            raise RuntimeError(f"no network at {here}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tiny")
    shutil.copy(SUPPORT / "tiny.yaml", made)
    (made / "tiny.txt").write_text("".join(f"line {i * i % 9973} of words {i}\n" * 3 for i in range(20_000)))
    return made


def drive(folder: Path, store: Path, make: Callable[[], Tracker], *settings: str, closing: float = 60.0) -> Any:
    with Mirror(Silent(), "fake", make, str(store), closing_seconds=closing) as observer:
        sweep = load_sweep(folder / "tiny.yaml", settings)
        return run(sweep, store, Options(inline=True, observer=observer)).counts


def test_a_tracker_hears_of_every_run_with_its_curve(folder: Path, tmp_path: Path) -> None:
    tracker = Recording()
    assert drive(folder, tmp_path / "s", lambda: tracker) == {"ok": 6}
    assert tracker.closed
    assert len({row["run_id"] for row in tracker.rows}) == 6
    for row, curve in zip(tracker.rows, tracker.curves, strict=True):
        commit = Store(tmp_path / "s").commit(row["run_id"])
        assert commit is not None
        assert (row["loss"], curve) == (commit["row"]["loss"], commit["curve"])


def test_runs_that_failed_are_told_too(folder: Path, tmp_path: Path) -> None:
    tracker = Recording()
    drive(folder, tmp_path / "s", lambda: tracker, "trainer=tiny_trainer:fail")
    assert {row["status"] for row in tracker.rows} == {"error"}
    assert all(curve == {} for curve in tracker.curves)


@pytest.mark.parametrize("place", ["opening", "a run", "closing"])
def test_a_tracker_that_breaks_is_switched_off_and_said_once(
    place: str, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        counts = drive(folder, tmp_path / "s", lambda: Raising(place))
    assert counts == {"ok": 6}
    said = [record.getMessage() for record in caplog.records if "switched off" in record.getMessage()]
    assert said == [f"fake is switched off, the sweep goes on: RuntimeError: no network at {place}"]


def test_a_tracker_that_hangs_does_not_hold_the_sweep(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    class Hanging(Recording):
        def run_ended(self, row: Mapping[str, Any], curve: Mapping[str, Sequence[float]]) -> None:
            release.wait()

    try:
        with caplog.at_level(logging.WARNING):
            assert drive(folder, tmp_path / "s", Hanging, closing=0.01) == {"ok": 6}
    finally:
        release.set()
    assert any("the store has everything" in record.getMessage() for record in caplog.records)


def test_committed_runs_can_be_told_afterwards(folder: Path, tmp_path: Path) -> None:
    run(load_sweep(folder / "tiny.yaml"), tmp_path / "s", Options(inline=True))

    class Told(Recording):
        def run_ended(self, row: Mapping[str, Any], curve: Mapping[str, Sequence[float]]) -> None:
            self.rows.append(dict(row))

    tracker = Told()
    assert export_runs(str(tmp_path / "s"), tracker) == 6
    assert tracker.closed
    assert len(tracker.rows) == 6


def test_the_study_of_a_store_is_written_for_optunas_dashboard(folder: Path, tmp_path: Path) -> None:
    import optuna

    run(load_sweep(folder / "tiny.yaml"), tmp_path / "s", Options(inline=True))
    url = f"sqlite:///{tmp_path}/study.db"
    assert export_study(str(tmp_path / "s"), url) == 6
    trials = optuna.load_study(study_name="tiny", storage=url).trials
    losses = sorted(float(row["row"]["loss"]) for row in map(_commit, (tmp_path / "s/commits").iterdir()))
    assert sorted(trial.value or 0.0 for trial in trials) == pytest.approx(losses)
    with pytest.raises(SweepError, match=r"has a study 'tiny'; .* --name"):
        export_study(str(tmp_path / "s"), url)
    with pytest.raises(SweepError, match="cannot be opened"):
        export_study(str(tmp_path / "s"), "nonsense://x")
    with pytest.raises(StoreError, match="not a store"):
        export_study(str(tmp_path / "nothing"), url)


def _commit(path: Path) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


@pytest.mark.parametrize("choice", ["mlflow=here", "tensorboard", "wandb="])
def test_a_tracker_that_is_not_known_is_refused(choice: str) -> None:
    with pytest.raises(SweepError, match="expected tensorboard=FOLDER or wandb=PROJECT"):
        tracker_of(choice)


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_a_tracker_whose_package_is_not_there_says_how_to_get_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.tracking.choosing.find_spec", lambda name: None)
    with pytest.raises(SweepError, match=rf"the package {kind} is not installed; .* pip install 'isoflop\[trackers\]'"):
        tracker_of(f"{kind}=x")


def test_tensorboard_reads_what_was_written(small_store: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs the tensorboard package"
    )
    _, make = tracker_of(f"tensorboard={tmp_path}/tb")
    assert export_runs(str(small_store), make()) == 8
    written = sorted((tmp_path / "tb").glob("*/*"))
    assert len(written) == 8
    events = accumulator.EventAccumulator(str(written[0]))
    events.Reload()
    run_id = next(path.stem for path in (small_store / "commits").iterdir() if path.stem[:8] in written[0].name)
    commit = Store(small_store).commit(run_id)
    assert commit is not None
    assert events.Scalars("final/loss")[0].value == pytest.approx(commit["row"]["loss"])
    assert [event.step for event in events.Scalars("train/loss")] == commit["curve"]["tokens"]


def test_wandbs_offline_runs_can_be_imported_again(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="needs the wandb package")
    from analysis import fit_isoflop, read_runs
    from orchestrator.importing import import_runs

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    _, make = tracker_of("wandb=project")
    assert export_runs(str(small_store), make()) == 8
    assert len(import_runs(str(tmp_path / "wandb"), str(tmp_path / "again")).added) == 8
    exponents = [fit_isoflop(read_runs(place)).exponents["a"] for place in (small_store, tmp_path / "again")]
    assert exponents[0] == pytest.approx(exponents[1])
