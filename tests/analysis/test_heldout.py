"""Held-out scores: right laws predict larger budgets, wrong ones are caught, and the choice never sees its own score."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from analysis import FitError, Runs, backtest, read_runs

Simulate = Callable[..., Runs]
FORMS = ("additive", "equal-exponents")
LAW = {"A": 2000.0, "B": 410.7, "E": 1.69, "alpha": 0.45, "beta": 0.25}
"""Exponents far enough apart for `equal-exponents` to miss them."""


def test_the_planted_form_is_chosen_and_predicts_the_largest_budget(simulate: Simulate) -> None:
    result = backtest(
        simulate(law=LAW, noise=0.003, sizes=7, budgets=np.geomspace(1e17, 1e20, 4)), forms=FORMS, engine="numpy"
    )
    assert result.chosen == "additive"
    assert result.inner_rmse["additive"] < result.inner_rmse["equal-exponents"]
    assert result.outer.target == pytest.approx(1e20)
    assert len(result.outer.fitted_on) == 3
    assert result.outer.rmse == pytest.approx(0.003, rel=0.8)
    assert result.outer.params_ratio == pytest.approx(1, abs=0.2)
    assert result.coverage("additive") > 0.7
    assert "fitted on 3 smaller budgets, additive was off by" in result.summary
    json.dumps(result.to_json(), allow_nan=False)


def test_the_largest_budget_takes_no_part_in_the_choice(simulate: Simulate) -> None:
    """Losses of the outer fold that suit another form move the score alone."""
    runs = simulate(law=LAW, noise=0.003, budgets=np.geomspace(1e17, 1e20, 4))
    frame = runs.frame.copy()
    frame.loc[frame["budget"] > 9e19, "loss"] += 0.2
    moved = backtest(read_runs(frame), forms=FORMS, engine="numpy")
    plain = backtest(runs, forms=FORMS, engine="numpy")
    assert moved.inner_rmse == plain.inner_rmse
    assert moved.chosen == plain.chosen
    assert moved.outer.error == pytest.approx(plain.outer.error - 0.2, abs=1e-9)
    assert moved.outer.covered == 0.0
    assert "undercoverage" in {w.code for w in moved.warnings}


def test_three_budgets_give_one_fold_of_the_first_form(simulate: Simulate) -> None:
    result = backtest(simulate(noise=0.003, budgets=(1e17, 3e17, 1e18)), forms=FORMS, engine="numpy")
    assert [f.method for f in result.folds] == ["isoflop", "additive"]
    assert result.inner_rmse == {}
    assert "few_budgets" in {w.code for w in result.warnings}
    assert result.folds[0].params_ratio == pytest.approx(1, abs=0.5)


def test_runs_without_budgets_are_cut_by_flops(simulate: Simulate) -> None:
    frame = simulate(noise=0.003, sizes=12).frame.drop(columns=["budget", "flops"])
    frame["tokens"] *= np.random.default_rng(0).uniform(0.5, 2, len(frame))
    law = 1.8169 + 482.01 / frame["params"] ** 0.3478 + 2085.43 / frame["tokens"] ** 0.3658
    result = backtest(read_runs(frame.assign(loss=law)), forms=("additive",), engine="numpy")
    assert result.budgets == "runs cut into 6 parts of equal number by FLOPs"
    assert result.outer.rmse < 1e-6
    assert {f.method for f in result.folds} == {"additive"}


def test_two_budgets_and_no_forms_are_refused(simulate: Simulate) -> None:
    with pytest.raises(FitError, match="has 2 budgets; a backtest fits on two"):
        backtest(simulate(budgets=(1e17, 1e18)))
    with pytest.raises(FitError, match="no forms to compare"):
        backtest(simulate(), forms=())


def test_a_form_that_cannot_be_fitted_is_a_failure_not_an_end(simulate: Simulate) -> None:
    result = backtest(simulate(noise=0.003), forms=("additive", "repeated-data"), engine="numpy")
    assert result.chosen == "additive"
    assert {method for method, _ in result.failures} == {"repeated-data"}
