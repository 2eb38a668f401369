"""The posterior of a law: it holds what its runs leave open, is the same for the same seed, and hardly heeds an outlier."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from analysis import FitError, Runs, read_runs
from analysis.posterior import Posterior, sample_posterior

Simulate = Callable[..., Runs]
LAW = {"A": 44.67, "B": 336.4, "E": 1.316, "alpha": 0.5128, "beta": 0.5334}
"""An additive law fitted to runs of a laptop (`benchmarks/ladder.py`), whose floor one decade hardly shows."""

DECADE = (3e10, 1e11, 3e11)
NOISE = 0.01
N, D, ONE = np.array([5e4, 1.5e5, 4e5]), 3e12 / (6 * np.array([5e4, 1.5e5, 4e5])), np.ones(3)
"""Points at ten times the largest budget, a run each."""

TRUTH = LAW["E"] + LAW["A"] / N ** LAW["alpha"] + LAW["B"] / D ** LAW["beta"]


@pytest.fixture(scope="module")
def decade(simulate: Simulate) -> Runs:
    """Four seeds of seven sizes at three budgets."""
    return simulate(budgets=DECADE, noise=NOISE, seeds=4, seed=7, law=LAW)


@pytest.fixture(scope="module")
def posterior(decade: Runs) -> Posterior:
    return sample_posterior(decade, seed=1)


def test_the_truth_lies_within_what_is_left_open(posterior: Posterior) -> None:
    low, high = posterior.quantiles("E", 0.95)
    assert low < LAW["E"] < high
    assert high - low > 0.1  # a decade hardly tells it
    middle, half = posterior.predict(N, D, ONE, 0.95)
    assert np.all(np.abs(middle - TRUTH) < half)
    assert posterior.autocorrelations > 30


def test_noise_between_seeds_is_told_from_the_misfit(posterior: Posterior) -> None:
    assert posterior.noise * 2 == pytest.approx(NOISE, rel=0.5)  # losses of about two nats, and ln(loss)
    assert np.median(posterior.misfit) < NOISE / 2


def test_more_seeds_narrow_the_interval_of_their_mean(posterior: Posterior) -> None:
    _, one = posterior.predict(N, D, ONE, 0.9)
    _, many = posterior.predict(N, D, 100 * ONE, 0.9)
    assert np.all(many < one)


def test_compute_lowers_the_loss_along_the_optima(posterior: Posterior) -> None:
    """By the envelope theorem dL*/d ln C is -beta B / D^beta at the optimum."""
    alpha, beta = LAW["alpha"], LAW["beta"]
    best = (alpha * LAW["A"] / (beta * LAW["B"]) * 5e11**beta) ** (1 / (alpha + beta))
    fall = beta * LAW["B"] / (5e11 / best) ** beta
    assert posterior.slope(2e5, 5e11 / 2e5) == pytest.approx(-fall, rel=0.25)


def test_the_same_seed_draws_the_same(decade: Runs, posterior: Posterior) -> None:
    again = sample_posterior(decade, seed=1)
    np.testing.assert_array_equal(again.misfit, posterior.misfit)
    for name, draws in posterior.coefficients.items():
        np.testing.assert_array_equal(again.coefficients[name], draws)


def test_one_point_that_is_far_off_hardly_moves_a_prediction(decade: Runs, posterior: Posterior) -> None:
    frame = decade.frame.copy()
    frame.loc[frame["params"] == frame["params"].iloc[0], "loss"] += 0.3
    off, _ = sample_posterior(read_runs(frame), seed=1).predict(N, D, ONE, 0.9)
    middle, half = posterior.predict(N, D, ONE, 0.9)
    assert np.all(np.abs(off - middle) < half)


def test_fewer_points_than_coefficients_are_refused(decade: Runs) -> None:
    frame = decade.frame
    few = read_runs(frame[frame["budget"] < 5e10].iloc[:24].reset_index(drop=True))
    with pytest.raises(FitError, match=r"6 points for the 6 coefficients of the gamma form; expected more"):
        sample_posterior(few)


def test_runs_without_budgets_are_grouped_by_their_flops(decade: Runs, posterior: Posterior) -> None:
    frame = decade.frame.drop(columns="budget").assign(flops=decade.frame["budget"])
    again = sample_posterior(read_runs(frame), seed=1)
    np.testing.assert_allclose(again.misfit, posterior.misfit)
