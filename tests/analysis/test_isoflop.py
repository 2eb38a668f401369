"""Approach 2: planted optima come back, statuses follow their rules, and published curves give the published
exponents."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import FitError, Runs, fit_form, fit_isoflop, read_runs
from analysis.isoflop_bias import additive_surface, parabola_bias
from analysis.parabola import fit_parabola

Simulate = Callable[..., Runs]
EPOCH = "epochai_chinchilla__massivetext__chinchilla"
LAW = {"A": 482.01, "B": 2085.43, "E": 1.8169, "alpha": 0.3478, "beta": 0.3658}


def published_curves(folder: Path) -> Runs:
    frame = pd.read_csv(folder / "chinchilla_isoflop.csv")
    return read_runs(frame[frame["experiment"] == EPOCH])


# --- recovery


def test_narrow_centred_curves_recover_the_law(simulate: Simulate, true_optimum: Callable[[float], float]) -> None:
    """Within a factor 1.2 of the optimum the parabola's bias is of the order of 1e-4."""
    fit = fit_isoflop(simulate(spread=1.2))
    a = LAW["beta"] / (LAW["alpha"] + LAW["beta"])
    assert fit.exponents == pytest.approx({"a": a, "b": 1 - a}, abs=2e-4)
    assert fit.optimum(1e21).params == pytest.approx(true_optimum(1e21), rel=2e-3)
    assert {m.status for m in fit.minima} == {"bracketed"}


@pytest.mark.parametrize("variable", ["params", "tokens"])
@pytest.mark.parametrize("layout", [{}, {"off_centre": 2.0, "spread": 4.0}, {"drift": 1.3, "spread": 6.0}])
def test_predicted_bias_corrects_every_grid(
    simulate: Simulate, true_optimum: Callable[[float], float], layout: dict[str, float], variable: Any
) -> None:
    runs = simulate(**layout)
    plain = fit_isoflop(runs, variable=variable).optimum(1e24).params
    corrected = fit_isoflop(runs, variable=variable, correct_bias=additive_surface(LAW)).optimum(1e24).params
    assert corrected == pytest.approx(true_optimum(1e24), rel=1e-6)
    assert abs(plain / true_optimum(1e24) - 1) > 1e-4


def test_bias_of_the_fits_own_grid_is_what_the_fit_shows(
    simulate: Simulate, true_optimum: Callable[[float], float]
) -> None:
    fit = fit_isoflop(simulate(off_centre=2.0, spread=4.0))
    predicted = fit.bias(additive_surface(LAW), flops=1e24)
    assert 1 + predicted.relative_error == pytest.approx(fit.optimum(1e24).params / true_optimum(1e24), rel=1e-6)
    by_form = fit.bias(fit_form(fit.runs, engine="numpy").predict, flops=1e24)
    assert by_form.relative_error == pytest.approx(predicted.relative_error, rel=1e-4)


def test_akima_follows_the_curve_where_a_parabola_cannot(
    simulate: Simulate, true_optimum: Callable[[float], float]
) -> None:
    runs = simulate(spread=12.0, sizes=15, off_centre=2.0)
    akima = [m.params / true_optimum(m.budget) - 1 for m in fit_isoflop(runs, curve="akima").minima]
    parabola = [m.params / true_optimum(m.budget) - 1 for m in fit_isoflop(runs).minima]
    assert max(map(abs, akima)) < 0.1 * max(map(abs, parabola))


def test_the_planted_law_lies_in_nine_of_ten_intervals(
    simulate: Simulate, true_optimum: Callable[[float], float]
) -> None:
    """Fieller's interval per curve and t intervals of a, N* and L*: within four standard errors of the nominal .9."""
    a = LAW["beta"] / (LAW["alpha"] + LAW["beta"])
    surface = additive_surface(LAW)
    hits: dict[str, list[bool]] = {"fieller": [], "a": [], "params": [], "loss": []}

    def inside(interval: Any, value: float) -> bool:
        return (interval.low is None or interval.low <= value) and (interval.high is None or value <= interval.high)

    for seed in range(120):
        fit = fit_isoflop(simulate(noise=0.01, spread=3.0, sizes=9, seed=seed, budgets=np.geomspace(1e17, 1e19, 5)))
        hits["fieller"] += [inside(m.params_interval, true_optimum(m.budget)) for m in fit.minima if m.usable]
        hits["a"].append(inside(fit.intervals["a"], a))
        target, N = fit.optimum(1e20), true_optimum(1e20)
        hits["params"].append(inside(target.intervals["params"], N))
        hits["loss"].append(inside(target.intervals["loss"], float(surface(np.array(N), np.array(1e20 / (6 * N))))))
    share = {name: np.mean(values) for name, values in hits.items()}
    bound = {name: 4 * math.sqrt(0.09 / len(values)) for name, values in hits.items()}
    assert all(abs(share[name] - 0.9) < bound[name] for name in hits), share


