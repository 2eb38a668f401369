"""A batch that grows: exact tokens, every window once, and equal bits after an interruption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trainer import RunSpec, SpecError, from_dict, recipe, run_id, to_dict, train
from trainer.data.corpus import load
from trainer.execution import Execution, Interrupted
from trainer.training import _batches


@pytest.fixture
def growing(spec: RunSpec) -> RunSpec:
    """Ten steps of one window, forty of two, then ten of four: 60 in all."""
    return replace(spec, ramp_steps=(10, 40))


def test_tokens_are_those_of_every_step(growing: RunSpec) -> None:
    assert [growing.windows_of(step) for step in (0, 9, 10, 49, 50, 59)] == [1, 1, 2, 2, 4, 4]
    assert growing.tokens == (10 * 1 + 40 * 2 + 10 * 4) * 32
    assert growing.tokens_before(12) == 14 * 32
    assert from_dict(to_dict(growing)) == growing
    assert run_id(growing) != run_id(replace(growing, ramp_steps=()))
    assert "ramp_steps" not in to_dict(replace(growing, ramp_steps=()))


def test_reads_the_windows_that_a_whole_batch_reads(growing: RunSpec, corpus: Path) -> None:
    """The order of the data does not depend on how it is cut into steps, nor on where reading begins."""
    opened = load(corpus)
    grown = [window for batch in _batches(growing, opened, "cpu", 0) for window in batch.tolist()]
    whole = [
        window for batch in _batches(replace(growing, ramp_steps=()), opened, "cpu", 0) for window in batch.tolist()
    ]
    assert grown == whole[: len(grown)]
    late = [window for batch in _batches(growing, opened, "cpu", 45) for window in batch.tolist()]
    assert late == grown[growing.windows_before(45) :]


def test_continues_with_equal_bits(growing: RunSpec, corpus: Path, tmp_path: Path) -> None:
    whole = train(growing, Execution(corpus=corpus))
    assert whole.tokens == whole.curve[-1].tokens == growing.tokens
    stops = iter([*[False] * 30, True, *[False] * 1000])
    execution = Execution(
        corpus=corpus, checkpoints=tmp_path, poll_seconds=0.0, checkpoint_seconds=0.0, should_stop=lambda: next(stops)
    )
    with pytest.raises(Interrupted):
        train(growing, execution)
    resumed = train(growing, execution)
    assert resumed.resumed_at_step == 31
    assert (resumed.loss, resumed.curve) == (whole.loss, whole.curve)


@pytest.mark.parametrize("ramp", [(5, 5, 5), (30, 30)])
def test_must_fit_the_batch_and_the_steps(spec: RunSpec, ramp: tuple[int, ...]) -> None:
    with pytest.raises(SpecError, match="expected a batch that can be halved"):
        replace(spec, ramp_steps=ramp)


def test_shares_of_tokens_become_steps() -> None:
    steps = recipe.ramp_steps(1e6, 16, 64, doublings=2, share=0.2)
    assert steps == (391, 195)
    assert [count * size * 64 for count, size in zip(steps, (4, 8), strict=True)] == pytest.approx([1e5, 1e5], rel=0.01)
