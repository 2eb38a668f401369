"""The best try of every point again on fresh seeds: which runs these are, whatever was interrupted, and what fits take."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from analysis import fit_isoflop, read_runs
from analysis.tuning import one_point_each
from orchestrator import load_sweep, run
from orchestrator.cost import CostModel
from orchestrator.errors import SweepError
from orchestrator.planning import Corpus, Plan, Point, plan, point_row
from orchestrator.proposing import Proposer
from orchestrator.running import Options
from orchestrator.status import status

COST = CostModel(step_seconds=1e-3, token_seconds=0.0, flops_per_second=1e10)
CORPUS = Corpus(hash="c" * 64, train_tokens=10_000_000, exact=True)
TUNED = ("axes={optimizer.learning_rate.peak: [2e-3, 4e-3, 8e-3]}", "tune=[optimizer.learning_rate.peak]", "retrain=2")


def planned(*settings: str) -> Plan:
    return plan(load_sweep("smoke", [*TUNED, *settings]), CORPUS, COST)


def noisy(point: Point) -> float:
    """A valley in the rate, and noise that belongs to the run."""
    rate = float(str(point.tuned).partition("=")[2])
    return 3 + 0.02 * np.log(rate / 5e-3) ** 2 + 0.02 * random.Random(point.run_id).gauss(0, 1)


def drive(
    made: Plan, chance: random.Random, *, kill: float = 0.0, failing: Sequence[str] = ()
) -> tuple[set[str], Proposer]:
    """Run everything that is asked for, in an order by chance; a new driver takes over with probability `kill`."""
    points = {point.run_id: point for point in made.points}
    losses: dict[str, float | None] = {}
    failed: set[str] = set()
    open_runs: list[str] = []
    asked = Proposer(made, losses={}, proposed=[])
    while True:
        if chance.random() < kill:
            asked = Proposer(made, losses=dict(losses), proposed=[*open_runs, *failed], failed=failed)
        while (point := asked.ask()) is not None:
            assert point.run_id not in {*losses, *failed, *open_runs}
            open_runs.append(point.run_id)
        if not open_runs:
            return {*losses, *failed}, asked
        run_id = open_runs.pop(chance.randrange(len(open_runs)))
        if run_id in failing:
            failed.add(run_id)
            asked.fail(run_id, "error")
        else:
            losses[run_id] = noisy(points[run_id])
            asked.tell(run_id, losses[run_id])


def test_the_best_try_of_every_point_is_made_again_on_fresh_seeds() -> None:
    made = planned()
    tries = [point for point in made.points if not point.retrained]
    order, asked = drive(made, random.Random(0))
    again = [point for point in made.points if point.retrained and point.run_id in order]
    places = {(point.curve, point.params) for point in tries}
    assert len(again) == 2 * len(places)
    assert made.runs == len(order) == len(tries) + len(again)
    assert made.flops == pytest.approx(sum(point.flops for point in made.points if point.run_id in order), rel=0.01)
    assert {point.spec.seed for point in again} == {1000, 1001}
    for place in places:
        best = min((p for p in tries if (p.curve, p.params) == place), key=noisy)
        assert {p.tuned for p in again if (p.curve, p.params) == place} == {best.tuned}
        assert (
            f"{best.tuned} is the best of 3 tries"
            in asked.record(next(p.run_id for p in again if (p.curve, p.params) == place))["why"]
        )
    assert asked.ending == "every point of the grid is proposed"
    assert point_row(made.sweep, again[0], CORPUS)["retrained"] is True
    assert point_row(made.sweep, tries[0], CORPUS)["retrained"] is False


@pytest.mark.parametrize("seed", range(4))
def test_winners_do_not_depend_on_the_order_of_results_nor_on_who_was_killed(seed: int) -> None:
    made = planned()
    undisturbed, _ = drive(made, random.Random(0))
    assert drive(made, random.Random(seed), kill=0.3)[0] == undisturbed


def test_a_try_without_a_result_does_not_hold_its_point_up() -> None:
    made = planned()
    first = [p for p in made.points if not p.retrained and (p.curve, p.params) == (0, made.points[0].params)]
    lowest = min(first, key=noisy)
    order, _ = drive(made, random.Random(1), failing=[lowest.run_id])
    second = min((p for p in first if p is not lowest), key=noisy)
    mine = {
        p.tuned for p in made.points if p.retrained and p.run_id in order and (p.curve, p.params) == (0, lowest.params)
    }
    assert mine == {second.tuned}
    order, _ = drive(made, random.Random(1), failing=[p.run_id for p in first])
    assert not [
        p for p in made.points if p.retrained and p.run_id in order and (p.curve, p.params) == (0, lowest.params)
    ]


def test_more_seeds_of_the_tries_leave_winners_their_runs() -> None:
    once, twice = planned(), planned("seeds=2")
    assert {p.run_id for p in once.points if p.retrained} == {p.run_id for p in twice.points if p.retrained}
    assert not {p.run_id for p in twice.points if p.retrained} & {p.run_id for p in twice.points if not p.retrained}


def test_what_cannot_be_retrained_is_refused() -> None:
    with pytest.raises(SweepError, match="retrain is 2 and tune is empty"):
        load_sweep("smoke", ["retrain=2"])
    with pytest.raises(SweepError, match="seeds has 1001, on which the best try is trained again"):
        load_sweep("smoke", [*TUNED, "seeds=[0, 1001]"])
    with pytest.raises(SweepError, match="replaces retrain, which all settings share"):
        load_sweep("smoke", [*TUNED, "settings={a: {retrain: 3}}"])


def test_a_whole_sweep_fits_its_winners_alone_and_keeps_every_try(tmp_path: Path) -> None:
    sweep = load_sweep("smoke", [*TUNED, "trainer=law_trainer:train", "min_steps=5", "name=again"])
    store = tmp_path / "store"
    result = run(sweep, store, Options(inline=True))
    assert "every point of the grid" in str(result.enough)
    runs = read_runs(store)
    again = runs.frame["retrained"]
    places = runs.frame.groupby(["budget", "params"]).ngroups
    assert (int(again.sum()), int((~again).sum())) == (2 * places, 3 * places)
    kept = one_point_each(runs).frame
    assert kept["retrained"].all()
    assert len(kept) == 2 * places
    for place, mine in kept.groupby(["budget", "params"]):
        tries = runs.frame[~again & (runs.frame["budget"] == place[0]) & (runs.frame["params"] == place[1])]
        assert set(mine["tuned"]) == {tries.loc[tries["loss"].idxmin(), "tuned"]}
    assert len(fit_isoflop(runs).minima) == 2
    document = status(str(store))
    assert document["sampler"] is None
    assert document["counts"] == {"ok": 5 * places}
    before = sorted((store / "proposals").iterdir())
    run(sweep, store, Options(inline=True))
    assert sorted((store / "proposals").iterdir()) == before