# --- invariants


def test_rows_can_come_in_any_order(simulate: Simulate) -> None:
    runs = simulate(noise=0.01, seeds=2)
    shuffled = read_runs(runs.frame.sample(frac=1, random_state=1))
    assert fit_isoflop(shuffled).exponents == pytest.approx(fit_isoflop(runs).exponents, rel=1e-12)


def test_units_of_params_scale_the_optimum_alone(simulate: Simulate) -> None:
    runs = simulate(noise=0.005)
    frame = runs.frame.assign(params=runs.frame["params"] * 1000, tokens=runs.frame["tokens"] / 1000)
    scaled = fit_isoflop(read_runs(frame))
    assert scaled.exponents == pytest.approx(fit_isoflop(runs).exponents, rel=1e-9)
    assert scaled.optimum(1e21).params == pytest.approx(1000 * fit_isoflop(runs).optimum(1e21).params, rel=1e-9)


@pytest.mark.parametrize("weights", ["equal", "errors"])
def test_log_params_and_log_tokens_are_one_parabola_under_6nd(simulate: Simulate, weights: Any) -> None:
    runs = simulate(noise=0.005)
    by_params, by_tokens = (fit_isoflop(runs, variable=v, weights=weights) for v in ("params", "tokens"))
    assert by_tokens.exponents == pytest.approx(by_params.exponents, rel=1e-9)
    assert by_params.exponents["a"] + by_params.exponents["b"] == pytest.approx(1)
    pairs = [(p.params_interval, t.params_interval) for p, t in zip(by_params.minima, by_tokens.minima, strict=True)]
    assert all(p.low == pytest.approx(t.low) and p.high == pytest.approx(t.high) for p, t in pairs)


def test_tokens_follow_the_runs_own_flops_per_token(simulate: Simulate) -> None:
    """With a head that small models feel, D* is C / phi(N*) and b is not 1 - a."""
    runs = simulate(spread=2.0)
    share = 1 + 2e3 / runs.frame["params"] ** 0.5
    frame = runs.frame.assign(tokens=runs.frame["tokens"] / share, flops=runs.frame["flops"])
    fit = fit_isoflop(read_runs(frame))
    for m in fit.minima:
        assert m.tokens == pytest.approx(m.budget / float(fit.shapes.flops_per_token(np.array(m.params))), rel=1e-9)
    optimum = fit.optimum(3e18)
    assert optimum.tokens == pytest.approx(3e18 / (6 * optimum.params * (1 + 2e3 / optimum.params**0.5)), rel=0.02)
    assert fit.exponents["b"] > 1 - fit.exponents["a"] + 0.01


def test_replicates_are_averaged_before_any_minimum(simulate: Simulate) -> None:
    """Repeating each run with opposite noise leaves the means, and so the vertices, as they were."""
    clean = simulate(spread=2.0).frame
    signs = np.where(np.arange(len(clean)) % 2, 0.02, -0.02)
    twice = pd.concat([clean.assign(loss=clean["loss"] + s * signs, seed=i) for i, s in enumerate((1, -1))])
    assert fit_isoflop(read_runs(twice)).exponents == pytest.approx(fit_isoflop(read_runs(clean)).exponents, rel=1e-9)
    assert fit_isoflop(read_runs(twice)).minima[0].noise.sd == pytest.approx(0.02 * math.sqrt(14 / 11), rel=0.01)


def test_the_best_setting_of_a_point_is_taken_and_the_others_named(simulate: Simulate) -> None:
    clean = simulate(spread=2.0).frame.assign(learning_rate=0.01)
    worse = clean[::3].assign(learning_rate=0.1, loss=clean["loss"][::3] + 0.3)
    fit = fit_isoflop(read_runs(pd.concat([clean, worse])))
    assert fit.exponents == pytest.approx(fit_isoflop(read_runs(clean)).exponents, rel=1e-12)
    assert sum(d.reason == "another setting of this point is lower" for d in fit.dropped) == len(worse)


# --- statuses and reasons


