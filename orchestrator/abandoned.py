"""Attempts whose driver died: what they are known to have done is charged to the sweep, once."""

from __future__ import annotations

from orchestrator.execution.heartbeat import flops_of
from orchestrator.store import Document, Store
from orchestrator.store.contents import Contents


def charge(store: Store, contents: Contents) -> None:
    """Keep an attempt for each progress that a dead driver's workers left; to be called before progress is removed.

    A worker that is alive after all and commits later is charged twice for these steps: rather too much than nothing.

    Args:
        store: Where the progress lies.
        contents: What is true of the store; it is given the attempts, too.
    """
    rows = {proposal["run_id"]: proposal["row"] for proposal in contents.proposals.values()}
    for run_id in sorted(store.under_way() & rows.keys() - contents.commits.keys()):
        progress = store.progress(run_id) or {}
        number = progress.get("attempt")
        kept = contents.attempts.setdefault(run_id, [])
        if number is None or any(attempt.get("attempt") == number for attempt in kept):
            continue
        document = _document(progress, rows[run_id])
        store.add_attempt(run_id, number, document)
        kept.append({"run_id": run_id, "attempt": number} | document)


def _document(progress: Document, row: Document) -> Document:
    known = progress.get("outcome") or {"flops_spent": flops_of(progress, row), "seconds": progress["seconds"]}
    return {
        "status": "cancelled",
        "reason": "its driver ended",
        "traceback": None,
        "seconds": known["seconds"],
        "flops_spent": known["flops_spent"],
        "final": False,
    }
