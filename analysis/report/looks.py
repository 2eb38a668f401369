"""Sections on what runs were asked besides their loss: the distance from an oracle, the best during training."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from analysis import notation
from analysis.report.blocks import Section, Text, grid
from analysis.report.summary import Summary

ORACLE, EXCESS = "oracle", "excess over oracle"
"""Sources under which the trainer reports a synthetic text's best possible loss, and a model's distance from it."""

LEAK = -3.0
"""Standard errors below the oracle from which on chance is no explanation: one run in 700 without a leak."""

SHOWN = 20


def oracle_section(summary: Summary) -> Section | None:
    """Losses against the best that is possible; None where the text is not synthetic."""
    rows = [found for row in _ended(summary, "losses") if (found := _against_oracle(row)) is not None]
    if not rows:
        return None
    rows.sort(key=lambda row: row["excess"])
    lowest, nearest = min(row["z"] for row in rows), rows[0]
    leaking = sum(row["z"] < LEAK for row in rows)
    verdict = (
        f"{leaking} of {len(rows)} runs are more than 3 standard errors below the oracle: held-out text leaks into training, "
        "or the evaluation is wrong. Look for duplicates across the split."
        if leaking
        else f"No run is below the oracle by more than chance (lowest: {lowest:+.1f} standard errors)."
    )
    best = (
        f"The nearest comes within {nearest['excess']:.4f} ± {nearest['se']:.4f} nats, "
        f"{notation.percent(nearest['excess'] / nearest['oracle'])} of what the oracle needs."
    )
    table = grid(
        "Runs by their distance from the oracle, nats per token, paired by window",
        ("run", "N", "D", "oracle", "excess", "± SE", "in SE"),
        (
            (
                row["run_id"],
                notation.count(row["params"]),
                notation.count(row["tokens"]),
                f"{row['oracle']:.4f}",
                f"{row['excess']:.4f}",
                f"{row['se']:.4f}",
                f"{row['z']:+.1f}",
            )
            for row in rows[:SHOWN]
        ),
    )
    return Section(name="oracle", title="Against the oracle", blocks=(Text(text=f"{verdict} {best}"), table))


_BEST_TITLE = "Best checkpoint and last"


def best_section(summary: Summary) -> Section | None:
    """The best of each run beside its last; None where no run was evaluated during training."""
    rows = _ended(summary, "best_loss")
    if not rows:
        return None
    rows.sort(key=lambda row: row["best_loss"] - row["loss"])
    earlier = [row for row in rows if row["best_tokens"] < row["tokens"]]
    if not earlier:
        text = f"None of {len(rows)} runs was best before its end, by the loss on the tuning set."
        return Section(name="best", title=_BEST_TITLE, blocks=(Text(text=text),))
    lead = (
        f"{len(earlier)} of {len(rows)} runs were best before their end, by the loss on the tuning set. Both losses in the "
        "table are on the held-out set. Fits use the last."
    )
    table = grid(
        "Runs by what stopping at the best would have gained, nats per token",
        ("run", "setting", "N", "D", "epochs", "last", "best", "best at"),
        (
            (
                str(row["run_id"]),
                str(row["setting"] or ""),
                notation.count(row["params"]),
                notation.count(row["tokens"]),
                notation.number(row["epochs"]),
                notation.loss(row["loss"]),
                notation.loss(row["best_loss"]),
                notation.percent(row["best_tokens"] / row["tokens"]),
            )
            for row in rows[:SHOWN]
        ),
        text_columns=2,
    )
    return Section(name="best", title=_BEST_TITLE, blocks=(Text(text=lead), table))


def _ended(summary: Summary, column: str) -> list[dict[str, Any]]:
    """Rows of committed runs that have a value there."""
    frame = summary.rows
    if column not in frame or "status" not in frame:
        return []
    asked = frame[(frame["status"] == "ok") & frame[column].notna()]
    records = asked.astype(object).where(pd.notna(asked), None).to_dict("records")
    return [{str(name): value for name, value in record.items()} for record in records]


def _against_oracle(row: dict[str, Any]) -> dict[str, Any] | None:
    found = {one["source"]: one for one in json.loads(row["losses"])}
    if ORACLE not in found or EXCESS not in found or not found[EXCESS]["loss_se"]:
        return None
    excess, se = found[EXCESS]["loss"], found[EXCESS]["loss_se"]
    return row | {"oracle": found[ORACLE]["loss"], "excess": excess, "se": se, "z": excess / se}
