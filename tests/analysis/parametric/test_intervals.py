"""Intervals: profile against linearised theory and by definition, bootstrap schemes, the optimum's own convention."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from analysis import FitError, Huber, LeastAbsolute, Squares, fit_form
from analysis.fitting.charts import ExponentChart, OptimumChart
from analysis.fitting.intervals import linear_intervals
from analysis.fitting.optimum import optimal_params
from analysis.fitting.shapes import SIX_N, shape_rule
from analysis.table import Runs

from .conftest import CHINCHILLA, MakeRuns, table


def width(interval: object) -> float:
    return float(interval.high - interval.low)  # type: ignore[attr-defined]


def test_profile_agrees_with_the_sandwich_for_small_noise(planted: MakeRuns) -> None:
    fit = fit_form(planted(noise=1e-4), objective=Squares())
    se = fit.sandwich().se
    for name in ("A", "B", "E", "alpha", "beta"):
        assert width(fit.interval(name)) == pytest.approx(2 * 1.684 * se[name], rel=0.03), name  # t of 40 at .95


def test_profile_end_is_where_the_refitted_objective_has_risen(planted: MakeRuns) -> None:
    """By definition: fixing E at the end of its interval raises the objective by the same amount at both ends."""
    runs = planted(budgets=3, sizes=7, decades=1.0, noise=0.01, seed=2)
    fit = fit_form(runs, objective=Squares())
    interval = fit.interval("E")
    assert interval.low is not None
    assert interval.high is not None
    low, high = (
        fit_form(runs, objective=Squares(), fixed={"E": e}).objective.value for e in (interval.low, interval.high)
    )
    assert low == pytest.approx(high, rel=2e-3)
    assert low > fit.objective.value


def test_open_end_is_none_and_reads_as_null(planted: MakeRuns) -> None:
    fit = fit_form(planted(budgets=3, sizes=5, decades=0.5, noise=0.03, seed=1))
    interval = fit.interval("E")
    assert interval.low is None
    assert json.loads(json.dumps(fit.to_json()))["interval"]["E"]["low"] is None


def test_a_floor_at_its_limit_is_still_bounded_above(planted: MakeRuns) -> None:
    """E -> 0 fits best: its interval is open below, and ends above where the objective has risen far enough."""
    runs = planted(budgets=3, sizes=7, decades=1.0, noise=0.03, seed=4)
    fit = fit_form(runs, objective=Squares())
    assert fit.certificate.at_bounds == ("E",)
    interval = fit.interval("E")
    assert interval.low is None
    assert interval.high is not None
    held = fit_form(runs, objective=Squares(), fixed={"E": interval.high}).objective.value
    beyond = fit_form(runs, objective=Squares(), fixed={"E": 1.2 * interval.high}).objective.value
    assert fit.objective.value < held < beyond


def test_exponents_mirror_each_other(planted: MakeRuns) -> None:
    fit = fit_form(planted(noise=0.005))
    a, b = fit.interval("a"), fit.interval("b")
    assert fit.exponents["a"] + fit.exponents["b"] == pytest.approx(1)
    assert a.low == pytest.approx(1 - b.high)
    assert a.low < fit.exponents["a"] < a.high


def test_optimum_of_the_planted_law(planted: MakeRuns) -> None:
    best = fit_form(planted()).optimum(1e21)
    c = CHINCHILLA
    power = 1 / (c["alpha"] + c["beta"])
    params = (c["alpha"] * c["A"] / (c["beta"] * c["B"])) ** power * (1e21 / 6) ** (c["beta"] * power)
    assert best.params == pytest.approx(params, rel=1e-8)
    assert best.tokens == pytest.approx(1e21 / (6 * params), rel=1e-8)


def test_optimum_intervals_hold_the_truth_and_name_extrapolation(planted: MakeRuns) -> None:
    truth = fit_form(planted()).optimum(1e22)
    best = fit_form(planted(noise=0.005, seed=1)).optimum(1e22)
    for name in ("params", "tokens", "loss"):
        interval = best.intervals[name]
        assert interval.low < getattr(truth, name) < interval.high
    assert best.extrapolation == pytest.approx(100)
    assert [warning.code for warning in best.warnings] == ["extrapolation"]


def exact_runs(ratio: float = 3.0) -> Runs:
    """Runs whose FLOPs per token exceed 6 N as attention's do, by a share that falls as N^-1/3."""
    params = np.tile(np.geomspace(1e6, 3e8, 9), 4)
    share = 1 + ratio * (params / 1e6) ** (-1 / 3)
    flops = np.repeat(np.geomspace(1e17, 1e19, 4), 9)
    tokens = flops / (6 * params * share)
    c = CHINCHILLA
    loss = c["E"] + c["A"] * params ** -c["alpha"] + c["B"] * tokens ** -c["beta"]
    return table(params, tokens, loss, flops=flops)


