"""Sections on what was measured: IsoFLOP curves with their minima, and the envelope."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import notation
from analysis.envelope import EnvelopeFit
from analysis.figures.envelope import envelope_figure
from analysis.figures.isoflop import LeftOut, isoflop_figure
from analysis.isoflop import IsoflopFit
from analysis.minima import CurveMinimum
from analysis.points import average_replicates
from analysis.report.blocks import Block, Exhibit, Section, Text, grid, missing
from analysis.report.outcome import Failed
from analysis.report.summary import Summary
from analysis.table import Array

_MEANING = (
    "Each curve has one training budget C: a larger model sees fewer tokens. {points}, with bars of one standard error. A "
    "minimum counts as inside when the parabola bends upwards and its lowest point lies within the sizes. It counts as "
    "bracketed when, besides, two sizes on each side lie above it by more than two standard errors and log10 of the optimum "
    "is known to .25."
)

_STATUS = {"no_minimum": "no minimum", "too_few": "too few sizes"}
"""Words for a curve's status, where the status is not a word itself."""


def isoflop_section(summary: Summary) -> Section:
    """IsoFLOP curves, their minima, and what was left out."""
    blocks: list[Block] = []
    if summary.minima:
        left_out = tuple(_left_out(summary))
        points = (
            "Points are what tuning found to be best at each size" if summary.tuned else "Points are means over seeds"
        )
        lead = Text(text=_MEANING.format(points=points))
        exhibit = _isoflop_exhibit(summary.minima, left_out, tuned=bool(summary.tuned))
        blocks = [lead, exhibit, _minima_grid(summary.minima)]
        reasons = [f"{notation.flops(m.budget)} FLOPs, {_status(m)}: {m.reason}." for m in summary.minima if m.reason]
        if reasons:
            blocks.append(Text(kind="list", items=tuple(reasons)))
    if isinstance(summary.isoflop, Failed):
        blocks.append(missing("Approach 2 has no result", summary.isoflop))
    return Section(name="isoflop", title="IsoFLOP curves", blocks=tuple(blocks))


def _status(minimum: CurveMinimum) -> str:
    return _STATUS.get(minimum.status, minimum.status)


def _isoflop_exhibit(minima: tuple[CurveMinimum, ...], left_out: tuple[LeftOut, ...], *, tuned: bool) -> Exhibit:
    return Exhibit(
        name="isoflop-curves",
        main=True,
        title="Loss against size at each budget",
        description=_what_is_shown(minima, left_out),
        draw=lambda: isoflop_figure(minima, left_out),
        data=grid(
            "Points of the IsoFLOP curves",
            ("budget", "params", "tokens", "loss", "seeds", "fitted"),
            [*_point_rows(minima, tuned), *_left_out_rows(left_out, minima[0].curve.variable == "params")],
            words_last=True,
        ),
    )


def _what_is_shown(minima: tuple[CurveMinimum, ...], left_out: tuple[LeftOut, ...]) -> str:
    found = [f"{notation.flops(m.budget)} FLOPs at {notation.count(m.params)}" for m in minima if m.params]
    without = [f"{notation.flops(m.budget)}" for m in minima if not m.params]
    parts = [f"{len(minima)} budgets, with parabolas where there are three sizes."]
    parts += [f"Minima: {', '.join(found)}."] if found else []
    parts += [f"No minimum inside at {', '.join(without)} FLOPs."] if without else []
    parts += [f"Shown and not fitted: {len(left_out)}."] if left_out else []
    return " ".join(parts)


def _point_rows(minima: Iterable[CurveMinimum], tuned: bool) -> Iterable[tuple[str, ...]]:
    for m in minima:
        for params, tokens, loss, seeds in zip(
            m.curve.params, m.curve.tokens, m.curve.loss, m.curve.replicates, strict=True
        ):
            yield (
                notation.flops(m.budget),
                notation.count(params),
                notation.count(tokens),
                notation.loss(loss),
                "tuned" if tuned else f"{seeds:.0f}",
                "yes",
            )


def _left_out_rows(left_out: Iterable[LeftOut], sizes: bool) -> Iterable[tuple[str, ...]]:
    for run in left_out:
        place = notation.count(run.size)
        where = (place, "") if sizes else ("", place)
        yield notation.flops(run.budget), *where, notation.loss(run.loss), "", f"no: {run.reason} ({run.name})"


