"""The Parquet tables: derived from the store's objects, replaced whole (`runs`) or added to (`curves`)."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.runs import CURVES_SCHEMA, RUNS_SCHEMA, curve_columns
from orchestrator.store.objects import ObjectMissing, Objects

RUNS_KEY = "tables/runs/runs.parquet"
CURVES_FOLDER = "tables/curves"

LEAST_SECONDS = 2.0
"""A table is written at most this often (chosen): a commit is seen by a plain reader within seconds."""

SHARE_OF_TIME = 0.1
"""Share of the driver's time that writing tables may take; large tables are written less often."""


class Tables:
    """Keeps both tables in step with commits."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._in_parts = self._runs_in_parts()
        self._next_part = 1 + max((_part_number(name) for name in objects.names(CURVES_FOLDER)), default=-1)
        self._waiting: dict[str, Mapping[str, Any]] = {}
        self._last_write = 0.0
        self._last_cost = 0.0

    def add_curve(self, commit: Mapping[str, Any]) -> None:
        """Note a commit whose curve belongs in the table."""
        if commit["run_id"] not in self._in_parts:
            self._waiting[commit["run_id"]] = commit

    def due(self) -> bool:
        """Whether it is time to write again."""
        pause = max(LEAST_SECONDS, self._last_cost / SHARE_OF_TIME)
        return time.monotonic() - self._last_write >= pause

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write every row of `runs`, and the curves that no part holds yet."""
        start = time.monotonic()
        self._objects.replace(RUNS_KEY, _parquet(_runs_table(rows)))
        if self._waiting:
            parts = [pa.table(curve_columns(commit), schema=CURVES_SCHEMA) for commit in self._waiting.values()]
            key = f"{CURVES_FOLDER}/part-{self._next_part:06d}.parquet"
            self._objects.replace(key, _parquet(pa.concat_tables(parts)))
            self._next_part += 1
            self._in_parts.update(self._waiting)
            self._waiting.clear()
        self._last_write = time.monotonic()
        self._last_cost = self._last_write - start

    def _runs_in_parts(self) -> set[str]:
        """Runs whose curves are in a part; a part that cannot be read is removed and made again."""
        found: set[str] = set()
        for name in self._objects.names(CURVES_FOLDER):
            key = f"{CURVES_FOLDER}/{name}"
            try:
                table = pq.read_table(pa.BufferReader(self._objects.read(key)), columns=["run_id"])
            except pa.ArrowInvalid:
                self._objects.delete(key)
                continue
            except ObjectMissing:
                continue
            found.update(table.column("run_id").unique().to_pylist())
        return found


def _runs_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    rows = list(rows)
    columns = {name: [row[name] for row in rows] for name in RUNS_SCHEMA.names}
    return pa.table(columns, schema=RUNS_SCHEMA)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _part_number(name: str) -> int:
    with contextlib.suppress(ValueError):
        return int(name.removeprefix("part-").removesuffix(".parquet"))
    return -1
