"""Sweeps with a planted law, as frames and as stores, and the report on one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.report import Report, write_report
from analysis.runs import CURVES_SCHEMA, RUN_COLUMNS, RUNS_SCHEMA

A, B, E, ALPHA, BETA = 10.5, 90.0, 1.2, 0.34, 0.37
"""L = E + A/N^alpha + B/D^beta, near what byte-level models of a thousand parameters do."""

Sweep = Callable[..., pd.DataFrame]


def planted_rows(
    budgets: tuple[float, ...] = (3e10, 1e11, 3e11),
    *,
    sizes: int = 7,
    seeds: int = 2,
    noise: float = 0.005,
    name: str = "planted",
) -> pd.DataFrame:
    """Rows of `runs`, C = 6ND, sizes centred on the true optimum within a factor of four."""
    generator = np.random.default_rng(3)
    rows = []
    for curve, budget in enumerate(budgets):
        best = (ALPHA * A / (BETA * B) * (budget / 6) ** BETA) ** (1 / (ALPHA + BETA))
        for params in np.geomspace(best / 4, best * 4, sizes).round():
            tokens = round(budget / (6 * params))
            for seed in range(seeds):
                loss = E + A / params**ALPHA + B / tokens**BETA + generator.normal() * noise
                rows.append(_row(name, len(rows), curve, budget, int(params), tokens, seed, loss))
    return pd.DataFrame(rows)


def _row(
    name: str, seq: int, curve: int, budget: float, params: int, tokens: int, seed: int, loss: float
) -> dict[str, object]:
    known = {
        "run_id": f"{seq:016x}", "sweep": name, "seq": seq, "curve": curve, "budget": budget, "params": params,
        "params_convention": "blocks+head", "tokens": tokens, "steps": 100, "batch_tokens": 512,
        "flops": 6.0 * params * tokens, "flops_rule": "6nd", "flops_spent": 6.0 * params * tokens, "loss": loss,
        "bpb": loss / np.log(2), "heldout_tokens": 10_000, "status": "ok", "seed": seed, "attempts": 1, "seconds": 2.0,
        "decayed": True, "learning_rate": 0.007, "warmup_steps": 5, "schedule": "linear", "corpus": "c0ffee",
        "host": "laptop", "width": 8 * (1 + seq // 10), "layers": 1, "recipe": 1, "finished_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return {column.name: known.get(column.name) for column in RUN_COLUMNS}


def write_store(rows: pd.DataFrame, folder: Path) -> Path:
    """A store that holds the tables alone, with loss curves of its finished runs."""
    (folder / "tables/runs").mkdir(parents=True)
    (folder / "tables/curves").mkdir(parents=True)
    records = rows.astype(object).where(rows.notna(), None).to_dict("records")
    pq.write_table(pa.Table.from_pylist(records, schema=RUNS_SCHEMA), folder / "tables/runs/runs.parquet")
    points = [_curve(row) for row in records if row["status"] == "ok"]
    pq.write_table(
        pa.concat_tables(points) if points else CURVES_SCHEMA.empty_table(), folder / "tables/curves/part.parquet"
    )
    return folder


def _curve(row: dict[str, object]) -> pa.Table:
    tokens = np.unique(np.geomspace(100, float(row["tokens"]), 12).astype(int))  # type: ignore[arg-type]
    params = float(row["params"])  # type: ignore[arg-type]
    columns = {
        "run_id": [str(row["run_id"])] * len(tokens), "tokens": tokens, "flops": 6.0 * params * tokens,
        "train_loss": E + A / params**ALPHA + B / tokens**BETA, "lr": np.full(len(tokens), 0.007),
    }  # fmt: skip
    absent = {name: [None] * len(tokens) for name in CURVES_SCHEMA.names if name not in columns}
    return pa.table({**columns, **absent}, schema=CURVES_SCHEMA)


@dataclass
class Page:
    """What the tests ask of a page."""

    text: str
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    unclosed: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page, self.open = page, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.page.unclosed.append(tag)


def read_page(path: Path) -> Page:
    """The page with its tags, and the tags that do not nest."""
    page = Page(path.read_text(encoding="utf-8"))
    reader = _Reader(page)
    reader.feed(page.text)
    reader.close()
    page.unclosed += reader.open
    return page


HOSTILE = '<script>alert("x")</script>$\\frac$'


@pytest.fixture(scope="session")
def hostile_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a diverged and a failed run, whose name and reasons try to be markup and mathematics."""
    rows = planted_rows(name=HOSTILE)
    lost = ["loss", "bpb"]
    rows.loc[0, ["status", "reason"]], rows.loc[0, lost] = ("diverged", "loss rose <b>above</b> 5.5"), np.nan
    rows.loc[20, ["status", "reason"]], rows.loc[20, lost] = ("error", f"RuntimeError: {HOSTILE}"), np.nan
    return write_store(rows, tmp_path_factory.mktemp("hostile") / "store & co")


@pytest.fixture(scope="session")
def report(hostile_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("report")
    return write_report(hostile_store, folder / "deep/report.html", png_folder=folder / "figures")


@pytest.fixture(scope="session")
def page(report: Report) -> Page:
    return read_page(report.path)
