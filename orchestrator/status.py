"""Where a sweep stands, read from its store alone: no cluster, no driver and no torch are needed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from analysis.runs import flops_shared
from analysis.stores import scan_runs
from orchestrator import corpora, cost, planning
from orchestrator.forecast import Forecast
from orchestrator.ledger import whole_seconds
from orchestrator.minima import CurveKey, Minimum, curve_minima
from orchestrator.prices import rate_of
from orchestrator.proposing.explaining import explain
from orchestrator.store import Store
from orchestrator.store.lease import holder

DONE = ("ok", "diverged")
"""Statuses of a committed run."""

FAILED = ("oom", "error", "lost")
"""Statuses of a run whose last attempt ended without a result."""


def status(location: str) -> dict[str, Any]:
    """The state of a sweep as one JSON-ready document.

    Raises:
        StoreError: No such store, or it holds no sweep yet.
    """
    store = Store(location)
    store.header()
    sweep = store.sweep()
    scanned = scan_runs(store.location)
    rows = scanned.table.to_pylist()
    driver = holder(store.objects)
    for row in rows:
        if driver is None and row["status"] == "running":
            row["status"] = "pending"
    corpus = corpora.known(sweep.data, store) or corpora.estimated(sweep.data)
    plan = planning.plan(sweep, corpus, cost.CostModel(step_seconds=1e-3, token_seconds=0.0, flops_per_second=1e10))
    known = {row["run_id"] for row in rows}
    unproposed = [point for point in plan.points if point.run_id not in known]
    if plan.limits is not None:  # candidates, most of which are never run; of a grid, those for the best tries alone
        unproposed = [point for point in unproposed if sweep.sampler == "grid" and not point.retrained]
    left, seconds_spent = _seconds_left(rows, plan), sum(row["seconds_spent"] or 0.0 for row in rows)
    rate = rate_of(sweep)
    counts = Counter(row["status"] for row in rows) + Counter(pending=len(unproposed))
    return {
        "sweep": sweep.name,
        "store": store.location,
        "driver": None if driver is None else {"pid": driver.pid, "host": driver.host, "since": driver.since},
        "runs": len(rows) + len(unproposed),
        "counts": dict(counts),
        "flops_planned": plan.flops,
        "flops_spent": sum(row["flops_spent"] or 0.0 for row in rows),
        "flops_shared": sum(map(flops_shared, rows)),
        "worker_seconds_spent": seconds_spent,
        "worker_seconds_left": left,
        "cost": {"so_far": rate.document(seconds_spent), "in_all": rate.document(seconds_spent + left)},
        "curves": _curves(rows, unproposed, curve_minima(scanned.table)),
        "failures": [
            {key: row[key] for key in ("run_id", "budget", "params", "seed", "status", "attempts", "reason")}
            for row in rows
            if row["status"] in (*FAILED, "diverged")
        ],
        "sampler": None if sweep.sampler == "grid" else {"name": sweep.sampler, **explain(store)},
        "unreadable": [*scanned.unreadable, *(f"quarantine/{name}" for name in store.quarantined())],
    }


def _seconds_left(rows: list[dict[str, Any]], plan: planning.Plan) -> float:
    """Predicted worker seconds of what has not ended, by the runs that have."""
    specs = {point.run_id: point.spec for point in plan.points}
    ended_well = [row for row in rows if row["status"] == "ok" and row["run_id"] in specs and row["seconds"]]
    model = cost.fitted(
        [(specs[row["run_id"]], whole_seconds(row)) for row in ended_well], cost.first_guess(plan.sweep)
    )
    ended = [row["run_id"] for row in rows if row["status"] in (*DONE, *FAILED)]
    return Forecast(plan, ended=ended, proposed=[row["run_id"] for row in rows]).predict(model).worker_seconds


def _curves(
    rows: list[dict[str, Any]], unproposed: list[planning.Point], minima: Mapping[CurveKey, Minimum]
) -> list[dict[str, Any]]:
    """Progress of each curve; the best is of losses averaged over seeds."""
    by_curve: dict[CurveKey, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_curve[row["budget"], row["setting"]].append(row)
    planned: Counter[CurveKey] = Counter((point.budget, point.setting) for point in unproposed)
    curves = []
    for key in sorted(by_curve.keys() | planned.keys(), key=lambda key: (key[0], key[1] or "")):
        mine = by_curve[key]
        best = best_point(mine)
        curves.append(
            {
                "budget": key[0],
                "setting": key[1],
                "runs": len(mine) + planned[key],
                "done": sum(row["status"] in DONE for row in mine),
                "running": sum(row["status"] == "running" for row in mine),
                "failed": sum(row["status"] in FAILED for row in mine),
                "best_params": None if best is None else best[0],
                "best_loss": None if best is None else best[1],
                "minimum": minima.get(key),
            }
        )
    return curves


def best_point(rows: list[dict[str, Any]]) -> tuple[int, float] | None:
    """N and loss of the lowest point, seeds averaged; None before the first result."""
    losses: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        if row["status"] == "ok":
            losses[row["params"]].append(row["loss"])
    averages = {params: sum(values) / len(values) for params, values in losses.items()}
    return min(averages.items(), key=lambda item: item[1], default=None)


def failed_count(counts: Counter[str]) -> int:
    """Runs that ended without a result."""
    return sum(counts[name] for name in FAILED)
