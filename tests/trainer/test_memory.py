"""The memory model against torch's own bytes, and what follows where memory runs out."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer import (
    DeviceOutOfMemory,
    RunSpec,
    backward,
    count_params,
    devices,
    evaluation,
    memory,
    optimizers,
    training,
)
from trainer.memory import footprint, largest_micro_batch
from trainer.models.networks import build, initialize
from trainer.models.parameters import matrices
from trainer.noise import look
from trainer.spec import LSTM, SGD, AdamW, Data, Muon, Schedule, Transformer
from trainer.state import State

BASE: dict[str, Any] = {"layers": 2, "width": 48, "heads": 2, "ffn_width": 192, "vocab": 256, "context": 64}
SHAPES = {
    "gelu": Transformer(**BASE),
    "swiglu": Transformer(**BASE, activation="swiglu"),
    "relu2": Transformer(**BASE, activation="relu2"),
    "shared keys": Transformer(**BASE, kv_heads=1),
    "learned positions": Transformer(**BASE, positions="learned"),
    "normed queries": Transformer(**BASE, qk_norm=True),
    "tied head": Transformer(**BASE, tied_head=True),
    "experts": Transformer(**BASE, experts=4, active_experts=2),
    "deep": Transformer(**BASE | {"layers": 5, "context": 32}),
    "lstm": LSTM(layers=2, width=48, vocab=256, context=32),
}
OPTIMIZERS = {
    "adamw": AdamW(learning_rate=0.01),
    "sgd": SGD(learning_rate=0.01),
    "muon": Muon(learning_rate=0.01, adam_learning_rate=0.01),
}


def spec_of(shape: Any, **changes: Any) -> RunSpec:
    spec = RunSpec(
        model=shape,
        data=Data(corpus="c", heldout_tokens=64),
        steps=10,
        batch_contexts=4,
        optimizer=OPTIMIZERS["adamw"],
        schedule=Schedule(warmup_steps=1, decay_steps=9),
    )
    return replace(spec, **changes)


def saved_bytes(spec: RunSpec) -> int:
    """Bytes that autograd keeps from the forward pass, parameters and their copies left out, each storage once."""
    network = build(spec)
    flat = initialize(spec.model, spec.parametrization, 0).requires_grad_()
    tokens_BT = torch.randint(0, spec.model.vocab, (spec.batch_contexts, spec.model.context + 1))
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        weights = matrices(network, flat)
        network.losses(weights, tokens_BT[:, :-1], tokens_BT[:, 1:])
    ours = {matrix.untyped_storage().data_ptr() for matrix in weights.values()}
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    return sum(size for place, size in storages.items() if place not in ours)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", SHAPES)
def test_activations_are_what_autograd_keeps(name: str, precision: Any) -> None:
    """Within 2 %, which are tables that are counted elsewhere; a recurrent network in bf16 is taken 10 % too large."""
    spec = spec_of(SHAPES[name], precision=precision)
    counted = footprint(spec, fused=False).activations
    high = 1.15 if name == "lstm" else 1.02
    assert 0.98 < counted / saved_bytes(spec) < high


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_the_optimisers_state_is_exact(rule: str) -> None:
    spec = spec_of(SHAPES["gelu"], optimizer=OPTIMIZERS[rule])
    parameters = initialize(spec.model, spec.parametrization, 0)
    state = sum(tensor.nbytes for tensor in optimizers.start(spec, parameters).values())
    assert footprint(spec).optimizer == state


def step_peak(spec: RunSpec, micro_batch: int | None, monkeypatch: pytest.MonkeyPatch) -> int:
    """Most bytes that were allocated at one time during two steps by the GPU's path, on the CPU, by torch's profiler."""
    monkeypatch.setattr(backward, "goes_by_hand", lambda model, device: False)
    network = build(spec)

    def steps() -> None:
        parameters = initialize(spec.model, spec.parametrization, 0)
        state = State(parameters=parameters, optimizer=optimizers.start(spec, parameters))
        gradient = torch.empty_like(parameters)
        gradient_of = backward.gradient_function(spec, network, state, gradient, micro_batch or spec.batch_contexts)
        update = optimizers.bind(spec, parameters, gradient, state.optimizer)
        tokens_BT = torch.randint(0, spec.model.vocab, (spec.batch_contexts, spec.model.context + 1))
        part = torch.empty_like(gradient) if spec.noise_every else None
        with torch.no_grad():
            for step in range(2):
                if part is not None:
                    look(tokens_BT, step, backward.one_pass(network, parameters, part), part)
                gradient_of(tokens_BT)
                update(step, 1.0)

    steps()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        steps()
    events = profile.profiler.kineto_results.events()  # type: ignore[union-attr]
    held = peak = 0
    for event in sorted((event for event in events if event.name() == "[memory]"), key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@pytest.mark.parametrize(
    ("name", "precision", "rule", "micro_batch"),
    [
        ("gelu", "fp32", "adamw", None),
        ("gelu", "bf16", "adamw", 1),
        ("swiglu", "fp32", "muon", 1),
        ("experts", "bf16", "sgd", None),
        ("lstm", "fp32", "adamw", None),
    ],
)
def test_the_sum_is_a_steps_peak_or_little_more(
    name: str, precision: Any, rule: str, micro_batch: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never more than 5 % too small; up to 40 % too large, since its largest parts are not there at one time."""
    monkeypatch.setattr(memory, "EVALUATION_TOKENS", 0)  # a step has no evaluation
    spec = spec_of(SHAPES[name], precision=precision, optimizer=OPTIMIZERS[rule])
    counted = footprint(spec, micro_batch, fused=False)
    ratio = (counted.total - counted.tables) / step_peak(spec, micro_batch, monkeypatch)
    assert 0.95 < ratio < 1.4


