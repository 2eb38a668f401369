"""The ladder: the sweep's budgets are trained, a larger one is predicted, and only then trained.

Predictions are a create-only object, named by the hash of what it says; every proposal of a target names it. So nobody can say
that a prediction was made afterwards, and a ladder that was interrupted anywhere is continued by repeating the command.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.errors import AnalysisError
from orchestrator.errors import StoreError
from orchestrator.planning import Plan, Point
from orchestrator.store import Document, ObjectExists, Store

if TYPE_CHECKING:
    from analysis.ladder import Target


def first_stage(made: Plan) -> Plan:
    """The part of a plan that is run before anything is predicted: all of it without a ladder."""
    return replace(made, points=tuple(point for point in made.points if not point.target))


def with_predictions(made: Plan, store: Store) -> Plan:
    """The plan with its target predicted, now or before.

    Raises:
        StoreError: No law can be fitted to the first stage, or the store holds predictions of these targets from
            other runs.
    """
    known = _known(made, store)
    return replace(made, predictions=known or _predict(made, store))


def _known(made: Plan, store: Store) -> str | None:
    """Name of the predictions that this store holds of the plan's targets."""
    wanted = {point.run_id for point in made.points if point.target}
    fitted = {point.run_id for point in made.points if not point.target}
    for name, document in store.predictions().items():
        predicted = {run_id for target in document["targets"] for run_id in target["run_ids"]}
        if not predicted & wanted:
            continue
        if predicted != wanted or not set(document["fitted"]) <= fitted:
            raise StoreError(
                f"{store.location}/predictions/{name} predicts {len(predicted)} runs from {len(document['fitted'])} others, "
                f"and the sweep now has {len(wanted)} targets and {len(fitted)} runs to fit; expected the same. A prediction "
                "is not made again for runs that it was made of: use another --store."
            )
        return name
    return None


def _predict(made: Plan, store: Store) -> str:
    from analysis import read_runs
    from analysis.ladder import name_of, predict_targets

    assert made.sweep.ladder is not None
    fitted = {point.run_id for point in made.points if not point.target}
    try:
        runs = read_runs(store.location)
        kept = runs.frame[runs.frame["run_id"].isin(fitted)].reset_index(drop=True)
        targets = _targets([point for point in made.points if point.target])
        document: Document = predict_targets(replace(runs, frame=kept), targets, form=made.sweep.ladder.form)
    except AnalysisError as error:
        raise StoreError(f"the ladder's target cannot be predicted: {error}") from None
    name = name_of(document)
    written_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with contextlib.suppress(ObjectExists):
        store.add_predictions(name, document | {"written_at": written_at})
    return name


def _targets(points: Sequence[Point]) -> list[Target]:
    """Points that differ in their seed alone, as one target."""
    from analysis.ladder import Target

    groups: dict[tuple[int, int], list[Point]] = {}
    for point in points:
        groups.setdefault((point.params, point.spec.tokens), []).append(point)
    return [
        Target(
            params=float(params),
            tokens=float(tokens),
            flops=group[0].flops,
            run_ids=tuple(point.run_id for point in group),
        )
        for (params, tokens), group in groups.items()
    ]
