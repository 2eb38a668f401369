"""Running, repeating and changing a sweep, through the public function and in this process."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import read_runs, store_curves, store_rows
from orchestrator import load_sweep, run
from orchestrator.errors import CapacityError, StoreError, SweepError
from orchestrator.requests import cancel, retry
from orchestrator.running import Options
from orchestrator.status import status

TINY = ["budgets=[1e8, 2e8]", "min_steps=2", "data.heldout_tokens=4096"]
INLINE = Options(inline=True)


def tiny(*settings: str) -> Any:
    return load_sweep("smoke", [*TINY, *settings])


def results(store: Path) -> pd.DataFrame:
    """What must not depend on how a sweep was interrupted."""
    table = store_rows(store).to_pandas().set_index("run_id").sort_index()
    passing = [
        "seq",
        "seconds",
        "evaluation_seconds",
        "host",
        "finished_at",
        "attempts",
        "flops_spent",
        "seconds_spent",
    ]
    return table.drop(columns=passing)


def test_a_sweep_ends_with_every_point_committed(small_store: Path) -> None:
    runs = read_runs(small_store)
    assert len(runs) == 8
    assert set(runs.frame["status"]) == {"ok"}
    assert runs.frame["loss"].between(1, 4).all()
    assert (runs.frame["flops_spent"] == runs.frame["flops"]).all()


def test_a_plain_reader_sees_both_tables(small_store: Path) -> None:
    runs = pd.read_parquet(small_store / "tables/runs")
    curves = pd.read_parquet(small_store / "tables/curves")
    assert len(runs) == 8
    assert set(curves["run_id"]) == set(runs["run_id"])
    last = curves.groupby("run_id")["tokens"].max()
    assert last.to_dict() == runs.set_index("run_id")["tokens"].to_dict()


def test_repeating_a_finished_sweep_trains_nothing(tmp_path: Path) -> None:
    run(tiny(), tmp_path / "s", INLINE)
    commits = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "s/commits").iterdir()}
    run(tiny(), tmp_path / "s", INLINE)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "s/commits").iterdir()} == commits


class InterruptAfter:
    """An observer that sends this process an interrupt once some runs are done, as Ctrl-C does."""

    def __init__(self, runs: int) -> None:
        self.left = runs

    def update(self, snapshot: object) -> None:
        pass

    def finished(self, row: dict[str, Any]) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupted_sweep_continues_to_the_same_table(tmp_path: Path) -> None:
    stopped = run(tiny(), tmp_path / "a", Options(inline=True, observer=InterruptAfter(2)))
    assert stopped.stopped == "interrupted"
    assert 2 <= stopped.counts["ok"] < 6
    assert status(str(tmp_path / "a"))["driver"] is None
    run(tiny(), tmp_path / "a", INLINE)
    run(tiny(), tmp_path / "b", INLINE)
    pd.testing.assert_frame_equal(results(tmp_path / "a"), results(tmp_path / "b"))
    assert store_curves(tmp_path / "a").sort_by("run_id").equals(store_curves(tmp_path / "b").sort_by("run_id"))


def test_a_lost_table_is_made_again(tmp_path: Path) -> None:
    run(tiny(), tmp_path / "s", INLINE)
    before = results(tmp_path / "s")
    for path in (tmp_path / "s/tables").rglob("*.parquet"):
        path.unlink()
    run(tiny(), tmp_path / "s", INLINE)
    pd.testing.assert_frame_equal(results(tmp_path / "s"), before)
    assert len(pd.read_parquet(tmp_path / "s/tables/runs")) == 6
    assert pd.read_parquet(tmp_path / "s/tables/curves")["run_id"].nunique() == 6


def test_a_grown_sweep_keeps_what_is_there(tmp_path: Path) -> None:
    run(tiny("budgets=[1e8]"), tmp_path / "s", INLINE)
    assert run(tiny(), tmp_path / "s", INLINE).counts == {"ok": 6}


def test_a_sweep_that_drops_unfinished_points_asks_first(tmp_path: Path) -> None:
    run(tiny(), tmp_path / "s", Options(inline=True, observer=InterruptAfter(1)))
    smaller = tiny("sizes={shapes: [{width: 8}]}")
    with pytest.raises(
        SweepError, match=r"the sweep file changed: \d runs kept, \d to add, \d no longer wanted.*--yes"
    ):
        run(smaller, tmp_path / "s", INLINE)
    asked: list[str] = []

    def agree(question: str) -> bool:
        asked.append(question)
        return True

    result = run(smaller, tmp_path / "s", Options(inline=True, confirm=agree))
    assert asked
    assert result.counts["ok"] == 2


def test_a_store_of_another_recipe_is_not_gone_on_with_unasked(tmp_path: Path) -> None:
    run(tiny(), tmp_path / "s", INLINE)
    revision = tmp_path / "s/sweeps/000000.json"
    document = json.loads(revision.read_text())
    del document["made_with"]["recipe"]  # as every version before recipe 2 wrote it
    revision.chmod(0o644)
    revision.write_text(json.dumps(document))
    with pytest.raises(SweepError, match=r"recipe 2, and the store's runs are of recipe 1.*version that began.*--yes"):
        run(tiny(), tmp_path / "s", INLINE)
    assert run(tiny(), tmp_path / "s", Options(inline=True, confirm=lambda question: True)).counts == {"ok": 6}
    assert run(tiny(), tmp_path / "s", INLINE).counts == {"ok": 6}  # and is not asked again


def test_a_node_without_a_compiler_is_named_before_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        CapacityError, match=r": resources\.compile is on and there is no C\+\+ compiler here.*Install g\+\+"
    ):
        run(tiny("resources.compile=true"), tmp_path / "store", INLINE)


def test_a_store_of_another_sweep_is_refused(tmp_path: Path) -> None:
    run(tiny(), tmp_path / "s", INLINE)
    with pytest.raises(StoreError, match=r'holds sweep "smoke".*this file is "other".*another --store'):
        run(tiny("name=other"), tmp_path / "s", INLINE)


def test_a_text_file_that_is_not_there_costs_nothing(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"missing\.txt"):
        run(tiny("data={source: text, files: [missing.txt]}"), tmp_path / "s", INLINE)
    assert not (tmp_path / "s").exists()


def test_a_gpu_that_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    from trainer.devices import gpu_count

    if gpu_count():
        pytest.skip("this machine has a GPU")
    with pytest.raises(CapacityError, match=r"1 GPU.*Set resources.gpus: 0"):
        run(tiny("resources.gpus=1"), tmp_path / "s", INLINE)
    assert not (tmp_path / "s").exists()


def test_budgets_too_large_for_the_machine_are_refused_with_their_length(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"about \d+ days.*Use smaller budgets, --max-hours, --yes, or a cluster"):
        run(tiny("budgets=[1e17]", "data.allow_epochs=1e9"), tmp_path / "s", INLINE)


def test_ones_own_text_is_trained_on(tmp_path: Path) -> None:
    for number in range(40):
        words = " ".join(f"{number * word % 977} {word * word % 89}" for word in range(2000))
        (tmp_path / f"{number}.txt").write_text(words)
    settings = [f"data={{source: text, files: ['{tmp_path}/*.txt'], heldout_tokens: 4096, allow_epochs: 5}}"]
    assert run(tiny(*settings), tmp_path / "s", INLINE).counts == {"ok": 6}


def test_a_sweep_stops_at_its_flops(tmp_path: Path) -> None:
    result = run(tiny("stop.max_flops=3e8"), tmp_path / "s", INLINE)
    assert result.stopped is not None
    assert "max_flops" in result.stopped
    assert 1 <= result.counts["ok"] < 6
    assert sum(store_rows(tmp_path / "s")["flops_spent"].to_pylist()) <= 3e8


def test_nothing_to_cancel_or_to_retry_is_said(tmp_path: Path) -> None:
    run(tiny(), tmp_path / "s", INLINE)
    assert "nothing runs here" in cancel(str(tmp_path / "s"))
    assert retry(str(tmp_path / "s"), []) == []
    with pytest.raises(StoreError, match="0 failed runs"):
        retry(str(tmp_path / "s"), ["abc"])
