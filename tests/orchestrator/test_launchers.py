"""What every launcher promises: one outcome for each task, whatever becomes of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cells import HERE as SUPPORT
from forked import ForkedLauncher
from processes import wait_until

from orchestrator import corpora, cost, load_sweep
from orchestrator.execution.inline import InlineLauncher
from orchestrator.execution.launcher import Launcher
from orchestrator.execution.task import Outcome, Task
from orchestrator.planning import plan, point_row
from orchestrator.store import Store
from orchestrator.sweep import Resources
from orchestrator.version import code_version
from trainer import to_dict

STOP = "stop-0"


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    """An embedded Ray that all tests here share; its workers find the trainers of the tests."""
    from orchestrator.execution.ray import RayLauncher

    with pytest.MonkeyPatch.context() as patch:
        ours = [str(SUPPORT), str(SUPPORT.parents[1]), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, ours)))
        launcher = RayLauncher(Resources())
        yield
        launcher.close()


@pytest.fixture(params=["inline", "forked", pytest.param("ray", marks=pytest.mark.ray)])
def launcher(request: pytest.FixtureRequest) -> Iterator[Launcher]:
    if request.param == "ray":
        from orchestrator.execution.ray import RayLauncher

        request.getfixturevalue("ray_session")
        yield RayLauncher(Resources())
        return
    made: Launcher = InlineLauncher(Resources()) if request.param == "inline" else ForkedLauncher()
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.initialise()
    return made


def tasks(store: Store, folder: Path, trainer: str) -> list[Task]:
    """One task for each of six runs."""
    shutil.copy(SUPPORT / "tiny.yaml", folder)
    (folder / "tiny.txt").write_text("".join(f"line {i * i % 9973} of words {i}\n" * 3 for i in range(20_000)))
    sweep = load_sweep(folder / "tiny.yaml", [f"trainer={trainer}"])
    made = plan(sweep, corpora.snapshot(sweep.data, store), cost.first_guess())
    return [
        Task(
            run_id=point.run_id,
            attempt=0,
            spec=to_dict(point.spec),
            row=point_row(sweep, point, made.corpus),
            store=store.location,
            nonce=store.header()["nonce"],
            version=code_version(),
            corpus=made.corpus.hash,
            threads=1,
            gpus=0.0,
            checkpoint_seconds=30.0,
            micro_batch=None,
            stop_request=STOP,
            lease=0,
        )
        for point in made.points
    ]


def outcomes_of(launcher: Launcher, count: int) -> dict[str, Outcome]:
    """Outcomes by run, none of which may come twice or be one too many."""
    found: dict[str, Outcome] = {}

    def all_there() -> bool:
        for outcome in launcher.wait(0.05):
            assert outcome.run_id not in found, "an outcome came twice"
            found[outcome.run_id] = outcome
        return len(found) == count

    wait_until(all_there, f"{count} outcomes, of which came {sorted(found)}")
    assert not launcher.wait(0.05)
    return found


def test_every_task_has_one_outcome(launcher: Launcher, store: Store, tmp_path: Path) -> None:
    submitted = tasks(store, tmp_path, "tiny_trainer:train")
    assert launcher.slots() >= 1
    for task in submitted:
        launcher.submit(task)
    outcomes = outcomes_of(launcher, 6)
    assert {outcome.ending for outcome in outcomes.values()} == {"ok"}
    assert {f"{run_id}.json" for run_id in outcomes} == set(store.objects.names("commits"))


def test_what_is_taken_back_or_stopped_has_an_outcome_too(launcher: Launcher, store: Store, tmp_path: Path) -> None:
    *others, last = tasks(store, tmp_path, "tiny_trainer:linger")
    for task in [*others, last]:
        launcher.submit(task)
    launcher.kill(last.run_id, ending="lost", reason="taken back")
    store.request(STOP)
    outcomes = outcomes_of(launcher, 6)
    taken_back = outcomes.pop(last.run_id)
    assert (taken_back.ending, taken_back.reason) == ("lost", "taken back")
    assert {outcome.ending for outcome in outcomes.values()} <= {"stopped", "withdrawn"}


def test_a_trainer_that_is_not_there_is_refused_by_name(launcher: Launcher, store: Store, tmp_path: Path) -> None:
    for task in tasks(store, tmp_path, "tiny_trainer:nobody")[:2]:
        launcher.submit(task)
    outcomes = outcomes_of(launcher, 2)
    assert {outcome.ending for outcome in outcomes.values()} == {"refused"}
    assert all("tiny_trainer:nobody" in str(outcome.reason) for outcome in outcomes.values())


def test_a_worker_that_dies_costs_its_own_task_alone(launcher: Launcher, store: Store, tmp_path: Path) -> None:
    if isinstance(launcher, InlineLauncher):
        pytest.skip("the worker is this very process")
    fatal, *_ = tasks(store, tmp_path, "tiny_trainer:die")
    *_, harmless = tasks(store, tmp_path, "tiny_trainer:train")
    for task in (fatal, harmless):
        launcher.submit(task)
    outcomes = outcomes_of(launcher, 2)
    assert outcomes[fatal.run_id].ending == "killed"
    assert outcomes[harmless.run_id].ending == "ok"


def test_a_task_under_way_is_killed_once_however_often_one_asks(
    launcher: Launcher, store: Store, tmp_path: Path
) -> None:
    if isinstance(launcher, InlineLauncher):
        pytest.skip("the worker is this very process")
    task = tasks(store, tmp_path, "tiny_trainer:linger")[0]
    launcher.submit(task)
    wait_until(lambda: task.run_id in store.under_way(), "an attempt under way")
    launcher.kill(task.run_id, reason="stuck")
    launcher.kill(task.run_id, reason="stuck for longer")
    outcome = outcomes_of(launcher, 1)[task.run_id]
    assert (outcome.ending, str(outcome.reason)[:5]) == ("killed", "stuck")