def _minima_grid(minima: tuple[CurveMinimum, ...]) -> Block:
    def row(m: CurveMinimum) -> tuple[str, ...]:
        if m.params is None or m.tokens is None:
            return notation.flops(m.budget), _status(m), "", "", "", "", "", "", _noise(m)
        return (
            notation.flops(m.budget),
            _status(m),
            notation.count(m.params),
            notation.interval(m.params_interval, notation.count),
            notation.count(m.tokens),
            notation.number(m.tokens / m.params),
            notation.loss(m.loss),
            notation.interval(m.loss_interval, notation.loss),
            _noise(m),
        )

    return grid(
        "Minima of the curves, with 90 % intervals (Fieller's for N*, t for the loss)",
        ("budget", "status", "N*", "N* interval", "D*", "D*/N*", "loss", "loss interval", "noise of a run"),
        map(row, minima),
        text_columns=2,
    )


def _noise(minimum: CurveMinimum) -> str:
    return "unknown" if minimum.noise is None else f"{minimum.noise.sd:.4f}"


def _left_out(summary: Summary) -> Iterator[LeftOut]:
    """Runs without a result at a known size, and points that another setting of the same (N, D) beats."""
    rows, column = summary.rows, summary.minima[0].curve.variable
    if summary.setting is not None:
        rows = rows[rows["setting"] == summary.setting]
    if {"status", "budget", column} <= set(rows.columns):
        failed = ~rows["status"].isin(["ok", "running", "pending"]) & rows[column].notna() & rows["budget"].notna()
        for row in rows[failed].to_dict("records"):
            yield _left_out_run(row, column, str(row["status"]))
    if isinstance(summary.isoflop, IsoflopFit):
        runs = summary.isoflop.runs
        beaten = runs.frame[average_replicates(runs).members < 0]
        for row in beaten.to_dict("records"):
            yield _left_out_run(row, column, "another setting is lower")


def _left_out_run(row: Mapping[Hashable, Any], column: str, reason: str) -> LeftOut:
    loss = row.get("loss")
    return LeftOut(
        name=str(row.get("run_id", "")),
        budget=float(row["budget"]),
        size=float(row[column]),
        loss=float(loss) if loss is not None and np.isfinite(loss) else None,
        reason=reason,
    )


def envelope_section(summary: Summary) -> Section:
    """Approach 1."""
    fit = summary.envelope
    if isinstance(fit, Failed):
        return Section(name="envelope", title="Envelope", blocks=(missing("Approach 1 has no result", fit),))
    lead = (
        "Approach 1 takes the lowest loss at each compute, without looking at the shape of a curve: it can only name "
        "sizes that were run, and the lowest "
        "of several noisy points is too low by luck. Thin lines are smoothed training losses, which end higher than "
        "a run of that length would "
        "until the learning rate has decayed; only final losses are fitted."
    )
    points = zip(fit.flops, fit.params, fit.tokens, fit.losses, fit.on_hull, strict=True)
    rows = [
        (notation.flops(c), notation.count(n), notation.count(d), notation.loss(loss), "yes" if hull else "no")
        for c, n, d, loss, hull in points
    ]
    exhibit = Exhibit(
        name="envelope",
        main=True,
        title="Loss against compute, with its lower envelope",
        description=f"{len(rows)} points form the envelope, from loss {rows[0][3]} at {rows[0][0]} FLOPs to "
        f"{rows[-1][3]} at {rows[-1][0]} FLOPs.",
        draw=lambda: envelope_figure(fit, _training_curves(fit, summary.curves)),
        data=grid(
            "Points of the envelope", ("compute", "params", "tokens", "loss", "on the hull"), rows, words_last=True
        ),
    )
    return Section(name="envelope", title="Envelope", blocks=(Text(text=lead), exhibit))


CURVES_DRAWN = 60
"""Most training curves in one figure (chosen): more are a grey cloud, and every one costs a kilobyte or two of the
page."""


def _training_curves(fit: EnvelopeFit, curves: pd.DataFrame | None) -> list[tuple[float, Array, Array]]:
    """One curve per (N, D), the first by run_id."""
    frame = fit.runs.frame
    if curves is None or "run_id" not in frame:
        return []
    first = frame.sort_values(["flops", "params", "run_id"]).groupby(["params", "tokens"], sort=False).head(1)
    by_run = {str(run_id): curve for run_id, curve in curves.groupby("run_id")}
    chosen = [
        (n, by_run[run_id]) for n, run_id in zip(first["params"], first["run_id"], strict=True) if run_id in by_run
    ]
    step = max(1, -(-len(chosen) // CURVES_DRAWN))
    return [
        (float(n), curve["flops"].to_numpy(np.float64), curve["train_loss"].to_numpy(np.float64))
        for n, curve in chosen[::step]
    ]
