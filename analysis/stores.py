"""A store's tables as they stand now: the compacted Parquet and the tail of objects that are not in it yet.

Objects are the truth and are created once; the tables follow within seconds. A reader takes the tables for what they
hold and reads only the objects that are newer, so that ten thousand compacted runs cost one Parquet file and three
listings. Needs pyarrow alone: `isoflop query` and `status` start without pandas and scipy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.errors import SourceError
from analysis.places import Place, place_of
from analysis.runs import CURVES_SCHEMA, RUN_COLUMNS, RUNS_SCHEMA, SCHEMA_VERSION, curve_columns, run_row

COMMITTED = ("ok", "diverged")
"""Statuses that a commit gives; every other one can still change."""

_PYTHON_TYPES: dict[pa.DataType, type | tuple[type, ...]] = {
    pa.string(): str,
    pa.int64(): int,
    pa.float64(): (int, float),
    pa.bool_(): bool,
}

FIRST_LOOK = 12
"""Finished runs before which the sampler does not look at its interval (`orchestrator.proposing.settings`)."""

_READ_TRIES = 5
"""Listings of a folder whose parts may be replaced while it is read (chosen; one is nearly always enough)."""


@dataclass(frozen=True, kw_only=True)
class StoreTable:
    """One table of a store, and the objects that could not be read for it.

    Attributes:
        table: The rows, under the schema of `analysis.runs`.
        unreadable: Names of objects that are not what they should be, such as `commits/3fa2.json`; their runs are
            shown by what the other objects say.
    """

    table: pa.Table
    unreadable: tuple[str, ...] = ()


@dataclass
class _Reader:
    """Reads objects of a store and remembers the names of those it could not read."""

    place: Place
    unreadable: list[str] = field(default_factory=list)

    def names(self, folder: str) -> list[str]:
        """Names in a folder without the suffix `.json`; sub-folders included, temporary and hidden files not."""
        names = self.place.names(folder)
        return [name.removesuffix(".json") for name in names if "." not in name.removesuffix(".json")]

    def use(self, name: str, parse: Callable[[dict[str, Any]], Any]) -> Any | None:
        """`parse` of one object, or None with the name noted when it is torn or lacks what `parse` needs."""
        try:
            return parse(json.loads(self.place.read(name)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException):
            self.unreadable.append(name)
            return None


def is_store(path: str | os.PathLike[str]) -> bool:
    """Whether a folder or bucket holds a sweep's objects or tables."""
    place = place_of(path)
    return any(place.exists(part) for part in ("store.json", "proposals", "commits", "tables/runs"))


def store_rows(path: str | os.PathLike[str]) -> pa.Table:
    """All runs of a store as they stand now, in order of their proposals; see `scan_runs`."""
    return scan_runs(path).table


def store_curves(path: str | os.PathLike[str]) -> pa.Table:
    """The curves of all committed runs of a store; see `scan_curves`."""
    return scan_curves(path).table


def scan_runs(path: str | os.PathLike[str]) -> StoreTable:
    """The table `runs` of a store, brought up to date with its objects.

    A commit replaces the pending, running or failed row that the table still shows; proposals that the table lacks are
    added. Whether an attempt is under way is known to the driver alone, so a row is `running` only where the table
    says so and no newer object ends that attempt.

    Args:
        path: The store's folder, or its URL.

    Returns:
        One row per run, ordered by `seq`, and the objects that could not be read.

    Raises:
        SourceError: No such store, or its tables are of a newer version, or torn with no objects to say what they held.
    """
    reader = _Reader(_checked_place(path))
    table = _read_table(reader, "tables/runs", RUNS_SCHEMA)
    if (fresh := _fresh_rows(reader, table)) is not None:
        stale = pc.is_in(table["run_id"], fresh["run_id"])
        table = pa.concat_tables([table.filter(pc.invert(stale)), fresh])
        table = table.sort_by([("seq", "ascending"), ("run_id", "ascending")])
    return StoreTable(table=table, unreadable=tuple(reader.unreadable))


