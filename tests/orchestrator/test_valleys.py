"""Tuned axes under a sampler: each point's valley is followed with few tries, and proposals stay pure."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis import read_runs
from analysis.tries import read_knobs
from analysis.tuning import tuned_points
from orchestrator import cost
from orchestrator.planning import Corpus, Plan, Point, plan
from orchestrator.proposing import Proposer
from orchestrator.proposing.choosing import Choice
from orchestrator.proposing.samplers import point_sampler
from orchestrator.proposing.space import Known
from orchestrator.running import Options, run
from orchestrator.sweep.file import load_sweep

COST = cost.first_guess()
CORPUS = Corpus(hash="c" * 64, train_tokens=10**10, exact=True)
RATES = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3, 32e-3, 64e-3)
CURVES = ("budgets=[1e11,3e11,1e12]", "sizes={around: {params: 3e4, at: 3e11, factor: 8}}")
TUNED = (f"axes={{optimizer.learning_rate.peak: {list(RATES)}}}", "tune=[optimizer.learning_rate.peak]")
Place = tuple[int, int]


def planned(name: str = "isoflop", *settings: str) -> Plan:
    return plan(load_sweep("quickstart", [f"sampler={name}", *CURVES, *TUNED, *settings]), CORPUS, COST)


def best_rate(point: Point) -> float:
    return float(6e-3 * (point.params / 3e4) ** -0.4)


def exact(point: Point) -> float:
    return float(1 + 0.8 * (point.params / 1e4) ** -0.4 + 0.9 * (point.spec.tokens / 1e6) ** -0.35)


def law(point: Point) -> float:
    """A law, a valley in the rate whose bottom moves with N, and noise that belongs to the run."""
    rate = read_knobs(str(point.tuned))["peak"]
    noise = np.random.default_rng([0, int(point.run_id[:12], 16)]).standard_normal()
    return float(exact(point) + 0.05 * np.log(rate / best_rate(point)) ** 2 + 0.003 * noise)


def drive(made: Plan, *, kill: Callable[[], bool] = lambda: False) -> tuple[list[Point], Proposer]:
    """Ask all that may be under way, then finish one at a time; where `kill` says so, a new driver takes over."""
    points = {point.run_id: point for point in made.points}
    order: list[str] = []
    losses: dict[str, float | None] = {}
    asked = Proposer(made, losses={}, proposed=[], order=[])
    while True:
        pending = [run_id for run_id in order if run_id not in losses]
        if kill():
            asked = Proposer(made, losses=dict(sorted(losses.items())), proposed=pending, order=order)
        elif (point := asked.ask()) is not None:
            order.append(point.run_id)
        elif pending:
            losses[pending[0]] = law(points[pending[0]])
            asked.tell(pending[0], losses[pending[0]])
        else:
            return [points[run_id] for run_id in order], asked


def by_place(points: list[Point]) -> dict[tuple[int, int, int], list[Point]]:
    """Tries of each point and seed."""
    found = defaultdict(list)
    for point in points:
        if not point.retrained:
            found[point.curve, point.params, point.spec.seed].append(point)
    return found


@pytest.mark.parametrize("name", ["isoflop", "tpe"])
def test_every_point_s_best_try_lies_between_others_or_at_the_end_of_its_axis(name: str) -> None:
    made = planned(name)
    assert made.limits is not None
    order, asked = drive(made)
    assert len(order) <= made.limits.runs
    assert 0.8 * made.limits.flops < sum(point.flops for point in order) <= made.limits.flops * (1 + 1e-9)
    assert len({point.run_id for point in order}) == len(order)
    counts = []
    for tries in by_place(order).values():
        levels = {RATES.index(read_knobs(str(point.tuned))["peak"]): law(point) for point in tries}
        best = min(levels, key=lambda level: levels[level])
        assert {max(best - 1, 0), min(best + 1, len(RATES) - 1)} <= set(levels)
        counts.append(len(tries))
    assert np.mean(counts) < 4  # of seven
    assert np.mean(counts[-len(counts) // 2 :]) < 3.5  # where the rule has been learnt
    stages = {asked.record(point.run_id)["stage"] for point in order}
    assert "tune" in stages
    assert asked.ending


def test_the_sampler_learns_from_valleys_and_not_from_their_best_tries() -> None:
    made = planned("isoflop")
    order, _ = drive(made)
    strategy = point_sampler(made).strategy
    seen = strategy._seen(Known(losses={point.run_id: law(point) for point in order}))  # type: ignore[attr-defined]
    errors, bottoms = [], 0
    for (curve, params, seed), tries in by_place(order).items():
        loss = seen.losses.get(f"{curve}/{params}/{seed}")
        assert loss is not None
        errors.append(loss - exact(tries[0]))
        rates = np.log([read_knobs(str(point.tuned))["peak"] for point in tries])
        losses = np.array([law(point) for point in tries])
        near = np.abs(rates - rates[losses.argmin()]) < 2.5 * np.log(2)
        a, b, c = np.polyfit(rates[near], losses[near], 2)
        if rates[near].min() < -b / (2 * a) < rates[near].max():
            bottoms += 1
            assert loss == pytest.approx(c - b**2 / (4 * a), abs=1e-9)
        else:
            assert loss == losses.min()
    assert bottoms > 10
    assert abs(np.mean(errors)) < 0.002  # noise of a run is .003


@pytest.mark.parametrize("settings", [(), ("retrain=2",)])
def test_a_tuned_sampler_killed_anywhere_ends_with_the_same_points(settings: tuple[str, ...]) -> None:
    made = planned("isoflop", "sampling={together: 4, synchronous: true, max_runs: 40}", *settings)
    undisturbed, _ = drive(made)
    chance = random.Random(1)
    disturbed, _ = drive(made, kill=lambda: chance.random() < 0.2)
    assert disturbed == undisturbed


@pytest.mark.parametrize("name", ["isoflop", "random"])
def test_what_a_tuned_sampler_proposes_does_not_depend_on_the_order_of_results(name: str) -> None:
    made = planned(name)
    order, _ = drive(made)
    nexts = set()
    for seed in range(3):
        losses = [(point.run_id, law(point)) for point in order[:23]]
        random.Random(seed).shuffle(losses)
        pending = [point.run_id for point in order[23:25]][:: 1 - 2 * (seed % 2)]
        chosen = point_sampler(made).strategy.choose(Known(losses=dict(losses), pending=pending))
        assert isinstance(chosen, Choice)
        nexts.add(chosen.run_id)
    assert len(nexts) == 1


def test_a_tuned_sampler_trains_the_best_try_of_each_point_again() -> None:
    made = planned("isoflop", "retrain=2")
    assert made.limits is not None
    order, asked = drive(made)
    assert sum(point.flops for point in order) <= made.limits.flops * (1 + 1e-9)
    again = defaultdict(list)
    for point in order:
        if point.retrained:
            again[point.curve, point.params].append(point)
    complete = 0
    for (curve, params, _), tries in by_place(order).items():
        fresh = again[curve, params]
        best = min(tries, key=lambda point: (law(point), point.tuned))
        assert {point.tuned for point in fresh} <= {best.tuned}
        complete += {point.spec.seed for point in fresh} == {1000, 1001}
    assert complete >= len(by_place(order)) - 1  # the last one may find no room
    assert asked.record(again[min(again)][0].run_id)["stage"] == "retrain"


def test_runs_that_diverge_or_fail_do_not_end_the_search_for_a_point_s_valley() -> None:
    made = planned("isoflop", "sampling={together: 1, max_runs: 30}")
    asked = Proposer(made, losses={}, proposed=[])
    order = []
    while (point := asked.ask()) is not None:
        order.append(point)
        rate = read_knobs(str(point.tuned))["peak"]
        if rate > 3e-3:
            asked.tell(point.run_id, None)
        elif rate > 1.5e-3:
            asked.fail(point.run_id, "error")
        else:
            asked.tell(point.run_id, law(point))
    first = next(iter(by_place(order).values()))
    assert 1e-3 in {read_knobs(str(point.tuned))["peak"] for point in first}
    assert len(by_place(order)) > 3


def test_a_tuned_sampler_of_two_settings_gives_each_its_own_valleys() -> None:
    made = planned(
        "isoflop", "settings={swiglu: {}, gelu: {model.activation: gelu, model.ffn_ratio: 4}}", "sampling.max_runs=60"
    )
    order, asked = drive(made)
    assert {point.setting for point in order} == {"swiglu", "gelu"}
    assert {asked.record(point.run_id)["setting"] for point in order} == {"swiglu", "gelu"}


def test_a_whole_tuned_sweep_is_sampled_and_fitted(tmp_path: Path) -> None:
    settings = [
        "sampler=isoflop", *TUNED, "budgets=[5e8,1e9]", "min_steps=10", "sampling={max_runs: 40, together: 2}",
        "sizes={shapes: [{width: 8}, {width: 12}, {width: 16}, {width: 20}, {width: 24}]}", "trainer=law_trainer:train",
    ]  # fmt: skip
    result = run(load_sweep("smoke", settings), tmp_path / "store", Options(inline=True))
    assert result.enough is not None
    runs = read_runs(tmp_path / "store")
    assert len(runs) <= 40
    assert len(tuned_points(runs)) >= 5
