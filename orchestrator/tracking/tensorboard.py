"""TensorBoard's event files, written without torch and TensorFlow: one folder per run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FINAL = ("loss", "bpb", "params", "flops", "seconds")
"""Columns of a run that are written as scalars at its last token."""


class TensorBoard:
    """Writes `train/loss`, `train/lr` over tokens, and `final/...` at the end of each run."""

    def __init__(self, folder: str) -> None:
        """Write below a folder.

        Raises:
            ImportError: The package tensorboard is not there.
        """
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._folder = Path(folder)
        self._event, self._summary, self._writer = Event, Summary, EventFileWriter

    def run_ended(self, row: Mapping[str, Any], curve: Mapping[str, Sequence[float]]) -> None:
        """See `Tracker.run_ended`."""
        writer = self._writer(str(self._folder / _name(row)))
        for tag, column in (("train/loss", "train_loss"), ("train/lr", "lr")):
            for tokens, value in zip(curve.get("tokens", ()), curve.get(column, ()), strict=True):
                self._scalar(writer, tag, value, int(tokens))
        for name in FINAL:
            if row.get(name) is not None:
                self._scalar(writer, f"final/{name}", float(row[name]), int(row["tokens"]))
        writer.close()

    def close(self) -> None:
        """Every run's file is closed already."""

    def _scalar(self, writer: Any, tag: str, value: float, step: int) -> None:
        summary = self._summary(value=[self._summary.Value(tag=tag, simple_value=value)])
        writer.add_event(self._event(step=step, summary=summary))


def _name(row: Mapping[str, Any]) -> str:
    """A folder that sorts by curve and size, and is the run's alone."""
    return f"{row['budget']:.3e}/{row['params']:012d}-seed{row['seed']}-{row['run_id'][:8]}"
