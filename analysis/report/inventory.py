"""Sections on the runs themselves: how points were chosen, settings, failures, diagnostics, provenance."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from importlib import metadata
from typing import Any

import pandas as pd

from analysis import notation
from analysis.report.blocks import Block, Grid, Section, Text, grid
from analysis.report.checklist import checklist
from analysis.report.outcome import Failed
from analysis.report.summary import Summary
from analysis.table import Runs

RUNS_SHOWN = 400
"""Most rows in the table of runs (chosen); the rest is counted, and a query away."""

_PACKAGES = ("isoflop", "numpy", "scipy", "pandas", "numba", "matplotlib", "pyarrow", "torch", "ray", "optuna")


def runs_section(summary: Summary) -> Section:
    """All runs, the failed ones first, and what was left out on reading."""
    rows = summary.rows
    blocks: list[Block] = []
    if "status" in rows:
        counts = ", ".join(f"{n} {status}" for status, n in rows["status"].value_counts().items())
        blocks.append(
            Text(text=f"{len(rows)} runs: {counts}. A diverged run is a result, counted and kept out of the fits.")
        )
        bad = rows[~rows["status"].isin(["ok"])]
        if len(bad):
            blocks.append(
                grid(
                    "Runs without a loss, and why",
                    _FAILED_HEADER,
                    map(_failed_row, bad.head(RUNS_SHOWN).to_dict("records")),
                    words_last=True,
                )
            )
    fine = rows[rows["status"] == "ok"] if "status" in rows else rows
    if isinstance(summary.runs, Runs):
        left_out = [f"{d.run}: {d.reason}" for d in summary.runs.dropped if not d.reason.startswith("status ")]
        if left_out:
            blocks.append(Text(kind="list", items=tuple(left_out[:RUNS_SHOWN])))
        fine = fine if "params" in fine and "tokens" in fine else summary.runs.frame
    else:
        blocks.append(Text(kind="missing", text=f"These runs cannot be fitted: {summary.runs.reason}"))
    blocks.append(replace(_table(fine), folded=True))
    return Section(name="runs", title="Runs", blocks=tuple(blocks))


_FAILED_HEADER = ("run", "budget", "params", "seed", "status", "attempts", "reason")


def _failed_row(row: Mapping[Hashable, Any]) -> tuple[str, ...]:
    return (
        _text(row.get("run_id")),
        _written(row.get("budget"), notation.flops),
        _written(row.get("params"), notation.count),
        _text(row.get("seed")),
        _text(row.get("status")),
        _text(row.get("attempts")),
        _text(row.get("reason")),
    )


_COLUMNS: tuple[tuple[str, str, Callable[[float], str] | None], ...] = (
    ("run_id", "run", None),
    ("budget", "budget", notation.flops),
    ("params", "params", notation.count),
    ("tokens", "tokens", notation.count),
    ("flops", "FLOPs", notation.flops),
    ("seed", "seed", None),
    ("loss", "loss", notation.loss),
    ("bpb", "bits per byte", notation.loss),
    ("attempts", "attempts", None),
    ("seconds", "time", notation.duration),
    ("host", "host", None),
)


def _table(rows: pd.DataFrame) -> Grid:
    columns = [column for column in _COLUMNS if column[0] in rows and rows[column[0]].notna().any()]
    order = [name for name in ("budget", "flops", "params", "seed") if name in rows]
    shown = rows.sort_values(order, kind="stable").head(RUNS_SHOWN) if order else rows.head(RUNS_SHOWN)
    cells = [
        tuple(_written(row[name], write) if write else _text(row[name]) for name, _, write in columns)
        for row in shown.to_dict("records")
    ]
    more = f"; the first {RUNS_SHOWN} of {len(rows)}" if len(rows) > RUNS_SHOWN else ""
    return grid(f"Finished runs{more}", (label for _, label, _ in columns), cells)


def _written(value: Any, write: Callable[[float], str]) -> str:
    number = pd.to_numeric(value, errors="coerce")
    return "" if pd.isna(number) else write(float(number))


def _text(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and pd.isna(value)):
        return ""
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def diagnostics_section(summary: Summary) -> Section:
    """Every question and its answer, all other warnings, and the checklist."""
    blocks: list[Block] = []
    if summary.diagnostics:
        answers = [(one.question, one.answer, one.computed) for one in summary.diagnostics]
        header = ("question", "answer", "what was computed, and what to do")
        blocks.append(grid("Questions asked of the fits", header, answers, text_columns=2, words_last=True))
    codes = {one.code for one in summary.diagnostics}
    others = [(warning.code, warning.message) for warning in summary.warnings if warning.code not in codes]
    if others:
        blocks.append(grid("Found besides", ("code", "what, and what to do"), others, words_last=True))
    return Section(name="diagnostics", title="Diagnostics", blocks=(*blocks, checklist(summary)))


def provenance_section(summary: Summary) -> Section:
    """Versions, hashes, conventions, and the commands that reproduce the report."""
    source = shlex.quote(summary.source)
    commands = (f"isoflop report {source}", f"isoflop fit {source} --method all --json")
    return Section(
        name="provenance",
        title="Provenance",
        blocks=(
            grid("Where these numbers come from", ("what", "value"), provenance_facts(summary), words_last=True),
            Text(text="To reproduce:"),
            Text(kind="commands", items=commands),
        ),
    )


def provenance_facts(summary: Summary) -> list[tuple[str, str]]:
    """Names and values: source, conventions, corpus, settings, versions."""
    return [(name, value) for name, value in (*_conventions(summary), *_origins(summary.rows), *versions()) if value]


def _conventions(summary: Summary) -> Iterable[tuple[str, str]]:
    yield "source", summary.source
    if isinstance(summary.runs, Failed):
        return
    yield "parameters counted", summary.runs.params_convention or "not stated by the source"
    yield "FLOPs counted", summary.runs.flops_rule or "not stated by the source"
    for column, formula in summary.runs.derived.items():
        yield f"{column} derived as", formula


_ORIGINS = {
    "sweep": "sweep",
    "corpus": "corpus, content hash",
    "heldout_tokens": "held-out tokens",
    "context": "context",
    "vocab": "token ids",
    "family": "model family",
    "recipe": "version of the trainer's numerics",
    "numerics": "numerics",
    "host": "hosts",
    "precision": "precision",
}


def _origins(rows: pd.DataFrame) -> Iterable[tuple[str, str]]:
    for column, label in _ORIGINS.items():
        if column in rows:
            values = sorted({_text(value) for value in rows[column].dropna().unique()})
            yield label, ", ".join(values[:8]) + (f" and {len(values) - 8} more" if len(values) > 8 else "")
    if "finished_at" in rows and rows["finished_at"].notna().any():
        times = rows["finished_at"].dropna()
        yield "runs finished", f"{times.min()} to {times.max()}"
    if "flops_spent" in rows:
        yield "FLOPs spent, retries included", notation.flops(float(rows["flops_spent"].sum()))
    if "trunk" in rows and rows["trunk"].notna().any():
        shared = (rows["flops"] - rows["flops_spent"])[rows["trunk"].notna()].clip(lower=0).sum()
        yield "FLOPs that runs of one trunk shared", notation.flops(float(shared))


def versions() -> list[tuple[str, str]]:
    """Versions of what computed the report; the trainer's own are in the column `numerics`."""
    found = [("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    for package in _PACKAGES:
        try:
            found.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            continue
    return found
