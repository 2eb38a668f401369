"""Sections on the runs themselves, failures first, and on what was asked of the fits."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from analysis import notation
from analysis.report.blocks import Block, Grid, Section, Text, grid
from analysis.report.checklist import checklist
from analysis.report.summary import Summary
from analysis.table import Runs

RUNS_SHOWN = 400
"""Most rows in the table of runs (chosen); the rest is counted, and a query away."""


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
        left_out = [f"{d.run}: {d.reason}" for d in summary.left_out if not d.reason.startswith("status ")]
        if left_out:
            blocks.append(Text(kind="list", items=tuple(left_out[:RUNS_SHOWN])))
        if summary.tuned:
            rows_of_points = ((point.run.removeprefix("point "), point.reason) for point in summary.tuned)
            caption = "Tuned points, and what stands for each in the fits"
            blocks.append(
                replace(grid(caption, ("point", "in the fits"), rows_of_points, words_last=True), folded=True)
            )
        fine = fine if "params" in fine and "tokens" in fine else summary.runs.frame
    else:
        blocks.append(Text(kind="missing", text=f"These runs cannot be fitted: {summary.runs.reason}"))
    blocks.append(replace(_table(fine), folded=True))
    return Section(name="runs", title="Runs", blocks=tuple(blocks))


_FAILED_HEADER = ("run", "budget", "params", "seed", "status", "attempts", "reason")


def _failed_row(row: Mapping[Hashable, Any]) -> tuple[str, ...]:
    return (
        text_of(row.get("run_id")),
        _written(row.get("budget"), notation.flops),
        _written(row.get("params"), notation.count),
        text_of(row.get("seed")),
        text_of(row.get("status")),
        text_of(row.get("attempts")),
        text_of(row.get("reason")),
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
        tuple(_written(row[name], write) if write else text_of(row[name]) for name, _, write in columns)
        for row in shown.to_dict("records")
    ]
    more = f"; the first {RUNS_SHOWN} of {len(rows)}" if len(rows) > RUNS_SHOWN else ""
    return grid(f"Finished runs{more}", (label for _, label, _ in columns), cells)


def _written(value: Any, write: Callable[[float], str]) -> str:
    number = pd.to_numeric(value, errors="coerce")
    return "" if pd.isna(number) else write(float(number))


def text_of(value: object) -> str:
    """A value of the table as text; empty where there is none."""
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
