"""Every form: exact derivatives, and a planted law comes back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import Squares, fit_form
from analysis.fitting.model import AdditiveModel, JetModel, build_model
from analysis.fitting.problem import Problem, state_problem
from analysis.forms import FORMS, find_form
from analysis.table import Runs

PLANTED: dict[str, tuple[float, ...]] = {
    "additive": (482.0, 2085.0, 1.817, 0.348, 0.366),
    "equal-exponents": (300.0, 500.0, 1.7, 0.3),
    "gamma": (3000.0, 4000.0, 1.5, 0.45, 0.5, 0.7),
    "kaplan-joint": (6.4e13, 1.8e13, 0.076, 0.103),
    "rosenfeld": (482.0, 2085.0, 1.8, 0.348, 0.366, 9.0),
    "over-training": (113.0, 189.0, 1.5, 0.24),
    "repeated-data": (521.0, 1488.0, 1.87, 0.3526, 0.3526, 5.3, 15.4),
    "farseer": (-0.021, 0.169, -0.091, 88.01, -0.1, -5.287, -0.124, 0.123, 0.424),
    "moe-granularity": (18.1, 30.8, 0.47, 0.115, 0.147, 2.1, 0.58),
    "precision": (4299.0, 18060.0, 2.76, 0.4965, 0.4965, 2.67, 2.21, 0.96, 0.1, 0.2, 0.3),
    **{f"saturating-{x}": (300.0, 1.8, 0.3) for x in ("params", "tokens")},
    "saturating-flops": (3e5, 1.8, 0.3),
    **{f"broken-{x}": (300.0, 1.5, 0.3, -0.1, 1e9, 0.5) for x in ("params", "tokens")},
    "broken-flops": (1e6, 1.5, 0.3, -0.1, 1e18, 0.5),
    **{f"three-regions-{x}": (5.0, 1e8, 1.8, 0.4) for x in ("params", "tokens")},
    "three-regions-flops": (5.0, 1e17, 1.8, 0.4),
}


def planted_frame(name: str) -> pd.DataFrame:
    """96 runs on a grid of N and D that follow a form exactly."""
    generator = np.random.default_rng(0)
    params = np.repeat(np.geomspace(1e6, 3e9, 12), 8)
    tokens = np.tile(np.geomspace(1e8, 1e11, 8), 12)
    frame = pd.DataFrame({"params": params, "tokens": tokens, "flops": 6 * params * tokens})
    frame["unique_tokens"] = np.minimum(tokens, generator.choice([1e8, 1e9, 1e10], len(frame)))
    frame["granularity"] = generator.choice([1.0, 2.0, 4.0, 8.0, 16.0], len(frame))
    for part in ("weights", "activations", "cache"):
        frame[f"bits_{part}"] = generator.choice([3.0, 4.0, 6.0, 8.0, 16.0], len(frame))
    form = find_form(name)
    columns = {column: frame[column].to_numpy() for column in form.columns}
    frame["loss"] = form.loss(dict(zip(form.names, PLANTED[name], strict=True)), columns)
    return frame


def planted_problem(name: str, space: str = "log") -> Problem:
    frame, form = planted_frame(name), find_form(name)
    columns = {column: frame[column].to_numpy() for column in form.columns}
    return state_problem(form, columns, frame["loss"].to_numpy(), space=space)


def test_every_form_has_a_planted_law() -> None:
    assert set(PLANTED) == set(FORMS)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("space", ["log", "linear"])
def test_derivatives_agree_with_differences(name: str, space: str) -> None:
    problem = planted_problem(name, space)
    model, step = build_model(problem), 1e-6
    theta = problem.coordinates(np.array(PLANTED[name]))[None] * 1.01
    multipliers = np.random.default_rng(1).standard_normal((1, len(problem.loss)))
    exact = model.predictions(theta, second_order=True)
    units = step * np.eye(theta.shape[1])

    def slope(theta: np.ndarray) -> np.ndarray:
        return np.einsum("rn,rnk->rk", multipliers, model.predictions(theta, second_order=True).jacobian)

    jacobian = np.stack([model.value(theta + u) - model.value(theta - u) for u in units], -1) / (2 * step)
    curvature = np.stack([slope(theta + u) - slope(theta - u) for u in units], -1) / (2 * step)
    np.testing.assert_allclose(exact.jacobian, jacobian, atol=1e-7 * np.abs(jacobian).max())
    np.testing.assert_allclose(exact.curvature(multipliers), curvature, atol=1e-5 * np.abs(curvature).max())


@pytest.mark.parametrize("name", [name for name in FORMS if not name.startswith("broken-flops")])
def test_a_planted_law_comes_back(name: str) -> None:
    fit = fit_form(Runs(frame=planted_frame(name)), name, Squares())
    assert fit.objective.value < 1e-24
    assert list(fit.coefficients.values()) == pytest.approx(PLANTED[name], rel=1e-8)
    assert fit.certificate.converged, fit.certificate.reason


def test_written_out_derivatives_agree_with_jets() -> None:
    for space in ("log", "linear"):
        problem = planted_problem("additive", space)
        theta = problem.coordinates(np.array([[400.0, 900.0, 1.5, 0.3, 0.35], [50.0, 5e3, 2.1, 0.2, 0.5]]))
        multipliers = np.random.default_rng(2).standard_normal((2, len(problem.loss)))
        by_hand = AdditiveModel(problem).predictions(theta, second_order=True)
        by_jets = JetModel(problem).predictions(theta, second_order=True)
        np.testing.assert_allclose(by_hand.value, by_jets.value, rtol=1e-12)
        np.testing.assert_allclose(by_hand.jacobian, by_jets.jacobian, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(
            by_hand.curvature(multipliers), by_jets.curvature(multipliers), rtol=1e-8, atol=1e-10
        )


def test_one_sweep_of_single_variable_forms_levels_off_where_planted() -> None:
    frame = planted_frame("saturating-tokens")
    frame["loss"] *= np.exp(0.002 * np.random.default_rng(3).standard_normal(len(frame)))
    fit = fit_form(Runs(frame=frame), "saturating-tokens")
    assert fit.coefficients["E"] == pytest.approx(1.8, rel=0.02)
    interval = fit.interval("E")
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low < 1.8 < interval.high
