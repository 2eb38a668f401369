"""The solver: both engines reach the same minimum, limits hold, and results depend on nothing they should not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize as scipy_minimise

from analysis import Huber, LeastAbsolute, Squares, fit_form
from analysis.fitting.model import build_model
from analysis.fitting.objective import Objective, objective_value
from analysis.fitting.solve import START_RUNS
from analysis.table import Runs

from .conftest import CHINCHILLA, MakeRuns


@pytest.mark.parametrize("objective", [Squares(), Huber(delta=2e-3), Huber(), LeastAbsolute()])
@pytest.mark.parametrize("space", ["log", "linear"])
def test_compiled_and_numpy_agree(planted: MakeRuns, objective: Objective, space: str) -> None:
    runs = planted(noise=0.004)
    compiled, plain = (fit_form(runs, objective=objective, space=space, engine=e) for e in ("compiled", "numpy"))
    assert compiled.objective.value == pytest.approx(plain.objective.value, rel=1e-7)
    assert compiled.certificate.converged
    assert plain.certificate.converged
    if not isinstance(objective, LeastAbsolute):
        assert compiled.coefficients == pytest.approx(plain.coefficients, rel=1e-5)


def test_planted_law_to_nine_digits(planted: MakeRuns) -> None:
    for objective in (Squares(), Huber(delta=1e-3), Huber()):
        fit = fit_form(planted(), objective=objective)
        assert fit.coefficients == pytest.approx(CHINCHILLA, rel=1e-9)


def test_no_lower_point_by_an_independent_method(planted: MakeRuns) -> None:
    fit = fit_form(planted(noise=0.01, seed=4), objective=Huber(delta=3e-3))
    model = build_model(fit.problem)

    def objective(theta: np.ndarray) -> float:
        residuals = fit.problem.observed - model.value(theta[None])[0]
        return 1e4 * float(objective_value(residuals, fit.problem.weights, fit.delta))

    generator = np.random.default_rng(0)
    for _ in range(5):
        start = fit.theta + 0.3 * generator.standard_normal(5)
        end = scipy_minimise(objective, start, method="Nelder-Mead", options={"maxiter": 4000, "fatol": 1e-14})
        assert fit.objective.value <= end.fun / 1e4 * (1 + 1e-9)


def test_order_of_runs_does_not_matter(planted: MakeRuns) -> None:
    runs = planted(noise=0.004)
    shuffled = Runs(frame=runs.frame.sample(frac=1, random_state=1).reset_index(drop=True))
    assert fit_form(shuffled).coefficients == pytest.approx(fit_form(runs).coefficients, rel=1e-6)


def test_units_of_n_and_d_only_move_prefactors(planted: MakeRuns) -> None:
    runs = planted(noise=0.004)
    scaled = runs.frame.assign(params=runs.frame["params"] / 1e6, tokens=runs.frame["tokens"] / 1e9)
    fit, other = fit_form(runs), fit_form(Runs(frame=scaled))
    for name in ("E", "alpha", "beta"):
        assert other.coefficients[name] == pytest.approx(fit.coefficients[name], rel=1e-6)
    assert other.coefficients["A"] == pytest.approx(fit.coefficients["A"] * 1e6 ** -fit.coefficients["alpha"], rel=1e-5)


def test_a_weight_of_two_is_a_run_given_twice(planted: MakeRuns) -> None:
    runs = planted(noise=0.004)
    weights = np.ones(len(runs))
    weights[3] = 2.0
    twice = Runs(frame=runs.frame.iloc[[*range(len(runs)), 3]].reset_index(drop=True))
    weighted = fit_form(runs, objective=Squares(), weights=weights)
    assert weighted.coefficients == pytest.approx(fit_form(twice, objective=Squares()).coefficients, rel=1e-9)


@pytest.mark.parametrize("engine", ["compiled", "numpy"])
def test_fixed_coefficients_and_bounds_hold(planted: MakeRuns, engine: str) -> None:
    runs = planted(noise=0.004)
    fit = fit_form(runs, fixed={"E": 1.69}, engine=engine)
    assert fit.coefficients["E"] == 1.69
    assert fit.certificate.converged
    assert fit.certificate.at_bounds == ()
    fit = fit_form(runs, bounds={"alpha": (0.38, 0.5)}, engine=engine)
    assert fit.coefficients["alpha"] == pytest.approx(0.38)
    assert fit.certificate.at_bounds == ("alpha",)
    assert fit.certificate.converged
    assert "at_bound" in {warning.code for warning in fit.warnings}
    fit = fit_form(runs, fixed={"A": 482.01, "alpha": 0.3478}, engine=engine)
    assert fit.coefficients["A"] == pytest.approx(482.01, rel=1e-12)
    assert fit.certificate.converged


def test_a_floor_that_runs_do_not_show_is_said_so(planted: MakeRuns) -> None:
    runs = planted(budgets=3, sizes=5, decades=0.5, noise=0.05, seed=3)
    assert "e_not_identified" in {warning.code for warning in fit_form(runs).warnings}


def test_the_seed_decides_everything(planted: MakeRuns) -> None:
    runs = planted(noise=0.01)
    first, again = (fit_form(runs, seed=3) for _ in range(2))
    assert first.coefficients == again.coefficients
    np.testing.assert_array_equal(first.bootstrap(50).draws, again.bootstrap(50).draws)
    assert not np.array_equal(first.bootstrap(50, seed=4).draws, again.bootstrap(50).draws)


def test_starts_of_large_tables_are_found_on_a_part_of_them(planted: MakeRuns) -> None:
    small = planted(noise=0.005)
    frame = pd.concat([small.frame] * 700, ignore_index=True)
    large = replace(small, frame=frame.assign(loss=frame["loss"] * (1 + 1e-5 * np.sin(np.arange(len(frame))))))
    assert len(large) > START_RUNS
    found = fit_form(large, objective=Huber(delta=5e-3), engine="numpy")
    expected = fit_form(small, objective=Huber(delta=5e-3), engine="numpy")
    assert found.certificate.converged
    assert found.coefficients == pytest.approx(expected.coefficients, rel=1e-3)
