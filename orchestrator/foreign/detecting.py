"""Which reader a source wants."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from orchestrator.errors import SweepError
from orchestrator.foreign import nanochat, wandb
from orchestrator.foreign.source import ForeignRuns

KINDS = ("table", "wandb", "nanochat")


def read_foreign(source: str, kind: str | None = None) -> ForeignRuns:
    """Read runs that others made.

    Args:
        source: A table (CSV, JSON, JSON lines, Parquet), or a folder of nanochat's or of Weights & Biases'.
        kind: One of `KINDS`; None to tell by what is there.

    Raises:
        SweepError: An unknown kind, or a source that is not of it.
        AnalysisError: The table cannot be read.
    """
    if kind is not None and kind not in KINDS:
        raise SweepError(f"--from {kind}: not known; expected one of {', '.join(KINDS)}. Leave it out to have it told.")
    folder = Path(source)
    if folder.is_dir():
        if kind in (None, "nanochat") and nanochat.logs_of(folder):
            return nanochat.from_logs(folder)
        if kind in (None, "wandb") and wandb.run_folders(folder):
            return wandb.from_folders(folder)
        if kind in ("nanochat", "wandb"):
            wanted = nanochat.LOG if kind == "nanochat" else "run-* or offline-run-*"
            raise SweepError(f"{source} holds no {wanted}; expected a folder of {kind}. Name the folder above them.")
    return _from_table(source, kind)


def _from_table(source: str, kind: str | None) -> ForeignRuns:
    from analysis.sources import load_frame

    frame, name = load_frame(source)
    header = [str(column) for column in frame.columns]
    for one, matches, read in (
        ("nanochat", nanochat.is_results, nanochat.from_table),
        ("wandb", wandb.is_export, wandb.from_export),
    ):
        if kind in (None, one) and matches(header):
            return read(frame, name)
        if kind == one:
            raise SweepError(
                f"{name} has columns {_some(header)}; expected those of {one}. Use --from table and --map."
            )
    return ForeignRuns(kind="table", name=name, frame=frame, identity="run_id" if "run_id" in frame else None)


def _some(header: Collection[str]) -> str:
    shown = list(header)[:8]
    return ", ".join(shown) + ("..." if len(header) > len(shown) else "")