def test_minimum_at_an_edge_is_left_out_and_named(simulate: Simulate) -> None:
    runs = simulate(budgets=(1e17, 1e18, 1e19))
    smallest = runs.frame["budget"] == 1e17
    middle = runs.frame["params"][smallest].median()
    cut = read_runs(runs.frame[~smallest | (runs.frame["params"] > middle)])
    fit = fit_isoflop(cut)
    assert [m.status for m in fit.minima] == ["edge", "bracketed", "bracketed"]
    assert fit.minima[0].params is None
    assert "the lowest loss is at the smallest size" in (fit.minima[0].reason or "")
    assert [d.run for d in fit.dropped] == ["budget 1e+17"]
    codes = [w.code for w in fit.warnings]
    assert codes[:2] == ["few_budgets", "edge_minimum"]
    by_tokens = fit_isoflop(cut, variable="tokens").minima[0]
    assert by_tokens.reason == fit.minima[0].reason


def test_two_sizes_a_downward_curve_and_one_sided_noise(simulate: Simulate) -> None:
    runs = simulate(budgets=(1e17, 1e18, 1e19, 1e20), noise=1e-4)
    frame = runs.frame.copy()
    down = frame["budget"] == 1e18
    frame.loc[down, "loss"] = 6 - frame.loc[down, "loss"]
    few = frame[frame["budget"] == 1e17].iloc[2:4]
    fit = fit_isoflop(read_runs(pd.concat([few, frame[frame["budget"] != 1e17]])))
    assert [m.status for m in fit.minima] == ["too_few", "no_minimum", "bracketed", "bracketed"]
    assert all(m.reason for m in fit.minima[:2])
    assert [w.code for w in fit.warnings].count("no_minimum") == 2


def test_bracket_needs_two_sizes_on_each_side(simulate: Simulate) -> None:
    runs = simulate(spread=3.0, noise=1e-4)
    frame = runs.frame
    rank = frame.groupby("budget")["params"].rank()
    one_left = fit_isoflop(read_runs(frame[rank >= 3.0]))
    assert {m.status for m in one_left.minima} == {"inside"}
    assert "1 smaller size above the minimum" in (one_left.minima[0].reason or "")
    assert one_left.exponents["a"] is not None
    assert one_left.exponents_filtered == {"a": None, "b": None}


def test_noise_opens_fieller_intervals_and_is_warned_of(simulate: Simulate) -> None:
    fit = fit_isoflop(simulate(noise=0.2, spread=1.5, seed=3))
    usable = [m for m in fit.minima if m.usable]
    assert any(m.params_interval.low is None and m.params_interval.high is None for m in usable)
    assert "noise_exceeds_depth" in {w.code for w in fit.warnings}


def test_three_budgets_leave_one_degree_of_freedom_and_two_none(simulate: Simulate) -> None:
    three = fit_isoflop(simulate(budgets=(3e17, 1e18, 3e18), noise=0.003))
    assert three.params_trend.degrees == 1
    message = next(w.message for w in three.warnings if w.code == "few_budgets")
    assert message.startswith("three budgets over 1 decade leave one degree of freedom")
    two = fit_isoflop(simulate(budgets=(1e17, 1e19), noise=0.003))
    assert two.exponents["a"] == pytest.approx(0.51, abs=0.05)
    assert (two.intervals["a"].low, two.intervals["a"].high) == (None, None)


@pytest.mark.parametrize(
    ("layout", "warned"),
    [({}, False), ({"off_centre": 2.5, "spread": 6.0}, True), ({"drift": 1.4, "spread": 6.0}, True)],
)
def test_off_centre_and_drifting_grids_are_warned_of(simulate: Simulate, layout: Any, warned: bool) -> None:
    assert ("grid_off_centre" in {w.code for w in fit_isoflop(simulate(**layout)).warnings}) == warned


def test_computed_losses_look_synthetic_and_noisy_ones_do_not(simulate: Simulate) -> None:
    assert "looks_synthetic" in {w.code for w in fit_isoflop(simulate()).warnings}
    assert "looks_synthetic" not in {w.code for w in fit_isoflop(simulate(noise=0.003)).warnings}


# --- bad input


def test_one_budget_and_no_budgets_are_refused(simulate: Simulate) -> None:
    runs = simulate()
    one = read_runs(runs.frame[runs.frame["budget"] == 1e18])
    with pytest.raises(FitError, match=r"one budget only \(1e\+18 FLOPs\)"):
        fit_isoflop(one)
    scattered = runs.frame.drop(columns="budget")
    scattered = scattered.assign(flops=scattered["flops"] * np.geomspace(1, 3, len(scattered)))
    with pytest.raises(FitError, match="no column `budget`, and its FLOPs do not fall into groups"):
        fit_isoflop(read_runs(scattered.drop(columns="tokens")))
    with pytest.raises(FitError, match="at most 2 sizes at any budget"):
        fit_isoflop(read_runs(runs.frame.groupby("budget").head(2)))


