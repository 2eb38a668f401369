"""What must be true of a store after any fault, once its sweep was run to the end again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import store_curves, store_rows
from orchestrator.store import open_objects
from orchestrator.store.events import read_events

PASSING = ["seq", "host", "finished_at", "attempts", "flops_spent", "seconds_spent"]
"""Columns that may differ between an undisturbed sweep and one that was continued."""

TRANSIENT = ("tmp", "progress", "checkpoints", "requests")
"""Folders that a finished sweep leaves empty."""


def results(store: Path | str) -> pd.DataFrame:
    """Every number of a store that a fault must not change."""
    return store_rows(store).to_pandas().set_index("run_id").sort_index().drop(columns=PASSING)


def curves(store: Path | str) -> pd.DataFrame:
    """Every curve of a store."""
    table = store_curves(store).to_pandas()
    return table.sort_values(["run_id", "tokens"]).reset_index(drop=True)


def check(store: Path, reference: Path) -> None:
    """Compare a store that met faults with one that met none."""
    pd.testing.assert_frame_equal(results(store), results(reference), check_exact=True)
    pd.testing.assert_frame_equal(curves(store), curves(reference), check_exact=True)
    plain = pd.read_parquet(store / "tables/runs")
    assert plain["run_id"].is_unique
    assert set(plain["status"]) == {"ok"}
    proposed = Counter(json.loads(path.read_bytes())["run_id"] for path in (store / "proposals").iterdir())
    committed = Counter(path.stem for path in (store / "commits").iterdir())
    assert proposed == committed, "committed = proposed, each once"
    assert set(committed) == set(plain["run_id"])
    left = [str(path.relative_to(store)) for name in TRANSIENT for path in (store / name).rglob("*")]
    assert not left, "no leftovers"
    assert [event["event"] for event in read_events(open_objects(store))][-1] == "driver ended"


def steps_done(work: Path) -> int:
    """Steps that all attempts together made."""
    return sum(path.stat().st_size for path in work.iterdir())


def steps_needed(reference: Path) -> int:
    """Steps of the sweep."""
    return int(store_rows(reference).to_pandas()["steps"].sum())


def events(store: Path | str) -> list[dict[str, Any]]:
    """The event log."""
    return list(read_events(open_objects(store)))
