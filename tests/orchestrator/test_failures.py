"""What follows from every way in which an attempt can end."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.execution.task import Ending, Outcome, Task
from orchestrator.failures import DEFAULT_MEMORY, KILLED_TRIES, MEMORY_GROWTH, bug_of, judge


def task(**changes: Any) -> Task:
    values = {
        "run_id": "r",
        "attempt": 0,
        "spec": {"batch_contexts": 4},
        "row": {},
        "store": "s",
        "nonce": "n",
        "version": "v",
        "corpus": "c",
        "threads": 1,
        "gpus": 0.0,
        "checkpoint_seconds": 1.0,
        "micro_batch": None,
        "stop_request": "stop-0",
        "lease": 0,
    }
    return Task(**(values | changes))


def outcome(ending: Ending, reason: str | None = None, traceback: str | None = None) -> Outcome:
    return Outcome(run_id="r", attempt=0, ending=ending, reason=reason, traceback=traceback)


@pytest.mark.parametrize(
    ("ending", "action", "status"),
    [
        ("ok", "done", None),
        ("diverged", "done", None),
        ("stopped", "leave", "cancelled"),
        ("withdrawn", "leave", None),
        ("refused", "refuse", "error"),
        ("storage", "broken", "lost"),
        ("preempted", "again", "lost"),
        ("lost", "again", "lost"),
        ("killed", "again", "lost"),
        ("oom", "again", "oom"),
        ("error", "give-up", "error"),
    ],
)
def test_each_ending_has_its_policy(ending: Ending, action: str, status: str | None) -> None:
    verdict = judge(outcome(ending), task(), [])
    assert (verdict.action, verdict.status) == (action, status)


def test_a_lost_node_is_free_however_often() -> None:
    assert judge(outcome("lost"), task(), ["lost"] * 100).action == "again"
    assert judge(outcome("preempted"), task(), ["preempted", "lost"] * 100).action == "again"


def test_a_worker_that_dies_has_three_tries() -> None:
    assert judge(outcome("killed"), task(), ["killed", "lost"]).action == "again"
    assert judge(outcome("killed"), task(), ["killed"] * (KILLED_TRIES - 1)).action == "give-up"


def test_host_memory_asks_for_a_larger_reservation() -> None:
    first = judge(outcome("killed", "host memory: 95 % used"), task(), [])
    assert first.memory == DEFAULT_MEMORY * MEMORY_GROWTH
    second = judge(outcome("killed"), task(memory=first.memory), ["killed"])
    assert second.memory == first.memory * MEMORY_GROWTH
    assert judge(outcome("killed", "the worker process died"), task(), []).memory is None


def test_device_memory_halves_the_micro_batch_then_takes_the_device_then_gives_up() -> None:
    attempt = task(gpus=0.25)
    tried = []
    while (verdict := judge(outcome("oom"), attempt, [])).action == "again":
        tried.append((verdict.micro_batch, verdict.gpus))
        attempt = task(gpus=verdict.gpus, micro_batch=verdict.micro_batch)
    assert tried == [(2, 0.25), (1, 0.25), (1, 1.0)]
    assert (verdict.action, verdict.status) == ("give-up", "oom")


def test_what_was_learnt_is_kept_when_the_next_attempt_is_lost() -> None:
    verdict = judge(outcome("lost"), task(micro_batch=2, gpus=1.0, memory=5e9), ["oom", "killed"])
    assert (verdict.micro_batch, verdict.gpus, verdict.memory) == (2, 1.0, 5e9)


def test_a_bug_is_told_by_its_lines_not_by_its_message() -> None:
    lines = 'Traceback:\n  File "a.py", line 3, in f\n    x\n'
    first = outcome("error", "ValueError: width 8", lines + "ValueError: width 8")
    second = outcome("error", "ValueError: width 16", lines + "ValueError: width 16")
    other = outcome("error", "KeyError: 8", lines + "KeyError: 8")
    assert bug_of(first) == bug_of(second) != bug_of(other)
    assert bug_of(outcome("killed")) is None
