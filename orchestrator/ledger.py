"""What the driver knows of every run, in memory: derived from the store's objects and kept in step with them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from analysis.runs import run_row
from orchestrator.store import Contents, Document


class Ledger:
    """Proposals, commits and attempts by run; the rows of the results table follow from them."""

    def __init__(self, contents: Contents) -> None:
        self._proposals: dict[str, Document] = {}
        self._commits: dict[str, Document] = {}
        self._attempts: dict[str, list[Document]] = defaultdict(list)
        self._running: set[str] = set()
        self.next_seq = 1 + max(contents.proposals, default=-1)
        for seq, proposal in contents.proposals.items():
            self.proposed(seq, proposal)
        for run_id, commit in contents.commits.items():
            self._adopt(run_id, commit)
            self.committed(commit)
        for run_id, attempts in contents.attempts.items():
            self._attempts[run_id].extend(attempts)

    def _adopt(self, run_id: str, commit: Document) -> None:
        """A commit without a proposal: imported from another store, or its proposal cannot be read."""
        if run_id not in self._proposals:
            self._proposals[run_id] = {"run_id": run_id, "row": commit["row"], "spec": commit["spec"]}

    def proposed(self, seq: int, proposal: Document) -> None:
        """Note a proposal."""
        self._proposals[proposal["run_id"]] = proposal | {"row": proposal["row"] | {"seq": seq}}
        self.next_seq = max(self.next_seq, seq + 1)

    def started(self, run_id: str) -> None:
        """Note that an attempt is under way."""
        self._running.add(run_id)

    def failed(self, run_id: str, attempt: Document) -> None:
        """Note an attempt that ended without a result."""
        self._running.discard(run_id)
        self._attempts[run_id].append(attempt)

    def returned(self, run_id: str) -> None:
        """Note that a run is not under way any more, without a word about how it ended."""
        self._running.discard(run_id)

    def committed(self, commit: Document) -> None:
        """Note a result; its curve is not kept."""
        self._running.discard(commit["run_id"])
        self._commits[commit["run_id"]] = {key: value for key, value in commit.items() if key != "curve"}

    def proposals(self) -> dict[str, Document]:
        """Every proposal, by run."""
        return self._proposals

    def commit(self, run_id: str) -> Document | None:
        """A run's result, without its curve."""
        return self._commits.get(run_id)

    def commits(self) -> dict[str, Document]:
        """Every result, by run."""
        return self._commits

    def attempts(self, run_id: str) -> list[Document]:
        """Attempts of a run that ended without a result."""
        return self._attempts.get(run_id, [])

    def gave_up(self, run_id: str) -> bool:
        """Whether a run failed for good, until somebody asks for a retry."""
        attempts = self.attempts(run_id)
        return run_id not in self._commits and bool(attempts) and bool(attempts[-1].get("final"))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row of the results table, in order of proposal."""
        for run_id, proposal in self._proposals.items():
            yield run_row(
                proposal,
                commit=self._commits.get(run_id),
                attempts=self.attempts(run_id),
                running=run_id in self._running,
            )

    def counts(self) -> Counter[str]:
        """Runs by status."""
        return Counter(row["status"] for row in self.rows())

    def flops_spent(self) -> float:
        """FLOPs paid so far, failed attempts included."""
        committed = math.fsum(commit["row"].get("flops_spent") or 0.0 for commit in self._commits.values())
        return committed + math.fsum(
            attempt.get("flops_spent", 0.0) for attempts in self._attempts.values() for attempt in attempts
        )