def test_budgets_are_grouped_within_a_stated_tolerance(simulate: Simulate) -> None:
    runs = simulate(noise=0.003)
    jitter = np.random.default_rng(0).uniform(0.99, 1.01, len(runs))
    frame = runs.frame.drop(columns="budget").assign(tokens=runs.frame["tokens"] * jitter)
    fit = fit_isoflop(read_runs(frame.drop(columns="flops")))
    assert len(fit.minima) == 4
    assert "within 2%" in fit.runs.derived["budget"]


def test_fit_without_two_minima_says_so_instead_of_a_number(simulate: Simulate) -> None:
    runs = simulate(budgets=(1e18, 1e19))
    rank = runs.frame.groupby("budget")["params"].rank()
    fit = fit_isoflop(read_runs(runs.frame[rank >= 5]))
    assert fit.exponents == {"a": None, "b": None}
    with pytest.raises(FitError, match=r"0 of 2 curves have their minimum inside"):
        fit.optimum(1e20)
    assert "NaN" not in json.dumps(fit.to_json(), allow_nan=False)


# --- what it writes


def test_document_has_the_shared_keys_and_the_curves(simulate: Simulate) -> None:
    document = fit_isoflop(simulate(noise=0.01)).to_json()
    assert list(document) == [
        "method", "form", "objective", "n", "dropped", "coefficients", "se", "interval", "certificate", "exponents",
        "exponents_filtered", "warnings", "curves",
    ]  # fmt: skip
    assert set(document["certificate"]) == {
        "converged", "gradient_norm", "newton_decrement", "starts_agreeing", "condition", "at_bounds",
    }  # fmt: skip
    assert document["certificate"]["converged"] is True
    assert set(document["interval"]["a"]) == {"low", "high", "level", "method"}
    assert document["curves"][0]["minimum"]["params"] > 0
    json.dumps(document, allow_nan=False)


def test_bootstrap_repeats_the_fit_and_is_seeded(simulate: Simulate) -> None:
    fit = fit_isoflop(simulate(noise=0.004, sizes=15, spread=2.5))
    boot = fit.bootstrap(400, seed=3)
    again = fit.bootstrap(400, seed=3)
    assert boot.se == again.se
    assert boot.se["a"] == pytest.approx(fit.params_trend.exponent_se, rel=0.4)
    interval = boot.interval("a", level=0.9)
    assert interval.low < fit.exponents["a"] < interval.high
    assert fit.bootstrap(400, seed=4).se != boot.se


def test_bootstrap_of_interpolants_adds_noise_to_their_points(simulate: Simulate) -> None:
    fit = fit_isoflop(simulate(noise=0.002, sizes=9), curve="akima")
    boot = fit.bootstrap(400, seed=3)
    assert boot.se == fit.bootstrap(400, seed=3).se
    assert "noise" in boot.scheme
    assert boot.se["a"] == pytest.approx(fit.params_trend.own_exponent_se, rel=0.2)
    with pytest.raises(FitError, match="keep two minima"):
        fit_isoflop(simulate(sizes=3), curve="akima").bootstrap(10)  # three points leave no noise to add


def test_bootstrap_refuses_what_it_cannot_resample(simulate: Simulate) -> None:
    with pytest.raises(FitError, match="expected at least 2"):
        fit_isoflop(simulate()).bootstrap(1)


# --- the parabola itself


def test_parabola_agrees_with_an_independent_fit() -> None:
    generator = np.random.default_rng(5)
    x = generator.normal(size=12) + 20
    y = 3 + 0.2 * (x - 20.3) ** 2 + 0.01 * generator.normal(size=12)
    weights = generator.integers(1, 4, 12).astype(float)
    mine, theirs = fit_parabola(x, y, weights), np.polyfit(x - 20, y, 2, w=np.sqrt(weights))
    assert mine.vertex == pytest.approx(20 - theirs[1] / (2 * theirs[0]), rel=1e-12)
    _, covariance = np.polyfit(x - mine.centre, y, 2, w=np.sqrt(weights), cov="unscaled")
    np.testing.assert_allclose(mine.unscaled, covariance[::-1, ::-1], rtol=1e-9)


