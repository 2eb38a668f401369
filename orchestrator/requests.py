"""Requests that a user leaves in a store for its driver: new attempts, and an end."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import StoreError
from orchestrator.ledger import Ledger
from orchestrator.store import Store
from orchestrator.store.contents import read_contents
from orchestrator.store.lease import holder


def retry(location: str, run_ids: Sequence[str]) -> list[str]:
    """Ask for new attempts; nothing is overwritten, the request is one more entry among the run's attempts.

    Args:
        location: The store.
        run_ids: Runs to try again, or the beginnings of their ids; every run that failed where empty.

    Returns:
        The runs that were asked for.

    Raises:
        StoreError: No such store or run, or a run that did not fail.
    """
    store = _existing(location)
    ledger = Ledger(read_contents(store))
    failed = [run_id for run_id in ledger.open_runs() if ledger.gave_up(run_id)]
    wanted = [_match(prefix, failed, location) for prefix in run_ids] or failed
    for run_id in wanted:
        document = {"status": "pending", "reason": "a retry was asked for", "final": False}
        store.add_attempt(run_id, len(ledger.attempts(run_id)), document)
    return wanted


def cancel(location: str) -> str:
    """Leave a request to stop.

    Returns:
        What follows, in words.

    Raises:
        StoreError: No such store.
    """
    store = _existing(location)
    driver = holder(store.objects)
    if driver is None:
        return "nothing runs here; there is nothing to cancel."
    store.request("cancel")
    return (
        f"the driver (pid {driver.pid} on {driver.host}) will stop after checkpoints; isoflop run continues the sweep."
    )


def _existing(location: str) -> Store:
    store = Store(location)
    store.header()
    return store


def _match(prefix: str, failed: Sequence[str], location: str) -> str:
    found = [run_id for run_id in failed if run_id.startswith(prefix)]
    if len(found) != 1:
        raise StoreError(
            f"{prefix}: {len(found)} failed runs of {location} begin so; expected one of: "
            f"{', '.join(failed) or 'none failed'}. "
            "isoflop status names them."
        )
    return found[0]
