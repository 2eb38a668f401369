"""Foreign rows as create-only commits, once they can be told apart and count as the store does."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from analysis.errors import SourceError
from analysis.runs import RUN_COLUMNS
from orchestrator.errors import SweepError
from orchestrator.foreign.source import ForeignRuns
from orchestrator.store import Document

if TYPE_CHECKING:
    from analysis.table import Runs

CONVENTIONS = ("params_convention", "flops_rule")

NOT_THEIRS = frozenset({"run_id", "seq", "attempts", "flops_spent", "seconds_spent", "numerics", "status", "reason"})
"""Columns that say how a run was made here; a foreign table's own are not taken."""

_RESULTS = frozenset({"loss", "bpb", "loss_se", "seconds", "evaluation_seconds", "host", "finished_at", "curve"})


def foreign_commits(
    source: ForeignRuns, *, columns: Mapping[str, str], count: str | None, convention: str | None, sweep: str | None
) -> tuple[list[Document], tuple[str, ...]]:
    """Commits of a source's runs.

    Args:
        source: What was read.
        columns: The user's map, source column of canonical ones.
        count: Count N anew by this convention.
        convention: What N counts, where the source does not say.
        sweep: Name that the rows are to have; by default what the source says, or its own name.

    Returns:
        The documents, each with `run_id`; and why rows were left out.

    Raises:
        AnalysisError: A column is missing or no number, a run occurs twice, or conventions are mixed.
    """
    from analysis.reading import read_runs

    try:
        runs = read_runs(source.frame, columns={**source.columns, **columns}, count=count)
    except SourceError as error:
        raise SourceError(str(error).replace("the data frame", source.name)) from None
    stated = {
        "params_convention": runs.params_convention or convention or source.params_convention,
        "flops_rule": "6nd" if runs.flops_rule == "6nd" else runs.flops_rule or source.flops_rule,
    }
    curves = {budget: i for i, budget in enumerate(sorted(set(runs.frame.get("budget", ()))))}
    rows = []
    for values in runs.frame.to_dict("records"):
        row = _row({str(name): value for name, value in values.items()})
        row |= {name: value for name, value in stated.items() if value is not None}
        row["sweep"] = sweep or row.get("sweep") or Path(source.name).stem
        rows.append(row | {"curve": curves.get(values.get("budget", math.nan))})
    names = [None] * len(rows) if source.identity is None else runs.frame[source.identity].tolist()
    documents = [
        _document(run_id, row, source, runs) for run_id, row in zip(_identities(source, rows, names), rows, strict=True)
    ]
    reasons = Counter(dropped.reason for dropped in runs.dropped)
    return documents, tuple(f"{number} rows left out: {reason}" for reason, number in reasons.items())


def _document(run_id: str, row: Document, source: ForeignRuns, runs: Runs) -> Document:
    foreign = {"run_id": run_id, "status": "ok", "numerics": f"foreign: {source.kind}", "flops_spent": 0.0}
    return {
        "run_id": run_id,
        "row": row | foreign,
        "curve": {"tokens": [], "flops": [], "train_loss": [], "lr": []},
        "spec": None,
        "attempt": 0,
        "foreign": {"kind": source.kind, "source": source.name, "derived": dict(runs.derived), "notes": source.notes},
    }


def _row(values: Mapping[str, Any]) -> Document:
    """The values that the results table has a column for, as its types; what does not fit a type is left out."""
    row: Document = {}
    for column in RUN_COLUMNS:
        value = values.get(column.name)
        if column.name in NOT_THEIRS or value is None or (isinstance(value, float) and not math.isfinite(value)):
            continue
        if column.type == pa.int64() and _is_number(value):
            row[column.name] = round(value)
        elif column.type == pa.float64() and _is_number(value):
            row[column.name] = float(value)
        elif column.type == pa.bool_() and str(value) in ("True", "False"):
            row[column.name] = str(value) == "True"
        elif column.type == pa.string() and isinstance(value, str):
            row[column.name] = value
    return row


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value)


def _identities(source: ForeignRuns, rows: Sequence[Document], names: Sequence[object]) -> Iterator[str]:
    """A name for each run that does not depend on its result, so that a second import finds the first.

    A run's own name in the source, where it has one; else the sweep and every column of ours that is no result, with a
    number among rows that are equal in these.
    """
    seen: Counter[str] = Counter()
    for row, name in zip(rows, names, strict=True):
        told = {key: value for key, value in row.items() if key not in _RESULTS} if name is None else str(name)
        text = json.dumps([source.kind, told], sort_keys=True)
        yield hashlib.sha256(f"{text} {seen[text]}".encode()).hexdigest()[:16]
        seen[text] += 1


def refuse_other_conventions(documents: list[Document], there: pa.Table, store: str) -> None:
    """Refuse runs that count otherwise than those that the store holds.

    Raises:
        SweepError: In what they differ.
    """
    for name in CONVENTIONS:
        known = {value for value in there[name].unique().to_pylist() if value is not None}
        new = {document["row"].get(name) for document in documents}
        if known and new and not new <= known:
            theirs = ", ".join(sorted(str(value or "not stated") for value in new))
            advice = (
                "Say what N counts with --convention, or have it counted anew with --count"
                if name == "params_convention"
                else "Name the FLOPs' rule by --map flops_rule=COLUMN"
            )
            raise SweepError(
                f"{store} holds runs with {name} {', '.join(sorted(known))}, these have {theirs}; expected one "
                f"convention in a store. {advice}, or import into a store of its own and use isoflop compare."
            )
