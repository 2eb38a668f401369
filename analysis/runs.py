"""The results table: every column's name, type, unit and meaning, and how a store's objects become its rows.

This module owns the schema. The orchestrator writes it, `analysis.reading` reads it, and the documentation's table
of columns is generated from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1

STATUSES = ("ok", "diverged", "oom", "error", "lost", "cancelled", "running", "pending")
"""A run's status: its commit (`ok`, `diverged`), else its last attempt, else `running` or `pending`."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: Name in Parquet, SQL and data frames.
        type: Arrow type.
        unit: Unit, empty for names and counts of things.
        meaning: One sentence.
    """

    name: str
    type: pa.DataType
    unit: str
    meaning: str


_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()

RUN_COLUMNS: tuple[Column, ...] = (
    Column("run_id", _TEXT, "", "Hash of everything that decides the result"),
    Column("sweep", _TEXT, "", "Name of the sweep"),
    Column("seq", _INT, "", "Number of the proposal, from 0"),
    Column("curve", _INT, "", "Number of the IsoFLOP curve, from 0 at the smallest budget"),
    Column("budget", _FLOAT, "FLOPs", "Compute intended for the run; groups a curve exactly"),
    Column("setting", _TEXT, "", "Setting of a sweep that compares several, such as swiglu or ffn_ratio=2"),
    Column("tuned", _TEXT, "", "Values of the axes that are tuned over, such as peak=0.004 batch=512"),
    Column(
        "retrained",
        _BOOL,
        "",
        "Whether it trains the best try of its point again on a fresh seed; fits take these alone",
    ),
    Column("params", _INT, "parameters", "N under `params_convention`"),
    Column("params_convention", _TEXT, "", "What `params` counts: blocks+head, blocks, total or active"),
    Column("params_body", _INT, "parameters", "Matrices of the blocks, all experts of a mixture among them"),
    Column("params_embedding", _INT, "parameters", "Token embedding, and that of positions where they are learned"),
    Column("params_head", _INT, "parameters", "Output matrix"),
    Column("params_active", _INT, "parameters", "Parameters that one token multiplies"),
    Column("params_total", _INT, "parameters", "All stored parameters"),
    Column(
        "tokens", _INT, "tokens", "Training tokens D = steps x batch_tokens; fewer where the batch grows (`batch.ramp`)"
    ),
    Column("steps", _INT, "steps", "Optimiser steps"),
    Column("batch_tokens", _INT, "tokens", "Tokens per optimiser step; of a batch that grows, per step at the end"),
    Column("flops", _FLOAT, "FLOPs", "Training compute from step 0 to this model, counted once under `flops_rule`"),
    Column("flops_rule", _TEXT, "", "How FLOPs are counted: exact, exact-causal or 6nd"),
    Column("flops_spent", _FLOAT, "FLOPs", "What the sweep paid for this run, retries included"),
    Column("loss", _FLOAT, "nats per token", "Held-out loss, once, at D"),
    Column("loss_se", _FLOAT, "nats per token", "Its standard error over held-out documents"),
    Column("bpb", _FLOAT, "bits per byte", "Held-out loss in bits per byte"),
    Column("heldout_tokens", _INT, "tokens", "Held-out tokens evaluated"),
    Column("status", _TEXT, "", "ok, diverged, oom, error, lost, cancelled, running or pending"),
    Column("reason", _TEXT, "", "Why a run did not end well"),
    Column("seed", _INT, "", "Seed of initialisation and data order"),
    Column("attempts", _INT, "", "Attempts made, the successful one included"),
    Column("seconds", _FLOAT, "s", "Wall time of the attempt that committed"),
    Column("seconds_spent", _FLOAT, "s", "Wall time of all attempts at this run"),
    Column("evaluation_seconds", _FLOAT, "s", "Share of `seconds` spent on the evaluation"),
    Column(
        "epochs", _FLOAT, "", "Training tokens over distinct ones; of a mixture, those of the source read most often"
    ),
    Column("unique_tokens", _INT, "tokens", "Distinct training tokens that the run could see, over all sources"),
    Column("mixture", _TEXT, "", "JSON: share of training tokens by source; null for a corpus of one"),
    Column("losses", _TEXT, "", "JSON: held-out loss by source, the rows of `evaluations`; null for a plain corpus"),
    Column(
        "position_losses",
        _TEXT,
        "",
        "JSON: held-out loss by the context that a prediction saw, `first` to `last` tokens, in octaves",
    ),
    Column("best_loss", _FLOAT, "nats per token", "Held-out loss where the tuning loss was lowest during training"),
    Column("best_loss_se", _FLOAT, "nats per token", "Its standard error over held-out documents"),
    Column("best_tokens", _INT, "tokens", "Training tokens seen there"),
    Column("probe_questions", _INT, "", "Questions of the choice task, true continuation among four"),
    Column("probe_accuracy", _FLOAT, "", "Share answered rightly"),
    Column("probe_accuracy_se", _FLOAT, "", "Its standard error over held-out documents"),
    Column("probe_log_prob", _FLOAT, "nats", "Mean log-probability of the true one among the four"),
    Column("probe_log_prob_se", _FLOAT, "nats", "Its standard error over held-out documents"),
    Column("probe_brier", _FLOAT, "", "Mean squared distance of the four probabilities from the truth, 0 to 2"),
    Column(
        "noise_scale", _FLOAT, "tokens", "Gradient noise scale over the second half of the run (McCandlish et al. 2018)"
    ),
    Column("decayed", _BOOL, "", "Whether the learning rate had decayed to its end at D"),
    Column("family", _TEXT, "", "Model family: transformer or lstm"),
    Column("layers", _INT, "", "Blocks"),
    Column("width", _INT, "", "Residual width"),
    Column("heads", _INT, "", "Attention heads; this and the next seven only for transformers"),
    Column("kv_heads", _INT, "", "Heads of keys and values"),
    Column("ffn_width", _INT, "", "Hidden width of the feed-forward part, or of each expert"),
    Column("activation", _TEXT, "", "Feed-forward non-linearity"),
    Column("positions", _TEXT, "", "How the network knows a token's place: rotary, learned or none"),
    Column("qk_norm", _BOOL, "", "Whether queries and keys are normed"),
    Column("experts", _INT, "", "Feed-forward parts that a router chooses among; 1 for none"),
    Column("active_experts", _INT, "", "Experts that each token goes through"),
    Column("context", _INT, "tokens", "Window length"),
    Column("vocab", _INT, "", "Token ids"),
    Column("tied_head", _BOOL, "", "Whether the head is the embedding"),
    Column("optimizer", _TEXT, "", "Update rule"),
    Column("learning_rate", _FLOAT, "", "Peak learning rate at base width"),
    Column("schedule", _TEXT, "", "Shape of the learning rate over steps"),
    Column("warmup_steps", _INT, "steps", "Steps of warm-up"),
    Column("trunk", _TEXT, "", "What the run shares with those of other lengths: their steps until a decay begins"),
    Column("branch_tokens", _INT, "tokens", "Training tokens at which the run left its trunk and began to decay"),
    Column("precision", _TEXT, "", "Arithmetic of the matrix products"),
    Column("recipe", _INT, "", "Version of the trainer's numerics"),
    Column("corpus", _TEXT, "", "Content hash of the corpus snapshot"),
    Column(
        "numerics",
        _TEXT,
        "",
        "What the result depends on beside the spec: device, torch, threads, micro-batch, compiled",
    ),
    Column("host", _TEXT, "", "Machine that ran the committing attempt"),
    Column("finished_at", _TEXT, "UTC, ISO 8601", "When the run was committed, by the worker's clock"),
)
"""Columns of `runs`, one row per run."""

CURVE_COLUMNS: tuple[Column, ...] = (
    Column("run_id", _TEXT, "", "The run"),
    Column("tokens", _INT, "tokens", "Training tokens seen"),
    Column("flops", _FLOAT, "FLOPs", "Training compute so far, under the run's `flops_rule`"),
    Column("train_loss", _FLOAT, "nats per token", "Smoothed training loss"),
    Column("lr", _FLOAT, "", "Learning rate at base width"),
    Column(
        "heldout_loss", _FLOAT, "nats per token", "Loss on the tuning split, where `evaluation.during` asked for it"
    ),
)
"""Columns of `curves`, one row per recorded step of a committed run, in order of tokens."""


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """Arrow schema of a table, with units and meanings as field metadata and the version as table metadata."""
    fields = [pa.field(c.name, c.type, metadata={"unit": c.unit, "meaning": c.meaning}) for c in columns]
    return pa.schema(fields, metadata={"isoflop_schema": str(SCHEMA_VERSION)})


RUNS_SCHEMA = arrow_schema(RUN_COLUMNS)
CURVES_SCHEMA = arrow_schema(CURVE_COLUMNS)


def run_row(
    proposal: Mapping[str, Any],
    *,
    commit: Mapping[str, Any] | None,
    attempts: Iterable[Mapping[str, Any]],
    running: bool,
) -> dict[str, Any]:
    """One row of `runs` from a run's objects.

    Args:
        proposal: Its proposal, whose `row` holds what is known before the run.
        commit: Its commit, if any; its `row` holds the results.
        attempts: Its attempts that ended without a result, in order; one of status `pending` is a request for a retry.
        running: Whether an attempt is under way.

    Returns:
        A value for every column of `RUN_COLUMNS`, None where there is none.
    """
    failed = list(attempts)
    row = {column.name: proposal["row"].get(column.name) for column in RUN_COLUMNS}
    row["flops_spent"] = float(sum(attempt.get("flops_spent", 0.0) for attempt in failed))
    row["seconds_spent"] = float(sum(attempt.get("seconds") or 0.0 for attempt in failed))
    row["attempts"] = sum(attempt["status"] != "pending" for attempt in failed) + (commit is not None or running)
    if commit is not None:
        spent = row["flops_spent"] + commit["row"].get("flops_spent", 0.0)
        seconds = row["seconds_spent"] + (commit["row"].get("seconds") or 0.0)
        row.update({name: value for name, value in commit["row"].items() if name in row})
        row["flops_spent"], row["seconds_spent"] = spent, seconds
    elif running:
        row["status"] = "running"
    elif failed:
        row["status"], row["reason"] = failed[-1]["status"], failed[-1]["reason"]
    else:
        row["status"] = "pending"
    return row


def flops_shared(row: Mapping[str, Any]) -> float:
    """FLOPs of a run's training that another run of its trunk had paid for; a run that diverged ended early instead."""
    if row.get("status") != "ok" or not isinstance(row.get("trunk"), str):
        return 0.0
    return float(max(0.0, row["flops"] - row["flops_spent"]))


def curve_columns(commit: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Columns of `curves` from one commit."""
    curve, length = commit["curve"], len(commit["curve"]["tokens"])
    return {"run_id": [commit["run_id"]] * length} | {
        column.name: list(curve.get(column.name) or [None] * length) for column in CURVE_COLUMNS[1:]
    }
