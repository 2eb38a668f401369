"""A command that trains nothing, in the ways in which commands end: `python tiny_command.py WAY`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RECORD = Path(os.environ["ISOFLOP_RECORD"])
CHECKPOINTS = Path(os.environ["ISOFLOP_CHECKPOINTS"])
SPEC = json.loads(Path(os.environ["ISOFLOP_SPEC"]).read_text())
TOKENS = int(os.environ["ISOFLOP_TOKENS"])


def write(**values: Any) -> None:
    record = {"loss": 2.0 + SPEC["model"]["width"] / 1000, "tokens": TOKENS} | values
    RECORD.write_text(json.dumps(record))


def report(step: int) -> None:
    path = Path(os.environ["ISOFLOP_PROGRESS"])
    path.with_suffix(".new").write_text(json.dumps({"step": step, "steps": SPEC["steps"], "train_loss": 3.0}))
    path.with_suffix(".new").replace(path)


def checkpoint_when_asked() -> None:
    """Go on until SIGTERM, then leave a checkpoint; from a checkpoint, finish."""
    saved = CHECKPOINTS / "state.json"
    if saved.exists():
        write(resumed_at_step=json.loads(saved.read_text())["step"])
        return

    def stop(number: int, frame: object) -> None:
        saved.write_text(json.dumps({"step": 7}))
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    report(7)
    while True:
        time.sleep(1)


def hang_with_a_child() -> None:
    """Ignore SIGTERM, with a child that does, too; both are named in a file."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "300"], preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    (CHECKPOINTS / "pids.new").write_text(f"{os.getpid()} {child.pid}")
    (CHECKPOINTS / "pids.new").replace(CHECKPOINTS / "pids")
    report(1)
    time.sleep(300)


def say_devices() -> None:
    """The GPUs that it sees go into its record."""
    write(device="cuda:" + os.environ.get("CUDA_VISIBLE_DEVICES", "none"))


WAYS = {
    "ok": lambda: (sys.stdout.write("a word for the log\n"), write(loss_se=0.01, bpb=3.1, heldout_tokens=4096, seconds=1.5)),
    "curve": lambda: write(curve=[{"tokens": 64, "train_loss": 5.0, "lr": 0.1}, {"tokens": 128, "train_loss": 4, "lr": 0}]),
    "diverged": lambda: write(status="diverged", loss=None, tokens=64, reason="loss is not finite"),
    "nothing": lambda: None,
    "torn": lambda: RECORD.write_text('{"loss": 2.'),
    "list": lambda: RECORD.write_text("[1]"),
    "nan": lambda: write(loss=float("nan")),
    "text": lambda: write(loss="2.0"),
    "no-loss": lambda: write(loss=None),
    "tokens": lambda: write(tokens=TOKENS - 64),
    "unknown": lambda: write(los=2.0),
    "status": lambda: write(status="done"),
    "backwards": lambda: write(curve=[{"tokens": 2, "train_loss": 5, "lr": 0}, {"tokens": 1, "train_loss": 5, "lr": 0}]),
    "exit": lambda: (write(), sys.exit(3)),
    "oom": lambda: (write(status="oom", reason="CUDA out of memory"), sys.exit(1)),
    "segv": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "resume": checkpoint_when_asked,
    "hang": hang_with_a_child,
    "devices": say_devices,
}  # fmt: skip

if __name__ == "__main__":
    WAYS[sys.argv[1]]()
