"""Sections on the sweep's design: how points were chosen, and what they were trained with."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis import notation
from analysis.report.blocks import Block, Section, Text, grid
from analysis.report.choosing import choosing_blocks
from analysis.report.outcome import Failed
from analysis.report.summary import Summary
from analysis.table import Runs
from analysis.tuning import tuned_points


def design_section(summary: Summary) -> Section:
    """Budgets, sizes, seeds and tokens per parameter."""
    runs = summary.runs
    title = "How points were chosen"
    chosen = choosing_blocks(summary.origin, summary.rows)
    if isinstance(runs, Failed):
        nothing = Text(kind="missing", text=f"No runs to look at: {runs.reason}")
        return Section(name="design", title=title, blocks=(*chosen, nothing))
    if not summary.minima:
        sizes, compute = _span(runs, "params", notation.count), _span(runs, "flops", notation.flops)
        text = f"{len(runs)} runs without common budgets: {sizes} parameters, {compute} FLOPs."
        return Section(name="design", title=title, blocks=(*chosen, Text(text=text)))
    lead = (
        "A curve tells most about its minimum when its sizes lie on both sides of it, within a factor of about four, and "
        "are centred on it in log N. Middle / N* is 1 for a centred curve; where it drifts over budgets, the exponent bends."
    )
    header = (
        "budget",
        "runs",
        "sizes",
        "N from",
        "to",
        "D/N from",
        "to",
        "most epochs",
        "steps from",
        "largest miss of C",
        "middle / N*",
    )
    rows = [_curve_row(summary, index) for index in range(len(summary.minima))]
    blocks = (*chosen, Text(text=lead), grid("Points of each curve", header, rows))
    return Section(name="design", title=title, blocks=blocks)


def _curve_row(summary: Summary, index: int) -> tuple[str, ...]:
    minimum = summary.minima[index]
    curve = minimum.curve
    middle = float(np.sqrt(curve.params.min() * curve.params.max()))
    ratio = curve.tokens / curve.params
    rows = _rows_of(summary.rows, minimum.budget)
    epochs, steps = (
        pd.to_numeric(rows[name], errors="coerce") if name in rows else None for name in ("epochs", "steps")
    )
    miss = (rows["flops"] / minimum.budget - 1).abs().max() if "flops" in rows and len(rows) else None
    return (
        notation.flops(minimum.budget),
        f"{curve.replicates.sum():.0f}",
        f"{len(np.unique(curve.params))}",
        notation.count(float(curve.params.min())),
        notation.count(float(curve.params.max())),
        notation.number(float(ratio.min())),
        notation.number(float(ratio.max())),
        "" if epochs is None or epochs.isna().all() else notation.number(float(epochs.max())),
        "" if steps is None or steps.isna().all() else notation.count(float(steps.min())),
        "" if miss is None or pd.isna(miss) else notation.percent(float(miss)),
        "" if minimum.params is None else notation.number(middle / minimum.params),
    )


def _rows_of(rows: pd.DataFrame, budget: float) -> pd.DataFrame:
    return rows[rows["budget"] == budget] if "budget" in rows else rows.iloc[:0]


def _span(runs: Runs, column: str, write: object) -> str:
    values = runs.column(column)
    assert callable(write)
    return f"{write(float(values.min()))} to {write(float(values.max()))}"


_SETTINGS = ("learning_rate", "batch_tokens", "warmup_steps", "schedule", "optimizer")


def settings_section(summary: Summary) -> Section:
    """Learning rate and batch size: what was used, and whether points were tried with several."""
    title = "Learning rate and batch"
    present = [name for name in _SETTINGS if name in summary.rows and summary.rows[name].notna().any()]
    if not present or isinstance(summary.runs, Failed):
        text = (
            "The source does not say with which learning rates and batch sizes the runs were trained; a mistuned size bends "
            "a curve unseen."
        )
        return Section(name="settings", title=title, blocks=(Text(text=text),))
    frame = summary.runs.frame
    blocks: list[Block] = [Text(text=_tuning_text(summary, frame)), _settings_grid(frame, present)]
    return Section(name="settings", title=title, blocks=tuple(blocks))


def _tuning_text(summary: Summary, frame: pd.DataFrame) -> str:
    points = () if isinstance(summary.tried, Failed) else tuned_points(summary.tried)
    if points:
        axes, ends = ", ".join(points[0].knobs), sum(not point.inside for point in points)
        text = (
            f"{len(points)} points were tuned over {axes}: each was run with several values, and the fits use its best."
        )
        widen = f" At {ends} of {len(points)} the best lies at the end of what was tried: try values beyond it."
        return text + (widen if ends else "")
    knobs = [name for name in ("learning_rate", "batch_tokens") if name in frame]
    tried = frame.groupby(["params", "tokens"])[knobs].nunique().max(axis=1) if knobs else pd.Series(dtype=int)
    several = int((tried > 1).sum())
    if several:
        return (
            f"{several} of {len(tried)} points were run with several settings; the lowest, seeds averaged, is fitted."
        )
    return (
        "Every point was run with one setting, from the sweep's rule. A learning rate that is too low or too high for some "
        "sizes bends their curve, and no fit can see it: repeat the best point with half and twice the learning rate."
    )


def _settings_grid(frame: pd.DataFrame, present: list[str]) -> Block:
    rows = [(name.replace("_", " "), _values(frame[name])) for name in present]
    if {"warmup_steps", "steps"} <= set(frame.columns):
        share = pd.to_numeric(frame["warmup_steps"], errors="coerce") / pd.to_numeric(frame["steps"], errors="coerce")
        if share.notna().any():
            ends = dict.fromkeys(notation.percent(end) for end in (share.min(), share.max()))
            rows.append(("warm-up, share of steps", " to ".join(ends)))
    return grid("Settings of the fitted runs", ("setting", "values"), rows, words_last=True)


def _values(column: pd.Series) -> str:
    distinct = sorted(column.dropna().unique())
    numeric = all(isinstance(value, (int, float, np.integer, np.floating)) for value in distinct)
    if numeric and len(distinct) > 4:
        low, high = float(distinct[0]), float(distinct[-1])
        write = notation.count if high >= 1000 else notation.number
        return f"{write(low)} to {write(high)}, {len(distinct)} values"
    return ", ".join(notation.number(float(v)) if isinstance(v, (float, np.floating)) else str(v) for v in distinct[:6])