def test_the_optimum_uses_the_flops_of_the_runs_own_shapes() -> None:
    runs = exact_runs()
    rule = shape_rule(runs)
    assert rule.flops_per_token(np.array([1e7])) == pytest.approx(6e7 * (1 + 3 * 10 ** (-1 / 3)), rel=1e-2)
    assert rule.flops_per_token(np.array([1e12])) == pytest.approx(6e12, rel=0.05)
    assert "beyond 3e+08 parameters" in rule.description
    fit = fit_form(runs, objective=Squares())
    best = fit.optimum(1e18)
    sizes = best.params * np.array([0.98, 1.0, 1.02])
    losses = fit.predict(sizes, 1e18 / fit.shapes.flops_per_token(sizes))
    assert losses.argmin() == 1
    assert best.tokens == pytest.approx(1e18 / float(rule.flops_per_token(best.params)))
    assert best.params < dataclasses.replace(fit, shapes=SIX_N).optimum(1e18).params * 1.3
    assert best.intervals["params"].method.startswith("profile")


def test_six_n_is_recognised_within_rounding(planted: MakeRuns) -> None:
    assert shape_rule(planted()) is SIX_N


def test_least_absolute_deviation_has_no_sandwich(planted: MakeRuns) -> None:
    fit = fit_form(planted(noise=0.01), objective=LeastAbsolute())
    with pytest.raises(FitError, match="twice as many"):
        fit.sandwich()
    with pytest.raises(FitError, match="bootstrap"):
        fit.profile("E")
    assert fit.interval("E").method == "bootstrap percentile"


def replicated(planted: MakeRuns) -> Runs:
    one, two = planted(noise=0.005, seed=1), planted(noise=0.005, seed=2)
    return Runs(frame=pd.concat([one.frame, two.frame], ignore_index=True))


def test_bootstrap_draws_whole_points(planted: MakeRuns) -> None:
    fit = fit_form(replicated(planted))
    boot = fit.bootstrap(20, seed=1)
    assert boot.units == 45
    assert boot.scheme == "45 points"
    by_size = fit.bootstrap(20, seed=1, cluster="params", stratify="flops")
    assert "clusters of equal params within equal flops" in by_size.scheme


def test_replicates_set_delta_from_pure_error(planted: MakeRuns) -> None:
    fit = fit_form(replicated(planted))
    assert fit.objective.delta == pytest.approx(1.345 * 0.005, rel=0.25)


def test_shared_noise_widens_intervals(planted: MakeRuns) -> None:
    runs = replicated(planted)
    frame = runs.frame.assign(trunk=pd.qcut(runs.frame["params"], 9, labels=False))
    shared = frame.assign(
        loss=frame["loss"] * np.exp(0.02 * np.random.default_rng(5).standard_normal(9)[frame["trunk"]])
    )
    together = fit_form(Runs(frame=shared), objective=Squares(), cluster="trunk")
    alone = fit_form(Runs(frame=shared.drop(columns="trunk")), objective=Squares())
    assert together.coefficients == pytest.approx(alone.coefficients)
    assert width(together.interval("alpha")) > 1.3 * width(alone.interval("alpha"))


