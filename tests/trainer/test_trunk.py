"""Runs of one trunk: each equals the run that it would have been alone, whatever it began from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from trainer import RunRecord, RunSpec, branch_step, run_id, train, trunk_id
from trainer.execution import Execution


def branches(spec: RunSpec, lengths: Sequence[int]) -> list[RunSpec]:
    """Runs of a length each, whose last fifth decays."""
    return [
        replace(spec, steps=steps, schedule=replace(spec.schedule, kind="wsd", decay_steps=steps // 5))
        for steps in lengths
    ]


def result(record: RunRecord) -> RunRecord:
    """A record without what may differ between two attempts."""
    return replace(record, seconds=0.0, evaluation_seconds=0.0, resumed_at_step=0)


def test_a_trunk_is_what_differs_in_length_alone(spec: RunSpec) -> None:
    short, long = branches(spec, (50, 100))
    assert run_id(short) != run_id(long)
    assert trunk_id(short) == trunk_id(long)
    assert (branch_step(short), branch_step(long)) == (40, 80)
    others = (
        replace(short, seed=2),
        replace(short, batch_contexts=8),
        replace(short, optimizer=replace(short.optimizer, learning_rate=2e-2)),
        replace(short, schedule=replace(short.schedule, warmup_steps=6)),
        replace(short, model=replace(short.model, width=32)),
    )
    assert len({trunk_id(each) for each in (short, *others)}) == 6


@pytest.mark.parametrize("lengths", [(50, 80, 100), (100, 50, 80)])
def test_a_branch_equals_the_run_alone(spec: RunSpec, corpus: Path, tmp_path: Path, lengths: tuple[int, ...]) -> None:
    for branch in branches(spec, lengths):
        alone = train(branch, Execution(corpus=corpus))
        shared = train(branch, Execution(corpus=corpus, trunk=tmp_path))
        assert result(shared) == result(alone)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == [f"step-{step:012d}.safetensors" for step in (40, 64, 80)]


def test_a_branch_pays_for_what_no_other_has_done(spec: RunSpec, corpus: Path, tmp_path: Path) -> None:
    paid = []
    for branch in branches(spec, (50, 100, 80)):
        record = train(branch, Execution(corpus=corpus, trunk=tmp_path))
        paid.append(branch.steps - record.resumed_at_step)
    assert paid == [50, 100 - 40, 80 - 40]  # 80 branches at 64, after 50's branch at 40, before 100's at 80


def test_a_torn_or_foreign_trunk_costs_time_alone(spec: RunSpec, corpus: Path, tmp_path: Path) -> None:
    short, long = branches(spec, (50, 100))
    train(short, Execution(corpus=corpus, trunk=tmp_path))
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:-100])
    record = train(long, Execution(corpus=corpus, trunk=tmp_path))
    assert record.resumed_at_step == 0
    assert result(record) == result(train(long, Execution(corpus=corpus)))
