"""The Parquet tables: derived from the store's objects, each file replaced whole, right at any moment."""

from __future__ import annotations

import io
import time
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.runs import CURVES_SCHEMA, RUNS_SCHEMA, SCHEMA_VERSION, curve_columns
from orchestrator.store.objects import ObjectMissing, Objects

RUNS_KEY = "tables/runs/runs.parquet"
CURVES_FOLDER = "tables/curves"

LEAST_SECONDS = 2.0
"""A table is written at most this often (chosen): a commit is seen by a plain reader within seconds."""

SHARE_OF_TIME = 0.02
"""Share of the driver's time that writing tables may take (chosen): a table of 100,000 rows takes .2 s, so it is written
every 10 s. Readers of ours see what came since among the objects."""

NEW_IN_RUNS = (
    "run_id",
    "seq",
    "finished_at",
    "loss",
    "loss_se",
    "bpb",
    "seconds",
    "seconds_spent",
    "evaluation_seconds",
)
NEW_IN_CURVES = ("tokens", "flops", "train_loss", "heldout_loss", "lr")
"""Columns whose values hardly repeat: without a dictionary they take half of the time, and no more room."""

PART_RUNS = 1000
"""Runs whose curves share a part (chosen): it grows to this size by being replaced, and is never touched again."""


class Tables:
    """Keeps both tables in step with commits."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._part = 0
        self._part_curves = CURVES_SCHEMA.empty_table()
        self._part_runs = 0
        self._in_parts: set[str] = set()
        self._waiting: dict[str, dict[str, list[Any]]] = {}
        self._last_write = 0.0
        self._last_cost = 0.0
        self._read_parts()

    def lacks_curve(self, run_id: str) -> bool:
        """Whether a commit's curve must still be added."""
        return run_id not in self._in_parts and run_id not in self._waiting

    def add_curve(self, commit: Mapping[str, Any]) -> None:
        """Note a commit whose curve belongs in the table."""
        if self.lacks_curve(commit["run_id"]):
            self._waiting[commit["run_id"]] = curve_columns(commit)

    def due(self) -> bool:
        """Whether it is time to write again."""
        pause = max(LEAST_SECONDS, self._last_cost / SHARE_OF_TIME)
        return time.monotonic() - self._last_write >= pause

    def write(self, runs: pa.Table) -> None:
        """Write every row of `runs`, and the curves that no part holds yet.

        Curves go first: a run that the table `runs` shows as committed is never looked for among the objects again.
        """
        start = time.monotonic()
        self._write_curves()
        self._objects.replace(RUNS_KEY, _parquet(runs, new=NEW_IN_RUNS))
        self._last_write = time.monotonic()
        self._last_cost = self._last_write - start

    def _write_curves(self) -> None:
        while self._waiting:
            if self._part_runs >= PART_RUNS:
                self._open_part(self._part + 1, CURVES_SCHEMA.empty_table(), runs=0)
            chosen = list(self._waiting)[: PART_RUNS - self._part_runs]
            curves = _joined([self._waiting[run_id] for run_id in chosen])
            self._open_part(self._part, pa.concat_tables([self._part_curves, curves]), self._part_runs + len(chosen))
            self._objects.replace(_part_key(self._part), _parquet(self._part_curves, new=NEW_IN_CURVES))
            self._in_parts.update(chosen)
            for run_id in chosen:
                del self._waiting[run_id]

    def _open_part(self, number: int, curves: pa.Table, runs: int) -> None:
        self._part, self._part_curves, self._part_runs = number, curves.combine_chunks(), runs

    def _read_parts(self) -> None:
        """Note which runs have their curve in a part; a part that cannot be read is removed and made again."""
        numbers = sorted(int(name.removeprefix("part-").removesuffix(".parquet")) for name in self._part_names())
        for number in numbers:
            last = number == numbers[-1]
            table = _read(self._objects, _part_key(number), None if last else ["run_id"])
            if table is None:
                continue
            runs = set(table["run_id"].unify_dictionaries().unique().to_pylist())
            self._in_parts |= runs
            self._part = number + 1
            if last and table.schema.equals(CURVES_SCHEMA):
                self._open_part(number, table.cast(CURVES_SCHEMA), len(runs))

    def _part_names(self) -> list[str]:
        return [name for name in self._objects.names(CURVES_FOLDER) if name.endswith(".parquet")]


def _joined(curves: Iterable[Mapping[str, list[Any]]]) -> pa.Table:
    """Columns of several curves as one table."""
    curves = list(curves)
    columns = {name: list(chain.from_iterable(curve[name] for curve in curves)) for name in CURVES_SCHEMA.names}
    return pa.table(columns, schema=CURVES_SCHEMA)


def read_runs(objects: Objects) -> pa.Table | None:
    """The table `runs` as it was written last, None where there is none under this very schema."""
    table = _read(objects, RUNS_KEY)
    if table is None or not table.schema.equals(RUNS_SCHEMA):
        return None
    written_as = (table.schema.metadata or {}).get(b"isoflop_schema")
    return table.cast(RUNS_SCHEMA) if written_as == str(SCHEMA_VERSION).encode() else None


def runs_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows, each with a value for every column, as a table."""
    rows = list(rows)
    return pa.table({name: [row[name] for row in rows] for name in RUNS_SCHEMA.names}, schema=RUNS_SCHEMA)


def _parquet(table: pa.Table, *, new: Collection[str]) -> bytes:
    """A table as one Parquet file; `new` columns get no dictionary."""
    buffer = io.BytesIO()
    repeating = [name for name in table.column_names if name not in new]
    pq.write_table(table, buffer, compression="zstd", use_dictionary=repeating)
    return buffer.getvalue()


def _read(objects: Objects, key: str, columns: list[str] | None = None) -> pa.Table | None:
    """One file of a table, `columns` of it as dictionaries; where it cannot be read it is removed, to be made again."""
    try:
        return pq.ParquetFile(pa.BufferReader(objects.read(key)), read_dictionary=columns or []).read(columns)
    except ObjectMissing:
        return None
    except (pa.ArrowException, OSError):
        objects.delete(key)
        return None


def _part_key(number: int) -> str:
    return f"{CURVES_FOLDER}/part-{number:06d}.parquet"