def test_runs_of_a_trunk_share_noise_unasked(planted: MakeRuns) -> None:
    runs = replicated(planted)
    frame = runs.frame.assign(trunk=pd.qcut(runs.frame["params"], 9, labels=False).astype(str))
    assert fit_form(Runs(frame=frame), objective=Squares()).cluster == "trunk"
    alone = frame.assign(trunk=[f"t{row}" for row in range(len(frame))])
    assert fit_form(Runs(frame=alone), objective=Squares()).cluster is None


def test_prediction_interval_holds_new_runs(planted: MakeRuns) -> None:
    fit = fit_form(planted(noise=0.005), objective=Squares())
    fresh = planted(noise=0.005, seed=9)
    found = fit.prediction(params=fresh.column("params"), tokens=fresh.column("tokens"))
    inside = (found.low < fresh.column("loss")) & (fresh.column("loss") < found.high)
    assert 0.78 <= inside.mean() <= 1.0  # 45 of 45 x .9, three binomial standard errors
    assert fit.prediction(params=1e8, tokens=2e9).loss.shape == (1,)


def test_json_has_the_documented_keys(planted: MakeRuns) -> None:
    fit = fit_form(planted(noise=0.005), objective=Huber(delta=1e-3))
    document = json.loads(json.dumps(fit.to_json(fit.bootstrap(50)), allow_nan=False))
    assert list(document) == [
        "method", "form", "objective", "n", "dropped", "coefficients", "se", "interval", "certificate", "exponents",
        "exponents_filtered", "warnings",
    ]  # fmt: skip
    assert list(document["certificate"]) == [
        "converged", "gradient_norm", "newton_decrement", "starts_agreeing", "condition", "at_bounds",
    ]  # fmt: skip
    assert document["objective"] == {"kind": "huber", "delta": 1e-3, "space": "log", "value": fit.objective.value}
    assert list(document["coefficients"]) == ["A", "B", "E", "alpha", "beta"]
    assert set(document["exponents"]) == {"a", "b"}


def test_charts_lead_there_and_back() -> None:
    coefficients = np.array(list(CHINCHILLA.values()))
    for chart in (OptimumChart(1e21), OptimumChart(1e21, hold_loss=True), ExponentChart(20.0, 24.0)):
        back = chart.coefficients(chart.coordinates(list(coefficients)))
        np.testing.assert_allclose(np.ravel(back), coefficients, rtol=1e-10)


@pytest.mark.parametrize("form", ["equal-exponents", "gamma"])
def test_optima_of_other_forms_have_linearised_intervals(planted: MakeRuns, form: str) -> None:
    """Near those of the additive law where it holds too, wider for a coefficient more; the method is named."""
    runs = planted(noise=0.003)
    found = fit_form(runs, form).optimum(1e21)
    interval = found.intervals["params"]
    assert interval.method == "linearised t with sandwich"
    assert interval.low < found.params < interval.high
    assert found.intervals["tokens"].low == pytest.approx(1e21 / (6 * interval.high))
    additive = fit_form(runs).optimum(1e21).intervals["params"]
    ratio = np.log(interval.high / interval.low) / np.log(additive.high / additive.low)
    assert 0.2 < ratio < 3


def test_linearised_and_profile_intervals_agree_for_the_additive_law(planted: MakeRuns) -> None:
    fit = fit_form(planted(noise=0.002))
    profiled = fit.optimum(1e21).intervals["params"]

    def log_params(coefficients: np.ndarray) -> np.ndarray:
        return np.log(optimal_params(fit.form, coefficients, np.array([1e21])))[None]

    (linear,) = linear_intervals(fit.problem, fit.theta, fit.delta, log_params, 0.9, fit.sharing)
    assert linear.low == pytest.approx(np.log(profiled.low), abs=0.02)
    assert linear.high == pytest.approx(np.log(profiled.high), abs=0.02)
