"""What the driver knows of every run, in memory: derived from the store's objects and kept in step with them.

Finished runs are rows of an Arrow table, some hundred bytes each; only open ones are Python objects. So a sweep of
100,000 runs fits in memory, and no step of the driver takes longer for the runs that lie behind it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from analysis.runs import RUNS_SCHEMA, run_row
from orchestrator.store import Document
from orchestrator.store.contents import Contents
from orchestrator.store.tables import runs_table

Row = dict[str, Any]


class Ledger:
    """Runs by their state; the rows of the results table follow from them."""

    def __init__(self, contents: Contents) -> None:
        self.next_seq = contents.next_seq
        self._open: dict[str, Document] = {}
        self._attempts: dict[str, list[Document]] = defaultdict(list)
        self._running: set[str] = set()
        self._settled = contents.settled
        self._settled_since: list[Row] = []
        self._losses: dict[str, float | None] = _losses(contents.settled)
        self._committed_flops = float(pc.sum(contents.settled["flops_spent"]).as_py() or 0.0)
        self._committed_seconds = float(pc.sum(contents.settled["seconds_spent"]).as_py() or 0.0)
        self._table: pa.Table | None = None
        self._failed_flops = 0.0
        self._failed_seconds = 0.0
        for run_id, attempts in contents.attempts.items():
            for attempt in attempts:
                self.failed(run_id, attempt)
        for seq, proposal in contents.proposals.items():
            self.proposed(seq, proposal)
        for commit in contents.commits.values():
            self.committed(commit)

    # --- what happens

    def proposed(self, seq: int, proposal: Document) -> None:
        """Note a proposal; a second one of the same run changes nothing."""
        self.next_seq = max(self.next_seq, seq + 1)
        run_id, self._table = proposal["run_id"], None
        if run_id not in self._losses and run_id not in self._open:
            self._open[run_id] = proposal["row"] | {"seq": seq}

    def started(self, run_id: str) -> None:
        """Note that an attempt is under way."""
        self._running.add(run_id)
        self._table = None

    def failed(self, run_id: str, attempt: Document) -> None:
        """Note an attempt that ended without a result."""
        self._running.discard(run_id)
        self._table = None
        self._attempts[run_id].append(attempt)
        self._failed_flops += attempt.get("flops_spent", 0.0)
        self._failed_seconds += attempt.get("seconds") or 0.0

    def committed(self, commit: Document) -> None:
        """Note a result. One without a proposal was imported, or its proposal could not be read."""
        run_id, self._table = commit["run_id"], None
        self._running.discard(run_id)
        if run_id in self._losses:
            return
        known = self._open.pop(run_id, commit["row"])
        row = run_row({"row": known}, commit=commit, attempts=self._attempts.pop(run_id, ()), running=False)
        self._failed_flops -= row["flops_spent"] - (commit["row"].get("flops_spent") or 0.0)
        self._committed_flops += row["flops_spent"]
        self._failed_seconds -= row["seconds_spent"] - (commit["row"].get("seconds") or 0.0)
        self._committed_seconds += row["seconds_spent"]
        self._losses[run_id] = row["loss"]
        self._settled_since.append(row)

    # --- what is known

    def is_committed(self, run_id: str) -> bool:
        """Whether a run has its result."""
        return run_id in self._losses

    @property
    def committed_count(self) -> int:
        """Runs that have their result."""
        return len(self._losses)

    def losses(self) -> dict[str, float | None]:
        """Loss of every committed run, None for a diverged one."""
        return self._losses

    def seconds_of_latest(self, count: int) -> list[tuple[str, float]]:
        """Runs that ended well and how long they took, the latest proposals."""
        table = self.table().select(["run_id", "status", "seconds", "flops", "flops_spent"])
        table = table.filter(pc.equal(table["status"], "ok"))
        latest = table.slice(max(0, len(table) - count))
        return [(row["run_id"], whole_seconds(row)) for row in latest.to_pylist()]

    def open_runs(self) -> list[str]:
        """Runs that were proposed and have no result, in order of proposal."""
        return list(self._open)

    def order(self) -> list[str]:
        """Every run that was proposed, by its number."""
        ids: list[str] = self.table()["run_id"].to_pylist()
        return ids

    def proposed_row(self, run_id: str) -> Row:
        """What was known of an open run when it was proposed."""
        return self._open[run_id]

    def attempts(self, run_id: str) -> Sequence[Document]:
        """Attempts of an open run that ended without a result."""
        return self._attempts.get(run_id, ())

    def gave_up(self, run_id: str) -> bool:
        """Whether a run failed for good, until somebody asks for a retry."""
        attempts = self.attempts(run_id)
        return bool(attempts) and bool(attempts[-1].get("final"))

    @property
    def flops_spent(self) -> float:
        """FLOPs paid so far, failed attempts included."""
        return self._committed_flops + self._failed_flops

    @property
    def seconds_spent(self) -> float:
        """Worker seconds paid so far, failed attempts included."""
        return self._committed_seconds + self._failed_seconds

    def table(self) -> pa.Table:
        """The results table, in order of proposal."""
        if self._table is None:
            self._table = self._whole_table()
        return self._table

    def rows(self, columns: Sequence[str] = RUNS_SCHEMA.names) -> list[Row]:
        """Rows of the results table; name the columns where there are many rows."""
        rows: list[Row] = self.table().select(list(columns)).to_pylist()
        return rows

    def counts(self, run_ids: Container[str] | None = None) -> Counter[str]:
        """Runs by status: all, or those that are named."""
        table = self.table()
        statuses: list[str] = table["status"].to_pylist()
        if run_ids is None:
            return Counter(statuses)
        named = zip(table["run_id"].to_pylist(), statuses, strict=True)
        return Counter(status for run_id, status in named if run_id in run_ids)

    def _whole_table(self) -> pa.Table:
        if self._settled_since:
            self._settled = pa.concat_tables([self._settled, runs_table(self._settled_since)])
            self._settled_since = []
        if self._settled.column(0).num_chunks > 64:
            self._settled = self._settled.combine_chunks()
        whole = pa.concat_tables([self._settled, runs_table(self._open_rows())])
        return whole.sort_by([("seq", "ascending"), ("run_id", "ascending")])

    def _open_rows(self) -> Iterator[Row]:
        for run_id, row in self._open.items():
            yield run_row({"row": row}, commit=None, attempts=self.attempts(run_id), running=run_id in self._running)


def whole_seconds(row: Row) -> float:
    """What a run would have taken from its first step, where it began at a state that another had left."""
    share = (row["flops_spent"] or 0.0) / row["flops"]
    return float(row["seconds"]) / share if 0 < share < 1 else float(row["seconds"])


def _losses(settled: pa.Table) -> dict[str, float | None]:
    return dict(zip(settled["run_id"].to_pylist(), settled["loss"].to_pylist(), strict=True))
