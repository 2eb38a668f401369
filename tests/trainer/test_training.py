"""Runs from end to end: equal bits however they are interrupted, divergence, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer import AdamW, CorpusError, DeviceError, RunRecord, RunSpec, SpecError, run_id, to_dict, train
from trainer.backward import by_autograd, by_hand
from trainer.data.corpus import load
from trainer.execution import Execution, Interrupted, Progress
from trainer.models.networks import build, initialize
from trainer.state import State


def result(record: RunRecord) -> RunRecord:
    """A record without what may differ between two attempts."""
    return replace(record, seconds=0.0, evaluation_seconds=0.0, resumed_at_step=0)


def test_learns_and_repeats_bit_for_bit(spec: RunSpec, corpus: Path) -> None:
    spec = replace(spec, steps=200, schedule=replace(spec.schedule, decay_steps=195))
    first, second = train(spec, Execution(corpus=corpus)), train(spec, Execution(corpus=corpus))
    assert result(first) == result(second)
    assert first.status == "ok"
    assert first.loss is not None
    assert first.loss < 3.2  # ln 16 letters is 2.8; it starts at 5.5
    assert first.tokens == spec.tokens == 200 * 4 * 32
    assert first.curve[0].train_loss == pytest.approx(np.log(256), abs=1e-3)
    assert [point.tokens for point in first.curve] == sorted({point.tokens for point in first.curve})
    assert first.curve[-1].tokens == spec.tokens
    assert first.heldout_tokens == 2048
    other = train(replace(spec, seed=2), Execution(corpus=corpus))
    assert other.loss != first.loss


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_interrupted_run_gives_equal_bits(spec: RunSpec, corpus: Path, tmp_path: Path, precision: str) -> None:
    spec = replace(spec, precision=precision)  # type: ignore[arg-type]
    whole = train(spec, Execution(corpus=corpus))
    stops = iter([*[False] * 6, True, *[False] * 10, True, *[False] * 1000])
    execution = Execution(
        corpus=corpus, checkpoints=tmp_path, poll_seconds=0.0, checkpoint_seconds=0.0, should_stop=lambda: next(stops)
    )
    for _ in range(2):
        with pytest.raises(Interrupted, match="asked to stop"):
            train(spec, execution)
    resumed = train(spec, execution)
    assert resumed.resumed_at_step == 7 + 11
    assert result(resumed) == result(whole)


def test_a_killed_run_gives_equal_bits(spec: RunSpec, corpus: Path, tmp_path: Path) -> None:
    program = (
        "import json, sys, pathlib, trainer\nfrom trainer.execution import Execution\n"
        "spec = trainer.from_dict(json.loads(sys.argv[1]))\n"
        "trainer.train(spec, Execution(corpus=pathlib.Path(sys.argv[2]), checkpoints=pathlib.Path(sys.argv[3]),"
        " poll_seconds=0.0, checkpoint_seconds=0.0))"
    )
    spec = replace(spec, steps=800, schedule=replace(spec.schedule, decay_steps=795))
    arguments = [sys.executable, "-c", program, json.dumps(to_dict(spec)), str(corpus), str(tmp_path)]
    child = subprocess.Popen(arguments, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("step-*"))) < 2 and time.monotonic() < deadline:
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    newest = max(tmp_path.glob("step-*"))
    newest.write_bytes(newest.read_bytes()[:-1])  # as if the machine had gone down with it
    resumed = train(spec, Execution(corpus=corpus, checkpoints=tmp_path))
    assert 0 < resumed.resumed_at_step < 800
    assert result(resumed) == result(train(spec, Execution(corpus=corpus)))


def test_micro_batches_change_only_rounding(spec: RunSpec, corpus: Path) -> None:
    whole = train(spec, Execution(corpus=corpus))
    parts = train(spec, Execution(corpus=corpus, micro_batch=3))
    assert parts.numerics.micro_batch == 3
    assert parts.loss == pytest.approx(whole.loss, abs=1e-3)
    assert parts.numerics.signature != whole.numerics.signature


def test_by_hand_and_by_autograd_are_one_function(spec: RunSpec, corpus: Path) -> None:
    """The path of a GPU, on a CPU."""
    model, flat = build(spec), initialize(spec.model, spec.parametrization, seed=0)
    flat += 0.1 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(0))
    tokens_BT = torch.randint(256, (4, 33), generator=torch.Generator().manual_seed(1))
    gradients = [torch.empty_like(flat), torch.empty_like(flat)]
    with torch.no_grad():
        losses = [
            make(model, flat, out)(tokens_BT) for make, out in zip((by_hand, by_autograd), gradients, strict=True)
        ]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-6)
    assert (gradients[0] - gradients[1]).norm() < 5e-6 * gradients[0].norm()


@pytest.mark.parametrize(("rate", "reason"), [(1e38, "not finite"), (3e3, "above its start")])
def test_divergence_is_a_result(spec: RunSpec, corpus: Path, rate: float, reason: str) -> None:
    spec = replace(spec, optimizer=AdamW(learning_rate=rate, clip_norm=None))
    record = train(spec, Execution(corpus=corpus))
    assert record.status == "diverged"
    assert record.loss is None
    assert record.reason is not None
    assert reason in record.reason
    assert record.tokens < spec.tokens


def test_tells_how_far_it_is(spec: RunSpec, corpus: Path) -> None:
    seen: list[Progress] = []
    train(spec, Execution(corpus=corpus, poll_seconds=0.0, on_progress=seen.append))
    assert [progress.step for progress in seen] == list(range(61))
    losses = [progress.train_loss for progress in seen]
    assert losses[0] is None
    assert losses[1] is not None
    assert losses[-1] is not None
    assert losses[-1] < losses[1]


def test_sees_only_the_training_split(spec: RunSpec, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held-out text may change at will and no parameter does: the tuning score, read from another split, is the same."""
    spec = replace(spec, data=replace(spec.data, split="tuning"))
    untouched = train(spec, Execution(corpus=corpus))
    opened = load(corpus)
    source = replace(opened.sources[0], heldout=np.zeros_like(opened.heldout))
    garbled = replace(opened, sources=(source,))
    monkeypatch.setattr("trainer.training.load", lambda folder, expect: garbled)
    assert result(train(spec, Execution(corpus=corpus))) == result(untouched)


