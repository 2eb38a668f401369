"""Schedules at their ends and in between."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trainer import RunSpec, Schedule, SpecError
from trainer.schedule import learning_rate_factor


@pytest.mark.parametrize("kind", ["linear", "cosine", "wsd"])
@pytest.mark.parametrize(("warmup", "steps"), [(0, 1), (0, 7), (1, 2), (50, 1000), (3, 40)])
def test_warms_up_and_ends_exactly(kind: str, warmup: int, steps: int) -> None:
    schedule = Schedule(kind=kind, warmup_steps=warmup, decay_steps=steps - warmup)
    factors = [learning_rate_factor(schedule, step, steps) for step in range(steps + 1)]
    assert factors[-1] == 0.0
    assert all(0 < factor <= 1 for factor in factors[:-1])  # no step is wasted
    assert factors[max(warmup - 1, 0)] == 1.0
    assert factors[:warmup] == sorted(factors[:warmup])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)


def test_wsd_is_stable_until_its_decay() -> None:
    schedule = Schedule(kind="wsd", warmup_steps=10, decay_steps=20, final_fraction=0.1)
    factors = [learning_rate_factor(schedule, step, 100) for step in range(101)]
    assert set(factors[10:81]) == {1.0}
    assert factors[81] < 1.0
    assert factors[100] == 0.1


@pytest.mark.parametrize(
    "schedule", [Schedule(warmup_steps=40, decay_steps=40), Schedule(kind="cosine", warmup_steps=5, decay_steps=20)]
)
def test_must_fit_the_steps(spec: RunSpec, schedule: Schedule) -> None:
    with pytest.raises(SpecError, match="60"):
        replace(spec, schedule=schedule)
