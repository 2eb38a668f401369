"""Sweeps whose runs share trunks: the same numbers as without, for fewer FLOPs."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from cells import HERE as SUPPORT

from analysis import store_rows
from orchestrator import load_sweep, run
from orchestrator.cli import planned
from orchestrator.cost import CostModel
from orchestrator.errors import SweepError
from orchestrator.execution.task import Task
from orchestrator.planning import Corpus, Plan, plan
from orchestrator.running import Options
from orchestrator.status import status
from orchestrator.sweep import Sweep
from orchestrator.waiting import Waiting
from trainer import branch_step, trunk_id

TRUNKS = (
    "trainer=null",
    "budgets=[2e8, 4e8, 8e8]",
    "sizes={shapes: [{width: 8}, {width: 16}]}",
    "schedule={kind: wsd, warmup_steps: 5, trunks: true}",
)
COST = CostModel(step_seconds=1e-3, token_seconds=0.0, flops_per_second=1e10)
CORPUS = Corpus(hash="0" * 16, train_tokens=10_000_000, exact=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tiny")
    shutil.copy(SUPPORT / "tiny.yaml", made)
    (made / "tiny.txt").write_text("".join(f"line {i * i % 9973} of words {i}\n" * 3 for i in range(20_000)))
    return made


def sweep(folder: Path, *settings: str) -> Sweep:
    return load_sweep(folder / "tiny.yaml", [*TRUNKS, *settings])


def losses(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {row["run_id"]: row["loss"] for row in rows}


def rows_of(store: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = store_rows(store).to_pylist()
    return found


def test_equal_losses_for_fewer_flops(folder: Path, tmp_path: Path) -> None:
    run(sweep(folder), tmp_path / "shared", Options(inline=True))
    alone = sweep(folder, "schedule={kind: wsd, warmup_steps: 5}")
    run(alone, tmp_path / "alone", Options(inline=True))
    shared, single = rows_of(tmp_path / "shared"), rows_of(tmp_path / "alone")
    assert losses(shared) == losses(single)
    assert len(shared) == 6
    assert len({row["trunk"] for row in shared}) == 2
    assert {row["trunk"] for row in single} == {None}
    assert all(row["flops"] == other["flops"] for row, other in zip(shared, single, strict=True))
    spent = sum(row["flops_spent"] for row in shared)
    made = plan(sweep(folder), CORPUS, COST)
    assert spent == pytest.approx(made.flops)
    assert sum(row["flops"] for row in shared) == pytest.approx(made.flops + made.flops_saved)
    assert made.flops_saved > 0.2 * made.flops
    for row in shared:
        point = next(point for point in made.points if (point.params, point.budget) == (row["params"], row["budget"]))
        assert row["branch_tokens"] == branch_step(point.spec) * point.spec.batch_tokens
    for trunk in (tmp_path / "shared/trunks").iterdir():
        assert len(list(trunk.iterdir())) == 1  # at the end only the state furthest on


def test_a_longer_run_next_week_goes_on_from_the_trunk(folder: Path, tmp_path: Path) -> None:
    run(sweep(folder, "budgets=[2e8, 4e8]"), tmp_path / "grown", Options(inline=True))
    run(sweep(folder), tmp_path / "grown", Options(inline=True))
    run(sweep(folder), tmp_path / "whole", Options(inline=True))
    grown, whole = rows_of(tmp_path / "grown"), rows_of(tmp_path / "whole")
    assert losses(grown) == losses(whole)
    assert sum(row["flops_spent"] for row in grown) == pytest.approx(sum(row["flops_spent"] for row in whole))


def test_the_plan_says_what_is_shared(folder: Path) -> None:
    made = plan(sweep(folder), CORPUS, COST)
    for trunk in {trunk_id(point.spec) for point in made.points}:
        runs = sorted((p for p in made.points if trunk_id(p.spec) == trunk), key=lambda point: point.spec.steps)
        assert [p.share for p in runs] == [
            1.0,
            1 - branch_step(runs[0].spec) / runs[1].spec.steps,
            1 - branch_step(runs[1].spec) / runs[2].spec.steps,
        ]


def test_one_run_of_a_trunk_is_out_at_a_time() -> None:
    waiting = Waiting()
    tasks = {name: _task(name, trunk, step) for name, trunk, step in (("a", "x", 30), ("b", "x", 10), ("c", "x", 20))}
    for seq, task in enumerate(tasks.values()):
        waiting.add(task, seconds=1.0, seq=seq)
    waiting.add(_task("d", None, 0), seconds=0.5, seq=9)
    assert (len(waiting), waiting.held) == (2, 2)
    order = []
    while task := waiting.pop():
        order.append(task.run_id)
        waiting.add(task, seconds=1.0, seq=0)  # tried again: still the one that is out
        assert waiting.pop() is task
        waiting.settled(task)
    assert order == ["a", "b", "c", "d"]
    waiting.add(tasks["a"], seconds=1.0, seq=0)
    assert waiting.pop() is tasks["a"]


def _task(run_id: str, trunk: str | None, step: int) -> Task:
    return Task(
        run_id=run_id, attempt=0, spec={}, row={}, store="", nonce="", version="", corpus="", threads=1, gpus=0.0,
        checkpoint_seconds=1.0, micro_batch=None, stop_request="", lease=0,
        trunk=None if trunk is None else (trunk, step),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("schedule={kind: linear, trunks: true, warmup_steps: 5}", "expected wsd and a warm-up"),
        ("schedule={kind: wsd, trunks: true}", "the same at every D"),
        ("batch={coefficient: 1.7}", "expected one batch for every D"),
        ("trainer=tiny_trainer:train", "Switch trunks off"),
    ],
)
def test_what_cannot_be_shared_is_refused(folder: Path, setting: str, words: str) -> None:
    with pytest.raises(SweepError, match=words):
        sweep(folder, setting)


def test_a_point_too_short_for_its_warm_up_is_dropped(folder: Path) -> None:
    made = plan(sweep(folder, "schedule={kind: wsd, warmup_steps: 60, trunks: true}"), CORPUS, COST)
    assert made.dropped
    assert "warm-up of 60" in made.dropped[0].reason


def test_status_and_plan_say_what_was_shared(folder: Path, tmp_path: Path) -> None:
    run(sweep(folder), tmp_path / "shared", Options(inline=True))
    told = status(str(tmp_path / "shared"))
    made = plan(sweep(folder), CORPUS, COST)
    assert told["flops_shared"] == pytest.approx(made.flops_saved)
    assert told["flops_spent"] == pytest.approx(told["flops_planned"])
    assert told["worker_seconds_left"] == pytest.approx(0.0, abs=1e-6)
    assert "are shared by runs of one trunk" in _said(made)


def _said(made: Plan) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        planned.show(made)
    return " ".join(out.getvalue().split())