def test_measuring_the_noise_takes_two_more_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "EVALUATION_TOKENS", 0)
    wide = replace(SHAPES["gelu"], width=256, heads=4, ffn_width=1024, context=8)
    spec = spec_of(wide, batch_contexts=2)  # parameters are nearly all that it holds
    asked = replace(spec, noise_every=1)
    vector = 4 * count_params(wide).total
    assert footprint(asked).gradient - footprint(spec).gradient == 2 * vector
    assert step_peak(asked, None, monkeypatch) - step_peak(spec, None, monkeypatch) == pytest.approx(
        2 * vector, rel=0.5
    )  # at a look's peak the update's own temporary vectors are not there


def test_constants_are_the_trainers_own() -> None:
    assert (memory.TOKENS_AHEAD, memory.EVALUATION_TOKENS) == (training.STEPS_AHEAD, evaluation.EVALUATION_TOKENS)


def test_the_micro_batch_that_fits_is_the_largest() -> None:
    spec = spec_of(replace(SHAPES["gelu"], context=2048, width=512, heads=8), batch_contexts=16)
    for windows in (16, 8, 4, 2, 1):
        room = memory.device_bytes(spec, windows)
        assert largest_micro_batch(spec, room) == windows
        assert (largest_micro_batch(spec, room - 1) or 0) < windows
    assert largest_micro_batch(spec, 1e6) is None


def test_a_share_of_a_gpu_is_a_share_of_its_memory() -> None:
    """The allocator's limit does not count what a process takes before its first tensor."""
    assert devices.memory_share(1.0, 80e9) == devices.memory_share(0.0, 80e9) == devices.memory_share(2.0, 80e9) == 1.0
    assert devices.memory_share(0.25, 80e9) * 80e9 + memory.CONTEXT == pytest.approx(20e9)
    assert devices.memory_share(0.05, 8e9) == 0.025


# --- running out


def test_a_torch_error_of_a_gpu_becomes_ours_with_the_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from trainer.execution import Execution

    def fail(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nmore lines")

    monkeypatch.setattr(training, "_train", fail)
    spec = spec_of(SHAPES["gelu"])
    with pytest.raises(DeviceOutOfMemory) as raised:
        training.train(spec, Execution(corpus=tmp_path, device="cuda", gpus=0.25, micro_batch=2))
    assert raised.value.micro_batch == 2
    assert raised.value.needed_bytes == memory.device_bytes(spec, 2)
    assert "0.25 GPU has no memory for a micro-batch of 2 windows, which takes about 0.65 GB" in str(raised.value)
    assert "more lines" not in str(raised.value)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (again.micro_batch, again.needed_bytes, str(again)) == (2, raised.value.needed_bytes, str(raised.value))


def test_other_runtime_errors_stay_what_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from trainer.execution import Execution

    def fail(*arguments: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(training, "_train", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        training.train(spec_of(SHAPES["gelu"]), Execution(corpus=tmp_path))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a limit on the address space")
def test_a_host_without_memory_is_told_from_a_bug_and_smaller_parts_fit(tmp_path: Path) -> None:
    """A process with a limit on its address space: the whole batch does not fit, one window does."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MEMORY, str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("cpu has no memory for a micro-batch of 256 windows, which takes about ")
    assert second == "ok"


WITHOUT_MEMORY = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from trainer import AdamW, Data, DeviceOutOfMemory, RunSpec, Schedule, Transformer, train
from trainer.data.corpus import snapshot
from trainer.execution import Execution
from trainer.memory import footprint
from trainer.data.sources import TextFiles
import trainer.training

folder = Path(sys.argv[1])
(folder / "tiny.txt").write_text("".join(f"line {i * i % 9973} of words {i}\\n" * 3 for i in range(20_000)))
manifest = snapshot(TextFiles(paths=(str(folder / "tiny.txt"),)), folder / "corpus")
spec = RunSpec(
    model=Transformer(layers=4, width=64, heads=4, ffn_width=256, vocab=256, context=64),
    data=Data(corpus=manifest.hash, heldout_tokens=1024), steps=1, batch_contexts=256,
    optimizer=AdamW(learning_rate=.01), schedule=Schedule(warmup_steps=0, decay_steps=1),
)
execution = Execution(corpus=folder / "corpus")
train(replace(spec, batch_contexts=1), execution)  # everything that is loaded once
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + footprint(spec, fused=False).total // 2,) * 2)
try:
    train(spec, execution)
except DeviceOutOfMemory as error:
    print(error)
print(train(spec, replace(execution, micro_batch=8)).status)
"""
