"""One run from its spec to its record: steps, checkpoints, divergence, and the evaluation at the end.

Run on CPUs. The CUDA path is the same code with torch's fused attention; nobody has run it on a GPU yet.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from trainer import checkpoint, compiling, optimizers
from trainer.backward import goes_by_hand, gradient_function, one_pass
from trainer.data import heldout
from trainer.data.batches import feed
from trainer.data.corpus import Corpus, load
from trainer.devices import limit_memory
from trainer.errors import DeviceError, DeviceOutOfMemory, SpecError
from trainer.evaluation import evaluate_corpus
from trainer.execution import Execution, Interrupted, Progress
from trainer.identity import run_id
from trainer.memory import device_bytes, footprint, keep_freed_memory
from trainer.models.networks import Network, build
from trainer.noise import look, noise_scale
from trainer.probing import probe
from trainer.record import Best, CurvePoint, Numerics, RunRecord
from trainer.schedule import learning_rate_factor
from trainer.spec import RECIPE_VERSION, RunSpec
from trainer.state import State, resume, save, start
from trainer.trunk import branch_step, trunk_id

STEPS_AHEAD = 32
"""Steps whose tokens are gathered at once, and whose losses are read back at once."""
CURVE_POINTS_PER_DECADE = 10
CHECKS = 50
"""Divergence is looked for this many times in a run."""
STRIKES = 5
"""Checks in a row with the smoothed loss above its start that end a run."""


def train(spec: RunSpec, execution: Execution) -> RunRecord:
    """Train and evaluate one run, from its newest checkpoint where there is one.

    Two runs of one spec under equal numerics give equal bits, interrupted or not.

    Raises:
        Interrupted: `execution.should_stop` said so; the state is in a checkpoint.
        SpecError: The spec asks for what this trainer or corpus does not have.
        CorpusError: The corpus is missing, torn, too small, or another one.
        CheckpointError: The checkpoint folder belongs to another run.
        DeviceError: The device is not there.
        DeviceOutOfMemory: The model and micro-batch do not fit the device.
    """
    try:
        with _process_settings(execution.threads):
            return _train(spec, execution)
    except (RuntimeError, MemoryError) as error:  # torch's own error for a GPU is a RuntimeError
        if not _is_out_of_memory(error):
            raise
        raise _no_room(spec, execution, error) from error


def _is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed, on a GPU or on the host: torch's allocator of CPU memory has no error of its own."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def _no_room(spec: RunSpec, execution: Execution, error: Exception) -> DeviceOutOfMemory:
    micro_batch = min(execution.micro_batch or spec.batch_contexts, spec.batch_contexts)
    on_gpu = execution.device == "cuda"
    needed = device_bytes(spec, micro_batch) if on_gpu else footprint(spec, micro_batch, fused=False).total
    share = f"{execution.gpus:g} GPU" if on_gpu else "cpu"
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return DeviceOutOfMemory(
        f"{share} has no memory for a micro-batch of {micro_batch} windows, which takes about {needed / 1e9:.2g} GB by the "
        f"memory model ({said}). Use smaller models or windows, or a device with more memory.",
        micro_batch=micro_batch,
        needed_bytes=needed,
    )


@contextmanager
def _process_settings(threads: int) -> Iterator[None]:
    """The process's numerics for one run; put back afterwards, for a run may share its process with other work."""
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")  # fp32 means fp32: no TF32 on a GPU
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_float32_matmul_precision(before[1])
        torch.set_num_threads(before[0])


def _train(spec: RunSpec, execution: Execution) -> RunRecord:
    started = time.monotonic()
    corpus = load(execution.corpus, expect=spec.data.corpus)
    numerics = _prepare(spec, execution, corpus)
    model = build(spec, execution.device)
    state = resume(spec, execution, numerics) or start(spec, execution.device)
    resumed_at = state.step
    eager_by_hand = goes_by_hand(model, execution.device) and not numerics.compiled
    with torch.no_grad(), torch.inference_mode(eager_by_hand):
        reason = _run_steps(spec, execution, corpus, model, state, numerics)
    record = RunRecord(
        status="diverged" if reason else "ok",
        tokens=spec.tokens_before(state.step),
        loss=None,
        loss_se=None,
        bpb=None,
        heldout_tokens=0,
        curve=tuple(state.curve),
        unique_tokens=feed(spec, corpus).unique_tokens,
        seconds=time.monotonic() - started,
        evaluation_seconds=0.0,
        resumed_at_step=resumed_at,
        numerics=numerics,
        reason=reason,
        noise_scale=noise_scale(state.noise, spec.steps),
    )
    return record if reason else _evaluated(record, spec, corpus, model, state, started)


