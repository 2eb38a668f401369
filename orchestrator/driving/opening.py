"""From a store to what a driver knows: what is true is read, what a dead driver left behind is put right."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from orchestrator import abandoned, cost
from orchestrator.cost import CostModel
from orchestrator.driving.state import TIMED_RUNS, State, Times
from orchestrator.execution import checkpoints
from orchestrator.execution.launcher import Launcher
from orchestrator.forecast import Forecast
from orchestrator.ledger import Ledger
from orchestrator.planning import Plan, Point
from orchestrator.proposing import Proposer
from orchestrator.store import Store
from orchestrator.store.contents import Contents, read_contents
from orchestrator.store.events import EventLog
from orchestrator.store.tables import Tables
from orchestrator.watching import Watch

_log = logging.getLogger(__name__)


def opened(
    plan: Plan,
    store: Store,
    *,
    contents: Contents | None,
    launcher: Launcher,
    watch: Watch | None,
    events: EventLog,
    guess: CostModel,
    stop_request: str,
) -> State:
    """What a driver knows when it begins.

    Args:
        plan: What is to be run.
        store: What has been.
        contents: What is true of the store, where that was read under this lease; None to read it.
        launcher: Executes attempts.
        watch: Sees how attempts go; None for the usual.
        events: The log.
        guess: How long runs take, before any has.
        stop_request: Name of the request that ends every attempt.
    """
    started_at = time.monotonic()
    points = {point.run_id: point for point in plan.points}
    contents = _put_right(contents or read_contents(store), store, events)
    tables = _tables(contents, store)
    ledger = Ledger(contents)
    _remove_checkpoints(ledger, store)
    losses, open_runs = ledger.losses(), ledger.open_runs()
    gave_up = {run_id for run_id in open_runs if ledger.gave_up(run_id)}
    return State(
        plan=plan,
        points=points,
        store=store,
        launcher=launcher,
        watch=watch or Watch(store),
        events=events,
        ledger=ledger,
        tables=tables,
        proposer=Proposer(
            plan,
            losses=losses,
            proposed=open_runs,
            order=None if plan.limits is None else ledger.order(),
            failed=gave_up,
        ),
        forecast=Forecast(plan, ended={*losses, *gave_up}, proposed=[*losses, *open_runs]),
        times=_times(ledger, points, guess),
        stop_request=stop_request,
        started_at=started_at,
    )


def _put_right(contents: Contents, store: Store, events: EventLog) -> Contents:
    """Charge what dead attempts cost, remove what they left, and set aside what cannot be read."""
    abandoned.charge(store, contents)
    store.sweep_out()
    for key in contents.unreadable:
        moved = store.set_aside(key)
        _log.warning("%s cannot be read; its run is made again. It was moved to %s", key, moved)
        events.add("set aside", key=key, moved=moved)
    return contents


def _tables(contents: Contents, store: Store) -> Tables:
    """The tables, with every curve that they lack."""
    tables = Tables(store.objects)
    for commit in contents.commits.values():
        tables.add_curve(commit)
    for run_id in filter(tables.lacks_curve, contents.settled["run_id"].to_pylist()):
        if commit_again := store.commit(run_id):
            tables.add_curve(commit_again)
    return tables


def _remove_checkpoints(ledger: Ledger, store: Store) -> None:
    """A worker that died after its commit left its own."""
    for run_id in store.objects.names("checkpoints"):
        if ledger.is_committed(run_id):
            checkpoints.remove(run_id, store)


def _times(ledger: Ledger, points: Mapping[str, Point], guess: CostModel) -> Times:
    latest = ledger.seconds_of_latest(TIMED_RUNS)
    timed = [(points[run_id].spec, taken) for run_id, taken in latest if run_id in points]
    return Times(guess=guess, runs=timed, model=cost.fitted(timed, guess))
