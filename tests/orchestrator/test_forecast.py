"""What is left to do: progress inside runs counts, the pace of the first runs is believed, samplers are not overrated."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.cost import CostModel
from orchestrator.forecast import Forecast, informed, shares_done
from orchestrator.planning import Corpus, Plan, plan
from orchestrator.sweep.file import load_sweep

MODEL = CostModel(step_seconds=1e-3, token_seconds=1e-6, flops_per_second=8e10)


def planned(*settings: str) -> Plan:
    return plan(load_sweep("quickstart", settings), Corpus(hash="c", train_tokens=10**7, exact=True), MODEL)


GRID = planned()
POINTS = {point.run_id: point for point in GRID.points}
FIRST, *OTHERS = POINTS


def at(step: int, steps: int = 100, seconds: float = 10.0, first: int = 0) -> dict[str, Any]:
    return {"step": step, "steps": steps, "seconds": seconds, "first": first}


def test_a_grid_expects_all_that_has_not_ended() -> None:
    forecast = Forecast(GRID, ended=[FIRST], proposed=[FIRST, *OTHERS[:3]])
    expected = sum(MODEL.seconds(POINTS[run_id].spec) for run_id in OTHERS)
    assert forecast.predict(MODEL).worker_seconds == pytest.approx(expected)
    for run_id in OTHERS:
        forecast.ended(POINTS[run_id])
    assert forecast.predict(MODEL).worker_seconds == pytest.approx(0, abs=1e-6)


def test_progress_inside_a_run_shortens_its_curve() -> None:
    forecast = Forecast(GRID, ended=(), proposed=())
    budget = POINTS[FIRST].budget
    whole = forecast.predict(MODEL)
    half = forecast.predict(MODEL, shares_done({FIRST: at(50)}, POINTS))
    assert whole.curves[budget] - half.curves[budget] == pytest.approx(MODEL.seconds(POINTS[FIRST].spec) / 2)
    assert half.longest == pytest.approx(MODEL.seconds(POINTS[FIRST].spec) / 2)


def test_the_last_run_bounds_the_wall_time() -> None:
    last = max(POINTS.values(), key=lambda point: point.seconds)
    forecast = Forecast(GRID, ended=POINTS.keys() - {last.run_id}, proposed=POINTS)
    left = forecast.predict(MODEL, shares_done({last.run_id: at(25)}, POINTS))
    assert left.wall_seconds(64) == pytest.approx(0.75 * MODEL.seconds(last.spec))


def test_the_pace_of_a_run_under_way_corrects_the_first_guess() -> None:
    slow = 7 * MODEL.seconds(POINTS[FIRST].spec)
    model = informed([], MODEL, {FIRST: at(50, seconds=slow / 2 + 4)}, POINTS)
    assert model.seconds(POINTS[OTHERS[-1]].spec) > 5 * MODEL.seconds(POINTS[OTHERS[-1]].spec)
    resumed = informed([], MODEL, {FIRST: at(60, seconds=slow / 2 + 4, first=10)}, POINTS)
    assert resumed.seconds(POINTS[FIRST].spec) == pytest.approx(model.seconds(POINTS[FIRST].spec))


@pytest.mark.parametrize("early", [at(5), at(50, seconds=0.5)])
def test_a_run_that_has_hardly_begun_says_nothing(early: dict[str, Any]) -> None:
    assert informed([], MODEL, {FIRST: early}, POINTS) == MODEL


def test_a_sampler_is_expected_to_make_what_its_limits_allow() -> None:
    candidates = planned("sampler=isoflop", "sampling={max_flops: 1e12}")
    everything = sum(MODEL.seconds(point.spec) for point in candidates.points)
    forecast = Forecast(candidates, ended=(), proposed=())
    share = 1e12 / sum(point.flops for point in candidates.points)
    assert forecast.predict(MODEL).worker_seconds == pytest.approx(share * everything)
    point = candidates.points[0]
    forecast.proposed(point)
    begun = forecast.predict(MODEL)
    assert begun.curves[point.budget] == pytest.approx(MODEL.seconds(point.spec))
    forecast.ended(point)
    assert forecast.predict(MODEL).worker_seconds < begun.worker_seconds


def test_a_sampler_with_few_runs_left_is_not_expected_to_spend_all_its_flops() -> None:
    candidates = planned("sampler=isoflop", "sampling={max_flops: 1e15, max_runs: 2}")
    forecast = Forecast(candidates, ended=(), proposed=[candidates.points[0].run_id])
    assert forecast.predict(MODEL).worker_seconds < 3 * MODEL.seconds(candidates.points[0].spec)
