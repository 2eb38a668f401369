"""Copies of a store for other tools' pages: an Optuna study, a tracker. They are written once and never read back."""

from __future__ import annotations

from orchestrator import corpora, cost, planning
from orchestrator.errors import StoreError
from orchestrator.ledger import Ledger
from orchestrator.store import Store
from orchestrator.store.contents import read_contents
from orchestrator.tracking.tracker import Tracker


def export_study(location: str, storage: str, name: str | None = None) -> int:
    """Write the sweep's Optuna study into a storage of Optuna's, for optuna-dashboard.

    Args:
        location: The store.
        storage: URL such as sqlite:///study.db.
        name: The study's name there; by default the sweep's.

    Returns:
        The number of trials.

    Raises:
        StoreError: No such store, or it holds no sweep.
        SweepError: The storage has a study of this name, or cannot be written.
    """
    from orchestrator.proposing import Proposer

    store = Store(location)
    store.header()
    sweep = store.sweep()
    corpus = corpora.known(sweep.data, store) or corpora.estimated(sweep.data)
    plan = planning.plan(sweep, corpus, cost.CostModel(step_seconds=1e-3, token_seconds=0.0, flops_per_second=1e10))
    ledger = Ledger(read_contents(store))
    open_runs = ledger.open_runs()
    proposer = Proposer(
        plan,
        losses=ledger.losses(),
        proposed=open_runs,
        order=ledger.order(),
        failed=[run_id for run_id in open_runs if ledger.gave_up(run_id)],
    )
    return proposer.export(storage, name or sweep.name)


def export_runs(location: str, tracker: Tracker) -> int:
    """Tell a tracker of every committed run, with its curve.

    Returns:
        The number of runs.

    Raises:
        StoreError: No such store, or it holds no committed run.
    """
    store = Store(location)
    store.header()
    ledger = Ledger(read_contents(store))
    done = [row for row in ledger.rows() if ledger.is_committed(row["run_id"])]
    if not done:
        raise StoreError(f"{location} holds no committed run; expected at least one. Wait for one to end.")
    for row in done:
        commit = store.commit(row["run_id"])
        tracker.run_ended(row, {} if commit is None else commit["curve"])
    tracker.close()
    return len(done)
