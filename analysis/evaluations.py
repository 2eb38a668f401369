"""The losses by source, which `runs` keeps as JSON in its column `losses`, as a table with a row for each."""

from __future__ import annotations

import json

import pyarrow as pa

from analysis.runs import Column, arrow_schema

EVALUATION_COLUMNS: tuple[Column, ...] = (
    Column("run_id", pa.string(), "", "The run"),
    Column("source", pa.string(), "", "Source of a mixture; or `oracle`, or `excess over oracle`, of a synthetic one"),
    Column("loss", pa.float64(), "nats per token", "Held-out loss on that source, at D"),
    Column(
        "loss_se", pa.float64(), "nats per token", "Its standard error over held-out documents; paired for an excess"
    ),
    Column("bpb", pa.float64(), "bits per byte", "The loss in bits per byte"),
    Column("tokens", pa.int64(), "tokens", "Held-out tokens evaluated"),
)
"""Columns of `evaluations`, one row per source of a committed run."""

EVALUATIONS_SCHEMA = arrow_schema(EVALUATION_COLUMNS)


def evaluations(runs: pa.Table) -> pa.Table:
    """The losses by source of every run that has them.

    Args:
        runs: The table `runs`, with at least `run_id` and `losses`.

    Returns:
        One row per run and source, in the order of `runs`.
    """
    rows = [
        {"run_id": run_id} | loss
        for run_id, losses in zip(runs["run_id"].to_pylist(), runs["losses"].to_pylist(), strict=True)
        if losses
        for loss in json.loads(losses)
    ]
    return pa.Table.from_pylist(rows, schema=EVALUATIONS_SCHEMA)
