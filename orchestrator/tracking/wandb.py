"""Weights & Biases: one run for each training run, grouped by sweep; offline unless WANDB_MODE says otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from analysis import notation

RESULTS = ("loss", "loss_se", "bpb", "status", "reason", "attempts", "seconds", "seconds_spent", "flops_spent")
"""Columns that are a run's summary; all others are its config."""


class WeightsAndBiases:
    """Mirrors runs into a project."""

    def __init__(self, project: str) -> None:
        """Write into a project.

        Raises:
            ImportError: The package wandb is not there.
        """
        import wandb

        self._wandb = wandb
        self._project = project
        self._mode = os.environ.get("WANDB_MODE", "offline")

    def run_ended(self, row: Mapping[str, Any], curve: Mapping[str, Sequence[float]]) -> None:
        """See `Tracker.run_ended`."""
        run = self._wandb.init(
            project=self._project,
            mode=self._mode,
            id=row["run_id"],
            name=f"{notation.flops(row['budget'])} x {notation.count(row['params'])} seed {row['seed']}",
            group=row["sweep"],
            config={name: value for name, value in row.items() if name not in RESULTS},
            settings=self._wandb.Settings(silent=True, console="off"),
        )
        columns = [curve.get(name, ()) for name in ("tokens", "flops", "train_loss", "lr")]
        for step, (tokens, flops, loss, rate) in enumerate(zip(*columns, strict=True)):
            run.log({"tokens": tokens, "flops": flops, "train_loss": loss, "lr": rate}, step=step)
        run.summary.update({name: row[name] for name in RESULTS if row.get(name) is not None})
        run.finish()

    def close(self) -> None:
        """Every run is finished already."""