def test_fieller_ends_are_where_the_slope_is_just_significant() -> None:
    x = np.linspace(-1, 2, 9)
    y = 0.3 * (x - 0.4) ** 2 + 0.02 * np.cos(7 * x)
    parabola = fit_parabola(x, y, np.ones(9))
    for end in parabola.fieller(0.02, 2.0):
        row = np.array([0.0, 1.0, 2 * (end - parabola.centre)])
        slope, se = row @ parabola.coefficients, 0.02 * math.sqrt(row @ parabola.unscaled @ row)
        assert abs(slope) == pytest.approx(2 * se)


# --- published figures


def test_published_curves_give_the_published_exponents(shared_data: Path) -> None:
    """Nine budgets; the paper prints .49 and .51."""
    fit = fit_isoflop(published_curves(shared_data))
    assert [m.budget for m in fit.minima if not m.usable] == [1e20]
    assert fit.exponents == pytest.approx({"a": 0.4920, "b": 0.5080}, abs=5e-5)
    minima, flops = fit.minima, np.log([m.budget for m in fit.minima])
    vertices = np.array([m.curve.parabola.vertex for m in minima])
    assert np.polyfit(flops, vertices, 1)[0] == pytest.approx(0.495, abs=5e-4)
    inner = [0 < m.curve.loss.argmin() < len(m.curve.loss) - 1 for m in minima]
    assert np.polyfit(flops[inner], vertices[inner], 1)[0] == pytest.approx(0.522, abs=5e-4)
    assert fit.intervals["a"].low < 0.5 < fit.intervals["a"].high


def test_cs336_parabolas(shared_data: Path) -> None:
    columns = {"params": "parameters", "budget": "compute_budget", "loss": "final_loss"}
    fit = fit_isoflop(read_runs(shared_data / "cs336_isoflops.json", columns=columns))
    assert fit.coefficients["N_prefactor"] == pytest.approx(0.133, abs=5e-4)
    assert fit.coefficients["N_exponent"] == pytest.approx(0.5146, abs=5e-5)
    assert fit.optimum(1e23).params == pytest.approx(9.11e10, abs=5e7)
    assert "looks_synthetic" in {w.code for w in fit.warnings}


BIAS_TABLE = [
    (0.34, 0.28, 1, 1, (-0.33, -1.30, -2.90, -5.10)),
    (0.465, 0.155, 1, 1, (-1.67, -6.50, -13.91, -23.12)),
    (0.34, 0.28, 3, 1, (7.11, 5.69, 3.38, 0.24)),
    (0.34, 0.28, 1, 3**0.25, (11.61, 9.83, 6.94, 3.05)),
    (0.465, 0.155, 1, 3**0.25, (34.57, 30.04, 22.97, 14.00)),
]


@pytest.mark.parametrize(("alpha", "beta", "off_centre", "drift", "expected"), BIAS_TABLE)
def test_bias_of_the_parabola_is_predicted(
    alpha: float, beta: float, off_centre: float, drift: float, expected: tuple[float, ...]
) -> None:
    """Error of D*(1e24) in percent, to .01 points (arXiv:2603.22339)."""
    law = {"A": 406.4, "B": 410.7, "E": 1.69, "alpha": alpha, "beta": beta}
    budgets = np.geomspace(1e17, 1e21, 5)
    scale = (alpha * law["A"] / (beta * law["B"])) ** (1 / (alpha + beta))
    centres = (budgets / 6) ** (alpha / (alpha + beta)) / scale * off_centre * drift ** np.arange(5)
    for factor, percent in zip((2, 4, 8, 16), expected, strict=True):
        grids = [centre * np.geomspace(1 / factor, factor, 15) for centre in centres]
        bias = parabola_bias(additive_surface(law), budgets=budgets, grids=grids, flops=1e24)
        assert 100 * bias.relative_error == pytest.approx(percent, abs=0.01)


def test_bias_over_params_mirrors_that_over_tokens() -> None:
    law = {"A": 406.4, "B": 410.7, "E": 1.69, "alpha": 0.34, "beta": 0.28}
    budgets = np.geomspace(1e17, 1e21, 5)
    scale = (0.34 * law["A"] / (0.28 * law["B"])) ** (1 / 0.62)
    tokens = [(C / 6) ** (0.34 / 0.62) / scale * np.geomspace(1 / 8, 8, 15) for C in budgets]
    params = [C / (6 * D) for C, D in zip(budgets, tokens, strict=True)]
    surface = additive_surface(law)
    by_tokens = parabola_bias(surface, budgets=budgets, grids=tokens, flops=1e24)
    by_params = parabola_bias(surface, budgets=budgets, grids=params, flops=1e24, variable="params")
    assert by_params.relative_error > 0 > by_tokens.relative_error
    np.testing.assert_allclose(by_params.log_shift, -by_tokens.log_shift, rtol=1e-6)
