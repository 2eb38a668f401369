"""Which attempts count as started and as stuck, by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.execution.inline import InlineLauncher
from orchestrator.execution.task import Task
from orchestrator.store import Store
from orchestrator.sweep import Resources
from orchestrator.watching import LEAST_SECONDS, START_FACTOR, Sight, Watch


class Clock:
    """A clock that goes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Machines(InlineLauncher):
    """Machines with or without room, some of which are gone."""

    def __init__(self) -> None:
        super().__init__(Resources())
        self.room = False
        self.lost: list[str] = []

    def has_room(self, task: Task) -> bool:
        return self.room

    def gone(self) -> list[str]:
        return self.lost


class Scene:
    """One run, its progress and its watcher."""

    def __init__(self, folder: Path, trainer: str | None = None) -> None:
        self.store = Store(folder)
        self.clock = Clock()
        self.machines = Machines()
        self.watch = Watch(self.store, clock=self.clock)
        spec = {"trainer": trainer} if trainer else {}
        self.tasks: dict[str, Any] = {"r": Task.__new__(Task)}
        object.__setattr__(self.tasks["r"], "run_id", "r")
        object.__setattr__(self.tasks["r"], "spec", spec)

    def progress(
        self,
        step: int | None,
        *,
        first: int | None = 0,
        seconds: float = 1.0,
        steps: int = 100,
        node: str | None = None,
    ) -> None:
        document = {"attempt": 0, "first": first, "step": step, "steps": steps, "seconds": seconds, "node": node}
        self.store.note_progress("r", document)

    def look(self) -> Sight:
        return self.watch.look(self.tasks, self.machines)

    def stuck_after(self, limit: float) -> float:
        """Seconds of standing still until the run counts as stuck."""
        return self._after(limit, lambda sight: sight.stuck)

    def forgotten_after(self, limit: float) -> float:
        """Seconds of waiting until the run counts as forgotten."""
        return self._after(limit, lambda sight: sight.forgotten)

    def _after(self, limit: float, said: Callable[[Sight], object]) -> float:
        start = self.clock.now
        while self.clock.now - start < limit:
            self.clock.now += 2.0
            if said(self.look()):
                return self.clock.now - start
        return float("inf")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_run_starts_when_its_worker_says_so(scene: Scene) -> None:
    assert not scene.look().started
    scene.progress(None, first=None)
    scene.clock.now = 10
    assert scene.look().started == ["r"]
    scene.clock.now = 20
    assert not scene.look().started


def test_a_run_that_makes_no_step_is_stuck_after_two_minutes(scene: Scene) -> None:
    scene.progress(10)
    assert LEAST_SECONDS < scene.stuck_after(1000) <= LEAST_SECONDS * 1.3


def test_slow_steps_are_given_five_of_themselves(scene: Scene) -> None:
    scene.progress(10, seconds=1000.0)
    assert 500 < scene.stuck_after(10_000) <= 650


def test_the_first_step_and_the_evaluation_may_take_longer(scene: Scene) -> None:
    for step in (0, 100):
        scene.progress(step)
        assert START_FACTOR * LEAST_SECONDS < scene.stuck_after(10_000) <= START_FACTOR * LEAST_SECONDS * 1.5


def test_a_run_that_goes_on_is_never_stuck(scene: Scene) -> None:
    for step in range(1, 60):
        scene.progress(step, seconds=float(step))
        assert scene.stuck_after(100) == float("inf")


def test_a_trainer_that_does_not_report_is_not_judged(tmp_path: Path) -> None:
    scene = Scene(tmp_path, trainer="mine:train")
    scene.progress(None, first=None)
    assert scene.stuck_after(10_000) == float("inf")


def test_it_is_said_once_per_standstill(scene: Scene) -> None:
    scene.progress(10)
    first = scene.stuck_after(1000)
    assert scene.stuck_after(first - 10) == float("inf")


def test_a_run_that_nobody_starts_is_forgotten_only_while_there_is_room(scene: Scene) -> None:
    assert scene.forgotten_after(10_000) == float("inf")
    scene.machines.room = True
    assert LEAST_SECONDS < scene.forgotten_after(1000) <= LEAST_SECONDS + 4
    scene.progress(None, first=None)
    assert scene.forgotten_after(10_000) == float("inf")


def test_each_time_it_is_waited_twice_as_long(scene: Scene) -> None:
    scene.machines.room = True
    waits = [scene.forgotten_after(10_000) for _ in range(4)]
    assert all(LEAST_SECONDS * 2**i < wait <= LEAST_SECONDS * 2**i + 4 for i, wait in enumerate(waits))


def test_while_runs_end_nothing_is_forgotten(scene: Scene) -> None:
    scene.machines.room = True
    for _ in range(100):
        assert scene.forgotten_after(100) == float("inf")
        scene.watch.forget("another")


@pytest.mark.parametrize("trainer", [None, "mine:train"])
def test_a_run_whose_node_is_gone_is_lost_whoever_trains_it(trainer: str | None, tmp_path: Path) -> None:
    scene = Scene(tmp_path, trainer)
    scene.progress(None, first=None, node="a")
    scene.machines.lost = ["b"]
    assert not scene.look().lost
    scene.machines.lost = ["a", "b"]
    scene.clock.now += 2
    assert scene.look().lost == ["r"]
