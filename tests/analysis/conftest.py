"""Fixtures of the analysis' tests: a store written by hand as the formats describe it, and simulated sweeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import Runs, read_runs
from analysis.runs import CURVES_SCHEMA, RUNS_SCHEMA, curve_columns, run_row


def _proposal(seq: int, **row: Any) -> dict[str, Any]:
    run_id = f"{seq:016x}"
    known = {"run_id": run_id, "seq": seq, "curve": 0, "budget": 1e10, "params": 1000 + seq, "tokens": 10**6, "seed": 0}
    return {"format": 1, "seq": seq, "run_id": run_id, "row": known | row, "spec": {}}


def _commit(seq: int, **row: Any) -> dict[str, Any]:
    results = {"status": "ok", "loss": 2.0 + seq / 1000, "flops": 1e10, "flops_spent": 1e10, "seconds": 1.0}
    steps = range(1, 4)
    curve = {
        "tokens": [100 * k for k in steps], "flops": [1e9 * k for k in steps], "train_loss": [5.0 - k for k in steps],
        "lr": [0.01] * 3,
    }  # fmt: skip
    return {"format": 1, "run_id": f"{seq:016x}", "row": results | row, "curve": curve, "spec": {}}


def _attempt(seq: int, number: int, *, status: str = "lost") -> dict[str, Any]:
    return {
        "format": 1, "run_id": f"{seq:016x}", "attempt": number, "status": status, "reason": "node lost",
        "flops_spent": 5e9,
    }  # fmt: skip


@dataclass
class HandMadeStore:
    """Writes objects and tables below `root` without the orchestrator."""

    root: Path

    def put(self, name: str, document: Mapping[str, Any] | list[Any] | str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document if isinstance(document, str) else json.dumps(document))

    def propose(self, seq: int, **row: Any) -> None:
        self.put(f"proposals/{seq:08d}.json", _proposal(seq, **row))

    def commit(self, seq: int, **row: Any) -> None:
        self.put(f"commits/{seq:016x}.json", _commit(seq, **row))

    def run(self, seq: int, *, committed: bool = True, failures: int = 0, **row: Any) -> None:
        self.propose(seq)
        for number in range(1, failures + 1):
            self.put(f"attempts/{seq:016x}/{number:04d}.json", _attempt(seq, number))
        if committed:
            self.commit(seq, **row)

    def compact(self, committed: Iterable[int], pending: Iterable[int] = (), running: Iterable[int] = ()) -> None:
        """Write both tables as the driver does."""
        done, active = list(committed), list(running)
        rows = [run_row(_proposal(seq), commit=_commit(seq), attempts=[], running=False) for seq in done]
        rows += [run_row(_proposal(s), commit=None, attempts=[], running=s in active) for s in [*pending, *active]]
        for folder in ("runs", "curves"):
            (self.root / "tables" / folder).mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=RUNS_SCHEMA), self.root / "tables/runs/runs.parquet")
        parts = [pa.table(curve_columns(_commit(seq)), schema=CURVES_SCHEMA) for seq in done]
        if parts:
            pq.write_table(pa.concat_tables(parts), self.root / "tables/curves/part-000000.parquet")


@pytest.fixture
def store(tmp_path: Path) -> HandMadeStore:
    return HandMadeStore(tmp_path)


@pytest.fixture
def store_at() -> type[HandMadeStore]:
    return HandMadeStore


CHINCHILLA = {"A": 482.01, "B": 2085.43, "E": 1.8169, "alpha": 0.3478, "beta": 0.3658}
"""Besiroglu et al. 2024."""


def _optimum(flops: float, law: Mapping[str, float]) -> float:
    alpha, beta = law["alpha"], law["beta"]
    return float((alpha * law["A"] / (beta * law["B"]) * (flops / 6) ** beta) ** (1 / (alpha + beta)))


def _simulate(
    *,
    budgets: Iterable[float] = (1e17, 1e18, 1e19, 1e20),
    sizes: int = 7,
    spread: float = 3.0,
    noise: float = 0.0,
    seeds: int = 1,
    seed: int = 0,
    off_centre: float = 1.0,
    drift: float = 1.0,
    law: Mapping[str, float] = CHINCHILLA,
    offset: float = 0.0,
) -> Runs:
    """IsoFLOP curves of an additive law: sizes log-spaced within a factor `spread` of the optimum, under C = 6ND."""
    generator = np.random.default_rng(seed)
    rows = []
    for k, budget in enumerate(budgets):
        centre = _optimum(budget, law) * off_centre * drift**k
        for N in centre * np.geomspace(1 / spread, spread, sizes):
            D = budget / (6 * N)
            loss = law["E"] + law["A"] / N ** law["alpha"] + law["B"] / D ** law["beta"] + offset
            rows += [(budget, N, D, loss + noise * generator.standard_normal(), s) for s in range(seeds)]
    return read_runs(pd.DataFrame(rows, columns=["budget", "params", "tokens", "loss", "seed"]))


@pytest.fixture(scope="session")
def simulate() -> Callable[..., Runs]:
    return _simulate


@pytest.fixture
def true_optimum() -> Callable[[float], float]:
    """N*(C) of the law that `simulate` uses, under C = 6ND."""
    return lambda flops: _optimum(flops, CHINCHILLA)