def scan_curves(path: str | os.PathLike[str]) -> StoreTable:
    """The table `curves` of a store, with the curves of commits that are not in it yet at its end.

    Raises:
        SourceError: No such store, or its tables are of a newer version, or torn with no objects to say what they held.
    """
    reader = _Reader(_checked_place(path))
    table = _read_table(reader, "tables/curves", CURVES_SCHEMA)
    known = set(pc.unique(table["run_id"]).to_pylist())
    tails = [
        reader.use(f"commits/{name}.json", lambda commit: pa.table(curve_columns(commit), schema=CURVES_SCHEMA))
        for name in sorted(set(reader.names("commits")) - known)
    ]
    return StoreTable(
        table=pa.concat_tables([table, *(tail for tail in tails if tail is not None)]),
        unreadable=tuple(reader.unreadable),
    )


def first_look(path: str | os.PathLike[str]) -> int | None:
    """Finished runs from which on the store's sweep could stop by `stop.target_interval`; None where it could not."""
    reader = _Reader(place_of(path))
    names = reader.names("sweeps")
    wanted = reader.use(f"sweeps/{max(names)}.json", lambda d: d["sweep"]["stop"]["target_interval"]) if names else None
    return None if wanted is None else FIRST_LOOK


def _checked_place(path: str | os.PathLike[str]) -> Place:
    if not is_store(path):
        raise SourceError(
            f"{os.fspath(path)} is not a store: it has no proposals, commits or tables. "
            "Name the folder that `isoflop run --store` wrote, such as runs/quickstart."
        )
    return place_of(path)


def _read_table(reader: _Reader, folder: str, schema: pa.Schema) -> pa.Table:
    """All Parquet parts of a folder under `schema`; where one is replaced while being read, the listing is repeated."""
    place = reader.place
    for tries_left in reversed(range(_READ_TRIES)):
        torn: list[str] = []
        try:
            names = sorted(name for name in place.names(folder) if name.endswith(".parquet"))
            read = [_part(reader, f"{folder}/{name}", torn) for name in names]
            parts = [_conformed(part, schema, f"{place}/{folder}") for part in read if part is not None]
            reader.unreadable += torn
            return pa.concat_tables([schema.empty_table(), *parts])
        except FileNotFoundError:
            if not tries_left:
                raise
    raise AssertionError("unreachable")


def _part(reader: _Reader, name: str, torn: list[str]) -> pa.Table | None:
    """One Parquet file; None, with its name in `torn`, where it is torn and the objects know what it held."""
    data = reader.place.read(name)
    try:
        return pq.ParquetFile(pa.BufferReader(data)).read()
    except (pa.ArrowException, OSError) as error:
        if not (reader.names("commits") or reader.names("proposals")):
            raise SourceError(
                f"{reader.place}/{name} is not Parquet ({error}), and no commits say what it held; expected a table. "
                "Copy it again from where it came."
            ) from None
        torn.append(name)
        return None


def _conformed(table: pa.Table, schema: pa.Schema, path: str) -> pa.Table:
    """`table` with exactly the columns of `schema`: absent ones null (an older version), unknown ones dropped."""
    version = (table.schema.metadata or {}).get(b"isoflop_schema", b"0")
    if int(version) > SCHEMA_VERSION:
        raise SourceError(
            f"{path} has table version {int(version)}; this isoflop reads up to {SCHEMA_VERSION}. Upgrade isoflop to "
            "read this store."
        )
    if table.schema.equals(schema):
        return table.cast(schema)
    present = set(table.column_names)
    columns = [table[f.name].cast(f.type) if f.name in present else pa.nulls(len(table), f.type) for f in schema]
    return pa.table(columns, schema=schema)


