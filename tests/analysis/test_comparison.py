"""Two sweeps: a planted compute multiplier comes back, and what could not have been seen is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from analysis import ConventionError, FitError, Runs, compare, read_runs

Simulate = Callable[..., Runs]
LAW = {"A": 482.01, "B": 2085.43, "E": 1.8169, "alpha": 0.3478, "beta": 0.3658}
BETTER = LAW | {"A": LAW["A"] * 1.2 ** -LAW["alpha"], "B": LAW["B"] * 1.25 ** -LAW["beta"]}
"""Parameters worth 1.2 and tokens worth 1.25 of the other's: a multiplier of 1.5 at every C."""


def test_a_planted_multiplier_comes_back(simulate: Simulate) -> None:
    result = compare(simulate(spread=1.5), simulate(spread=1.5, law=BETTER))
    assert result.multiplier.value == pytest.approx(1.5, rel=0.005)
    assert [d.value for d in result.multipliers.values()] == pytest.approx([1.5] * 3, rel=0.01)
    assert result.flops == pytest.approx(np.sqrt(1e17 * 1e20))
    assert result.offset.value < 0
    assert result.slope_difference.value == pytest.approx(0, abs=1e-3)
    assert result.crossover is None


def test_exchanging_the_sweeps_inverts_everything(simulate: Simulate) -> None:
    a, b = simulate(noise=0.003), simulate(noise=0.003, seed=1, law=BETTER)
    there, back = compare(a, b), compare(b, a)
    assert back.offset.value == pytest.approx(-there.offset.value)
    assert back.slope_difference.value == pytest.approx(-there.slope_difference.value)
    assert back.multiplier.value == pytest.approx(1 / there.multiplier.value, rel=0.02)


def test_a_steeper_sweep_crosses_the_other(simulate: Simulate) -> None:
    """Both exponents 10 % larger, and equal at the middle of the budgets."""
    steeper = LAW | {"alpha": LAW["alpha"] * 1.1, "beta": LAW["beta"] * 1.1}
    N, D = 1e8, 3e18 / 6e8
    steeper |= {"A": LAW["A"] * N ** (0.1 * LAW["alpha"]), "B": LAW["B"] * D ** (0.1 * LAW["beta"])}
    result = compare(simulate(spread=1.5, noise=1e-4), simulate(spread=1.5, noise=1e-4, law=steeper))
    assert result.slope_difference.interval.low > 0
    assert result.crossover == pytest.approx(3e18, rel=0.2)


def test_equal_sweeps_say_what_could_not_have_been_seen(simulate: Simulate) -> None:
    result = compare(simulate(noise=0.01), simulate(noise=0.01, seed=9))
    codes = {w.code for w in result.warnings}
    assert {"slopes_not_told_apart", "no_difference_seen"} <= codes
    assert result.multiplier.interval.low < 1 < result.multiplier.interval.high
    assert 1 < result.multiplier.detectable < 2


def test_nine_of_ten_intervals_hold_the_multiplier(simulate: Simulate) -> None:
    """Within three standard errors of the nominal share, from below; noise as large as real sweeps have."""
    hits = []
    for seed in range(40):
        layout: dict[str, Any] = {"noise": 0.006, "budgets": (1e18, 3e18, 1e19), "seeds": 2}
        result = compare(simulate(seed=seed, **layout), simulate(seed=900 + seed, law=BETTER, **layout))
        hits.append(result.multiplier.interval.low <= 1.5 <= result.multiplier.interval.high)
    assert np.mean(hits) > 0.9 - 3 * np.sqrt(0.09 / 40)


def test_sweeps_that_measure_differently_are_refused(simulate: Simulate) -> None:
    runs = simulate()
    a, b = (read_runs(runs.frame.assign(corpus=corpus)) for corpus in ("x", "y"))
    with pytest.raises(ConventionError, match=r"two corpora \(x: 1, y: 1\)"):
        compare(a, b)
    assert compare(a, b, allow_mixed=["evaluation"]).offset.value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("method", ["auto", "isoflop"])
def test_a_sweep_of_one_budget_is_refused_by_name(simulate: Simulate, method: Any) -> None:
    runs = simulate()
    one = read_runs(runs.frame[runs.frame["budget"] == 1e18])
    with pytest.raises(FitError, match=r"sweep b: .*one budget only"):
        compare(runs, one, method=method)


def test_sweeps_without_two_minima_are_compared_through_forms(simulate: Simulate) -> None:
    runs = simulate(noise=0.003, sizes=9)
    rank = runs.frame.groupby("budget")["params"].rank()
    large = read_runs(runs.frame[rank >= 6])
    with pytest.raises(FitError, match="sweep a has 0 budgets with a minimum inside"):
        compare(large, runs, method="isoflop")
    result = compare(large, runs)
    assert result.method == "parametric"
    warning = next(w for w in result.warnings if w.code == "no_result")
    assert "sweep a has 0 budgets with a minimum inside" in warning.message
    assert result.multiplier.interval.low < 1 < result.multiplier.interval.high
    json.dumps(result.to_json(), allow_nan=False)


def test_forms_find_the_planted_multiplier_without_any_budgets(simulate: Simulate) -> None:
    generator = np.random.default_rng(0)

    def scattered(seed: int, law: dict[str, float]) -> Runs:
        runs = simulate(noise=0.002, sizes=9, seed=seed, law=law)
        moved = runs.frame["tokens"] * generator.uniform(0.7, 1.4, len(runs))
        loss = law["E"] + law["A"] / runs.frame["params"] ** law["alpha"] + law["B"] / moved ** law["beta"]
        noisy = loss * np.exp(0.002 * generator.standard_normal(len(runs)))
        return read_runs(runs.frame[["params"]].assign(tokens=moved, loss=noisy))

    result = compare(scattered(0, LAW), scattered(1, BETTER))
    assert result.method == "parametric"
    assert result.multiplier.value == pytest.approx(1.5, rel=0.1)
    assert result.multiplier.interval.low < 1.5 < result.multiplier.interval.high
    assert result.offset.value < 0
    assert result.multiplier.interval.method == "bootstrap"
    back = compare(scattered(1, BETTER), scattered(0, LAW))
    assert back.multiplier.value == pytest.approx(1 / result.multiplier.value, rel=0.1)


def test_forms_and_minima_agree_on_good_sweeps(simulate: Simulate) -> None:
    a, b = simulate(noise=0.002, spread=2.0), simulate(noise=0.002, spread=2.0, seed=1, law=BETTER)
    minima, forms = compare(a, b, method="isoflop"), compare(a, b, method="parametric")
    assert forms.multiplier.value == pytest.approx(minima.multiplier.value, rel=0.1)
    assert forms.offset.value == pytest.approx(minima.offset.value, abs=0.01)


def test_budgets_that_do_not_overlap_are_warned_of(simulate: Simulate) -> None:
    result = compare(simulate(budgets=(1e17, 3e17, 1e18)), simulate(budgets=(1e19, 3e19, 1e20)))
    assert "extrapolation" in {w.code for w in result.warnings}
    json.dumps(result.to_json(), allow_nan=False)
