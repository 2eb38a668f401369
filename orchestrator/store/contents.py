"""What is true of a sweep, read at a driver's start: the table for what it holds already, objects for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from analysis.runs import RUNS_SCHEMA
from orchestrator.store.objects import ObjectMissing
from orchestrator.store.store import Document, Store
from orchestrator.store.tables import read_runs

COMMITTED = ("ok", "diverged")
"""Statuses of rows that never change again."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Everything that is true of a sweep.

    Attributes:
        settled: Rows of `runs` whose commit the table shows already, so that its object need not be read: ten thousand
            objects take seconds, the table milliseconds.
        proposals: Those of all other runs by sequence number, in order.
        commits: Those that the table does not show yet, by run, without their curves' arrays being looked at.
        attempts: Attempts of all other runs that ended without a result, by run, in order.
        next_seq: The next free sequence number.
        unreadable: Keys of objects that are torn or of another format.
    """

    settled: pa.Table
    proposals: dict[int, Document]
    commits: dict[str, Document]
    attempts: dict[str, list[Document]]
    next_seq: int
    unreadable: tuple[str, ...]


def read_contents(store: Store) -> Contents:
    """Read all that is true; unreadable objects are named, not fatal."""
    committed = {name.removesuffix(".json") for name in store.objects.names("commits")}
    settled = _settled(store, committed)
    known = set(settled["run_id"].to_pylist())
    seqs = set(settled["seq"].to_pylist())
    unreadable: list[str] = []

    def documents(folder: str, names: list[str]) -> Iterator[tuple[str, Document]]:
        for name in names:
            try:
                yield name.removesuffix(".json"), store.read(f"{folder}/{name}")
            except ObjectMissing:
                continue
            except ValueError:
                unreadable.append(f"{folder}/{name}")

    proposed = {int(name.partition(".")[0]): name for name in store.objects.names("proposals")}
    proposals = documents("proposals", [name for seq, name in proposed.items() if seq not in seqs])
    commits = documents("commits", [f"{run_id}.json" for run_id in sorted(committed - known)])
    return Contents(
        settled=settled,
        proposals={int(seq): proposal for seq, proposal in proposals},
        commits=dict(commits),
        attempts={
            run_id: [attempt for _, attempt in documents(f"attempts/{run_id}", names)]
            for run_id in store.objects.names("attempts")
            if run_id not in known and (names := store.objects.names(f"attempts/{run_id}"))
        },
        next_seq=1 + max(proposed, default=-1),
        unreadable=tuple(unreadable),
    )


def _settled(store: Store, committed: set[str]) -> pa.Table:
    """Rows of the table that are final, each with its commit among the objects."""
    table = read_runs(store.objects)
    if table is None:
        return RUNS_SCHEMA.empty_table()
    final = pc.and_(
        pc.is_in(table["status"], pa.array(COMMITTED)),
        pc.is_in(table["run_id"], pa.array(committed, pa.string())),
    )
    return table.filter(final)