def _evaluated(
    record: RunRecord, spec: RunSpec, corpus: Corpus, model: Network, state: State, started: float
) -> RunRecord:
    began = time.monotonic()
    result = evaluate_corpus(model, state.parameters, corpus, spec.data)
    answers = probe(model, state.parameters, corpus, spec.data) if spec.data.probe else None
    ended = time.monotonic()
    return replace(
        record,
        loss=result.loss,
        loss_se=result.loss_se,
        bpb=result.bpb,
        heldout_tokens=result.tokens,
        sources=result.sources,
        positions=result.positions,
        best=state.best,
        probe=answers,
        seconds=ended - started,
        evaluation_seconds=ended - began + state.looking_seconds,
    )


def _prepare(spec: RunSpec, execution: Execution, corpus: Corpus) -> Numerics:
    """Name the numerics, and refuse what would fail only after training."""
    if spec.trainer is None and spec.recipe != RECIPE_VERSION:
        raise SpecError(
            f"the spec is of recipe {spec.recipe}; this trainer is {RECIPE_VERSION} and would give other losses. "
            "Use the version of isoflop that planned it, or plan anew."
        )
    if spec.model.vocab < corpus.manifest.vocab:
        raise SpecError(
            f"the model has {spec.model.vocab} token ids; the corpus has {corpus.manifest.vocab}. "
            "Set the model's vocabulary to the corpus's."
        )
    feed(spec, corpus)
    heldout.check(corpus.manifest, spec.data, context=spec.model.context)
    if execution.device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "device is 'cuda' and torch sees no GPU here; expected one. Use 'cpu', or a machine with a GPU."
        )
    compiled = execution.compile and compiling.is_served(spec)
    if compiled:
        compiling.check_compiler(execution.device)
    keep_freed_memory()
    if execution.device == "cuda":
        limit_memory(execution.gpus)
    name = torch.cuda.get_device_name() if execution.device == "cuda" else platform.machine()
    return Numerics(
        device=f"{execution.device}:{name}",
        torch=torch.__version__,
        threads=execution.threads,
        micro_batch=min(execution.micro_batch or spec.batch_contexts, spec.batch_contexts),
        compiled=compiled,
    )