def test_refuses_what_would_fail_after_training(spec: RunSpec, corpus: Path, tmp_path: Path) -> None:
    execution = Execution(corpus=corpus)
    with pytest.raises(CorpusError, match="no corpus in"):
        train(spec, Execution(corpus=tmp_path))
    with pytest.raises(CorpusError, match="the run expects"):
        train(replace(spec, data=replace(spec.data, corpus="f" * 64)), execution)
    with pytest.raises(CorpusError, match="Set heldout_tokens between"):
        train(replace(spec, data=replace(spec.data, heldout_tokens=10**9)), execution)
    with pytest.raises(SpecError, match="128 token ids; the corpus has 256"):
        train(replace(spec, model=replace(spec.model, vocab=128)), execution)
    with pytest.raises(SpecError, match="recipe 0"):
        train(replace(spec, recipe=0), execution)
    wrapped = replace(spec, recipe=1, trainer="theirs:train")  # a trainer of the user's own may call this one
    assert train(wrapped, execution).loss == train(spec, execution).loss
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="sees no GPU"):
            train(spec, Execution(corpus=corpus, device="cuda"))


def test_the_state_that_is_saved_is_the_whole_state() -> None:
    """A new field of State must enter the checkpoint."""
    assert set(State.__annotations__) == {
        "parameters", "optimizer", "step", "smoothed", "start", "strikes", "curve", "best", "unread", "noise",
        "looking_seconds",  # of this attempt alone
    }  # fmt: skip


def test_identity_is_all_that_decides_the_result(spec: RunSpec) -> None:
    changed = [replace(spec, seed=2), replace(spec, data=replace(spec.data, split="tuning"))]
    assert len({run_id(each) for each in (spec, *changed)}) == 3


def test_leaves_the_process_as_it_was(spec: RunSpec, corpus: Path) -> None:
    threads = torch.get_num_threads()
    train(spec, Execution(corpus=corpus, threads=threads + 1))
    assert torch.get_num_threads() == threads
    assert np.float32(1e-40) * np.float32(1) > 0  # subnormal numbers are not flushed
