"""Input that no fit can use gives one clear error, without warnings from NumPy on the way."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest

from analysis import FitError, Huber, LawError, fit_form
from analysis.fitting.objective import parse_objective
from analysis.table import Runs

from .conftest import MakeRuns, table

SIZES = np.geomspace(1e7, 1e9, 12)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda runs: Runs(frame=runs.frame.head(4)), FitError, "4 runs for the 5 free coefficients"),
        (lambda _: table(np.full(12, 1e8), SIZES * 20, np.linspace(3, 2, 12)), FitError, "have params = 1e"),
        (lambda _: table(SIZES, np.full(12, 1e9), np.linspace(3, 2, 12)), FitError, "have tokens = 1e"),
        (lambda _: table(SIZES, 1e19 / (6 * SIZES), np.linspace(3, 2, 12)), FitError, "one budget"),
        (lambda r: Runs(frame=r.frame.assign(loss=-r.frame["loss"])), FitError, "not positive"),
        (lambda r: Runs(frame=r.frame.assign(loss=np.nan)), FitError, "not positive"),
        (lambda r: Runs(frame=r.frame.assign(tokens=0.0)), FitError, "values of tokens"),
    ],
)
def test_runs_that_cannot_be_fitted(
    planted: MakeRuns, make: Callable[[Runs], Runs], error: type[Exception], match: str
) -> None:
    runs = make(planted(noise=0.01))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error, match=match):
            fit_form(runs)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"form": "aditive"}, LawError, "Did you mean additive"),
        ({"form": "repeated-data"}, LawError, "reads unique_tokens, which these runs don't have: they have params"),
        ({"fixed": {"gamma": 1.0}}, FitError, "no coefficient of additive"),
        ({"bounds": {"alpha": (0.5, 0.2)}}, FitError, "low <= high"),
        ({"fixed": {"A": -3.0}}, FitError, "positive"),
        ({"weights": np.ones(3)}, FitError, "one per run"),
        ({"drop_highest": 45}, FitError, "expected 0 to 44"),
        ({"space": "sqrt"}, FitError, "log or linear"),
        ({"cluster": "trunk"}, FitError, "does not exist: expected one of params"),
    ],
)
def test_arguments_that_make_no_sense(
    planted: MakeRuns, arguments: dict[str, object], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        fit_form(planted(noise=0.01), **arguments)


@pytest.mark.parametrize("text", ["huber:abc", "huber:-1", "lad:3", "mean", "huber:inf", "huber:nan"])
def test_objectives_that_do_not_exist(text: str) -> None:
    with pytest.raises(FitError):
        parse_objective(text)


def test_objectives_by_name() -> None:
    assert parse_objective("huber:1e-3") == Huber(delta=1e-3)
    assert parse_objective("huber:auto") == parse_objective("huber") == Huber()


def test_a_fit_raises_no_warnings_of_numpy(planted: MakeRuns) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for form in ("additive", "gamma", "farseer", "kaplan-joint"):
            fit_form(planted(noise=0.01), form)


def test_bootstrap_columns_must_exist(planted: MakeRuns) -> None:
    fit = fit_form(planted(noise=0.01))
    with pytest.raises(FitError, match="'trunk' does not exist"):
        fit.bootstrap(10, cluster="trunk")
    with pytest.raises(FitError, match="at least 2"):
        fit.bootstrap(1)
    with pytest.raises(FitError, match="no coefficient"):
        fit.interval("delta")


def test_duplicated_rows_are_one_unit(planted: MakeRuns) -> None:
    runs = planted(noise=0.01)
    twice = Runs(frame=runs.frame.loc[np.repeat(runs.frame.index, 2)].reset_index(drop=True))
    assert fit_form(twice).bootstrap(10).units == len(runs)


def test_two_sizes_do_not_determine_the_law(planted: MakeRuns) -> None:
    """E, A and alpha then trade against each other without end: no certificate, however small the residuals."""
    sizes, tokens = np.tile([1e7, 1e9], 8), np.repeat(np.geomspace(1e9, 1e11, 8), 2)
    loss = 1.8 + 482 * sizes**-0.348 + 2085 * tokens**-0.366
    noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(16))
    for objective in (None, Huber(delta=1e-6)):
        fit = fit_form(table(sizes, tokens, loss * noise), objective=objective)
        assert not fit.certificate.converged
        assert fit.warnings[0].code == "not_converged"
        assert fit.optimum(1e21).warnings[0].code in ("not_converged", "not_identified")


def test_losses_that_rise_have_no_optimum_to_believe() -> None:
    runs = table(SIZES, 20 * SIZES**0.5 * np.tile([1e4, 3e4], 6), np.linspace(2.0, 4.0, 12))
    fit = fit_form(runs)
    codes = {warning.code for warning in (*fit.warnings, *fit.optimum(1e20).warnings)}
    assert codes & {"at_bound", "not_identified", "not_converged", "e_not_identified"}


def test_fewer_than_twice_as_many_runs_as_coefficients(planted: MakeRuns) -> None:
    runs = planted(budgets=2, sizes=4, noise=0.003)
    fit = fit_form(runs)
    assert fit.certificate.rule == "newton"
    assert fit.interval("alpha").low is None or fit.interval("alpha").low < fit.coefficients["alpha"]