def _run_steps(
    spec: RunSpec, execution: Execution, corpus: Corpus, model: Network, state: State, numerics: Numerics
) -> str | None:
    """Take all steps that remain; gives the reason where the run diverged."""
    gradient = torch.empty_like(state.parameters)
    execution.on_progress(Progress(step=state.step, steps=spec.steps, train_loss=None))
    gradient_of = gradient_function(spec, model, state, gradient, numerics.micro_batch, compiled=numerics.compiled)
    update = optimizers.bind(spec, state.parameters, gradient, state.optimizer)
    looked = set(heldout.during_steps(spec.steps, spec.data.during))
    recorded = {*_curve_steps(spec), *looked}
    fork = branch_step(spec) if execution.trunk else None
    check_every = max(1, spec.steps // CHECKS)
    polled = saved = time.monotonic()
    part = torch.empty_like(gradient) if spec.noise_every else None
    of_part = None if part is None else one_pass(model, state.parameters, part)
    for tokens_BT in _batches(spec, corpus, execution.device, state.step):
        if part is not None and of_part is not None and state.step % spec.noise_every == 0:
            state.noise += filter(None, [look(tokens_BT, state.step, of_part, part)])
        state.unread.append(gradient_of(tokens_BT))
        optimizers.clip(gradient, tokens_BT[:, 1:].numel(), spec.optimizer.clip_norm)
        factor = learning_rate_factor(spec.schedule, state.step, spec.steps)
        update(state.step, factor)
        state.step += 1
        if state.step in recorded or state.step % check_every == 0 or len(state.unread) == STEPS_AHEAD:
            _read_losses(state, spec)
        if state.step % check_every == 0 and (reason := _divergence(state)):
            return reason
        if state.step in recorded:
            lr = spec.optimizer.learning_rate * factor
            heldout_loss = _look(spec, corpus, model, state) if state.step in looked else None
            tokens = spec.tokens_before(state.step)
            state.curve.append(CurvePoint(tokens=tokens, train_loss=state.smoothed, lr=lr, heldout_loss=heldout_loss))
        if state.step == fork:
            _leave_trunk(spec, execution, state, numerics)
        now = time.monotonic()
        if now - polled >= execution.poll_seconds:
            polled = now
            _read_losses(state, spec)
            stop = execution.should_stop()
            if stop or now - saved >= execution.checkpoint_seconds:
                saved = now
                save(execution.checkpoints, run_id(spec), state, numerics)
            execution.on_progress(Progress(step=state.step, steps=spec.steps, train_loss=state.smoothed))
            if stop:
                raise Interrupted(f"asked to stop after step {state.step} of {spec.steps}")
    return None


def _look(spec: RunSpec, corpus: Corpus, model: Network, state: State) -> float:
    """Loss on the tuning split; where it is the best so far, the held-out loss beside it is kept."""
    began = time.monotonic()
    tuning = evaluate_corpus(model, state.parameters, corpus, spec.data, split="tuning").loss
    if state.best is None or tuning < state.best.tuning_loss:
        result = evaluate_corpus(model, state.parameters, corpus, spec.data)
        tokens = spec.tokens_before(state.step)
        state.best = Best(tokens=tokens, tuning_loss=tuning, loss=result.loss, loss_se=result.loss_se)
    state.looking_seconds += time.monotonic() - began
    return tuning


def _batches(spec: RunSpec, corpus: Corpus, device: str, step: int) -> Iterator[Tensor]:
    """Tokens of every step from `step` on, each of shape (windows, context + 1)."""
    reading = feed(spec, corpus)
    while step < spec.steps:
        size = spec.windows_of(step)
        alike = (ahead for ahead in range(step, min(step + STEPS_AHEAD, spec.steps)) if spec.windows_of(ahead) == size)
        count = sum(1 for _ in alike)  # sizes only grow
        tokens = reading.windows(spec.windows_before(step), count * size)
        yield from torch.from_numpy(tokens).to(device).view(count, size, -1)
        step += count


def _read_losses(state: State, spec: RunSpec) -> None:
    """Fold the losses of the latest steps into the smoothed one, in the order of steps."""
    if not state.unread:
        return
    first = state.step - len(state.unread) + 1
    for step, total in enumerate(torch.stack(state.unread).tolist(), first):
        loss = total / (spec.windows_of(step - 1) * spec.model.context)
        if step == 1:
            state.start = state.smoothed = loss
        state.smoothed += (loss - state.smoothed) / min(step, max(10, step / 10))
    state.unread.clear()


def _divergence(state: State) -> str | None:
    if not math.isfinite(state.smoothed):
        return f"training loss is not finite at step {state.step}"
    state.strikes = state.strikes + 1 if state.smoothed > state.start else 0
    if state.strikes < STRIKES:
        return None
    return (
        f"smoothed training loss {state.smoothed:.3f} at step {state.step} is above its start, {state.start:.3f}, "
        f"for {STRIKES} checks"
    )


def _curve_steps(spec: RunSpec) -> list[int]:
    """Log-spaced steps from the first to the last; those of a trunk are the same for every length."""
    if spec.schedule.kind == "wsd":
        decades = math.log10(spec.steps) * CURVE_POINTS_PER_DECADE
        return sorted(
            {round(10 ** (k / CURVE_POINTS_PER_DECADE)) for k in range(math.floor(decades) + 1)} | {spec.steps}
        )
    count = math.ceil(math.log10(spec.steps) * CURVE_POINTS_PER_DECADE) if spec.steps > 1 else 0
    return sorted({round(spec.steps ** (k / max(count, 1))) for k in range(count + 1)} | {spec.steps})


def _leave_trunk(spec: RunSpec, execution: Execution, state: State, numerics: Numerics) -> None:
    """Keep the state that longer runs of the trunk go on from, unless another left it already."""
    assert execution.trunk is not None
    if not (execution.trunk / checkpoint.name_of(state.step)).exists():
        _read_losses(state, spec)
        save(execution.trunk, trunk_id(spec), state, numerics, keep=None)
