"""A trainer that is a function: `trainer: function_trainer:train` in the sweep file."""

from __future__ import annotations

import time

import torch
from gpt import GPT, heldout_loss

from trainer import CurvePoint, Numerics, RunRecord, RunSpec, to_dict
from trainer.data.batches import batch
from trainer.data.corpus import load
from trainer.execution import Execution, Interrupted, Progress
from trainer.schedule import learning_rate_factor


def train(spec: RunSpec, execution: Execution) -> RunRecord:
    """Train a spec's shape for its steps with torch.optim.AdamW, from a checkpoint where there is one."""
    started = time.monotonic()
    torch.set_num_threads(execution.threads)
    torch.manual_seed(spec.seed)
    corpus = load(execution.corpus, expect=spec.data.corpus)
    text, context = corpus.sources[0].train, spec.model.context
    model = GPT(to_dict(spec)["model"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.optimizer.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(spec.schedule, step, spec.steps)
    )
    first, curve, smoothed = 0, [], None
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    saved = execution.checkpoints / "newest.pt" if execution.checkpoints else None
    if saved is not None and saved.exists():
        state = torch.load(saved)
        first, smoothed = state.pop("step"), state.pop("smoothed")
        for name, values in state.items():
            parts[name].load_state_dict(values)
    for step in range(first, spec.steps):
        execution.on_progress(Progress(step=step, steps=spec.steps, train_loss=smoothed))
        if execution.should_stop():  # Ctrl-C, isoflop cancel, or a spot machine's notice
            if saved is not None:
                saved.parent.mkdir(parents=True, exist_ok=True)
                state = {name: part.state_dict() for name, part in parts.items()}
                torch.save(state | {"step": step, "smoothed": smoothed}, saved.with_name(".newest.pt"))
                saved.with_name(".newest.pt").replace(saved)  # so that nobody ever reads half of it
            raise Interrupted(f"stopped at step {step}")
        windows = batch(text, seed=spec.seed, step=step, batch_contexts=spec.batch_contexts, context=context)
        loss = model.loss(torch.from_numpy(windows))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        smoothed = loss.item() if smoothed is None else smoothed + 0.1 * (loss.item() - smoothed)
        if (step + 1) % max(1, spec.steps // 20) == 0:
            rate = optimizer.param_groups[0]["lr"]
            curve.append(CurvePoint(tokens=(step + 1) * spec.batch_tokens, train_loss=smoothed, lr=rate))
    trained = time.monotonic()
    return RunRecord(
        status="ok",
        tokens=spec.tokens,
        loss=heldout_loss(model, corpus.sources[0].heldout, context, spec.data.heldout_tokens),
        loss_se=None,
        bpb=None,
        heldout_tokens=spec.data.heldout_tokens // context * context,
        curve=tuple(curve),
        unique_tokens=len(text),
        seconds=time.monotonic() - started,
        evaluation_seconds=time.monotonic() - trained,
        resumed_at_step=first,
        numerics=Numerics(
            device="cpu", torch=torch.__version__, threads=execution.threads, micro_batch=spec.batch_contexts
        ),
    )