def _fresh_rows(reader: _Reader, table: pa.Table) -> pa.Table | None:
    """Rows of runs about which the objects may know more than the table, None where there is none."""
    commits, attempts = set(reader.names("commits")), set(reader.names("attempts"))
    known = dict(zip(table["run_id"].to_pylist(), table["status"].to_pylist(), strict=True))
    shown = {run_id for run_id, status in known.items() if status in COMMITTED}
    rows = list(_proposed_rows(reader, table, commits, attempts, shown))
    made = {row["run_id"] for row in rows}
    rows += [row for name in sorted(commits - shown - made) if (row := _orphan_row(reader, name)) is not None]
    return pa.Table.from_pylist(rows, schema=RUNS_SCHEMA) if rows else None


def _proposed_rows(
    reader: _Reader, table: pa.Table, commits: set[str], attempts: set[str], shown: set[str]
) -> Iterator[dict[str, Any]]:
    """Rows from proposals that the table lacks, or whose run has a commit or a failed attempt that it may not show."""
    open_rows = table.filter(pc.invert(pc.is_in(table["status"], pa.array(COMMITTED))))
    waiting = {row["seq"]: row for row in open_rows.select(["seq", "run_id", "status", "attempts"]).to_pylist()}
    settled = set(table["seq"].to_pylist()) - {s for s, r in waiting.items() if r["run_id"] in commits | attempts}
    made: set[str] = set(shown)
    for name in sorted(_numbered(reader.names("proposals")), key=int):
        if int(name) in settled:
            continue
        proposal = reader.use(f"proposals/{name}.json", _parse_proposal)
        if proposal is None or proposal["run_id"] in made:
            continue
        made.add(proposal["run_id"])
        proposal["row"]["seq"] = int(name)
        yield _row(reader, proposal, commits, attempts, waiting.get(int(name)))


def _parse_proposal(proposal: dict[str, Any]) -> dict[str, Any]:
    row = {column.name: proposal["row"].get(column.name) for column in RUN_COLUMNS}
    return {"run_id": str(proposal["run_id"]), "row": _typed(row)}


def _row(
    reader: _Reader, proposal: dict[str, Any], commits: set[str], attempts: set[str], shown: dict[str, Any] | None
) -> dict[str, Any]:
    run_id = proposal["run_id"]
    proposal["row"]["run_id"] = run_id
    failed = _failed_attempts(reader, run_id) if run_id in attempts else []
    running = shown is not None and shown["status"] == "running" and len(failed) < shown["attempts"]
    row = None
    if run_id in commits:
        row = reader.use(
            f"commits/{run_id}.json",
            lambda commit: _typed(run_row(proposal, commit=commit, attempts=failed, running=False)),
        )
    return row or run_row(proposal, commit=None, attempts=failed, running=running)


def _failed_attempts(reader: _Reader, run_id: str) -> list[dict[str, Any]]:
    def parse(attempt: dict[str, Any]) -> dict[str, Any]:
        spent = float(attempt.get("flops_spent") or 0.0)
        seconds = float(attempt.get("seconds") or 0.0)
        return {"status": attempt["status"], "reason": attempt["reason"], "flops_spent": spent, "seconds": seconds}

    names = sorted(_numbered(reader.names(f"attempts/{run_id}")), key=int)
    found = [reader.use(f"attempts/{run_id}/{name}.json", parse) for name in names]
    return [attempt for attempt in found if attempt is not None]


def _orphan_row(reader: _Reader, run_id: str) -> dict[str, Any] | None:
    """Row of a commit whose proposal is missing or unreadable: what was committed is shown all the same."""
    proposal = {"row": {"run_id": run_id}}
    row: dict[str, Any] | None = reader.use(
        f"commits/{run_id}.json", lambda commit: _typed(run_row(proposal, commit=commit, attempts=[], running=False))
    )
    return row


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    """`row`, once every value has its column's type: one bad object must not cost the whole table."""
    for column in RUN_COLUMNS:
        value = row[column.name]
        if value is not None and not isinstance(value, _PYTHON_TYPES[column.type]):
            raise TypeError(f"{column.name} is {value!r}")
    return row


def _numbered(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.isdecimal()]
