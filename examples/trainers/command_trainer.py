"""A trainer that is a command: `trainer: {command: ["{python}", command_trainer.py]}` in the sweep file.

It knows nothing of isoflop but files: the spec is JSON, the text is bytes, the result is JSON. A trainer in another
language, or one that torchrun starts, looks the same.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from gpt import GPT, heldout_loss

SPEC = json.loads(Path(os.environ["ISOFLOP_SPEC"]).read_text())
CORPUS, CHECKPOINTS = Path(os.environ["ISOFLOP_CORPUS"]), Path(os.environ["ISOFLOP_CHECKPOINTS"])


def replace(path: Path, text: str) -> None:
    """Write a file so that nobody ever reads half of it."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def rate(step: int) -> float:
    """Warm-up, then linearly to zero at exactly the last step."""
    schedule, peak = SPEC["schedule"], SPEC["optimizer"]["learning_rate"]
    warmup = schedule["warmup_steps"]
    return peak * min((step + 1) / max(warmup, 1), (SPEC["steps"] - step) / (SPEC["steps"] - warmup))


def main() -> None:
    """Train, and leave a record."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    torch.manual_seed(SPEC["seed"])
    context, count = SPEC["model"]["context"], SPEC["batch_contexts"]
    text = np.memmap(CORPUS / "train.bin", mode="r", dtype=np.uint8)
    model = GPT(SPEC["model"])
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    saved, first = CHECKPOINTS / "newest.pt", 0
    if saved.exists():
        state = torch.load(saved)
        first = state["step"]
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    curve = []
    for step in range(first, SPEC["steps"]):
        if stop:
            state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, CHECKPOINTS / ".newest.pt")
            (CHECKPOINTS / ".newest.pt").replace(saved)
            sys.exit("stopped, with a checkpoint")
        draw = np.random.default_rng([SPEC["seed"], step])  # a function of seed and step: a resumed run draws the same
        starts = draw.integers(0, len(text) - context - 1, count)
        windows = torch.from_numpy(np.stack([text[start : start + context + 1] for start in starts]).astype(np.int64))
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        loss = model.loss(windows)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % max(1, SPEC["steps"] // 20) == 0:
            done = {"step": step + 1, "steps": SPEC["steps"], "train_loss": loss.item()}
            replace(Path(os.environ["ISOFLOP_PROGRESS"]), json.dumps(done))
            curve.append({"tokens": (step + 1) * count * context, "train_loss": loss.item(), "lr": rate(step)})
            print(done, flush=True)  # into the attempt's log
    heldout = np.memmap(CORPUS / "heldout.bin", mode="r", dtype=np.uint8)
    record = {
        "loss": heldout_loss(model, heldout, context, SPEC["data"]["heldout_tokens"]),
        "tokens": SPEC["steps"] * count * context,
        "heldout_tokens": SPEC["data"]["heldout_tokens"] // context * context,
        "curve": curve,
        "resumed_at_step": first,
        "device": "cpu",
        "software": f"torch {torch.__version__}",
    }
    replace(Path(os.environ["ISOFLOP_RECORD"]), json.dumps(record))


if __name__ == "__main__":
    main()
