"""All approaches on one table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis import FitError, Runs, fit_all, fit_envelope, fit_isoflop, read_runs
from analysis.combined import compare_approaches

Simulate = Callable[..., Runs]


def test_approaches_agree_on_a_good_grid(simulate: Simulate) -> None:
    fits = fit_all(simulate(noise=0.002, sizes=9, spread=2.5, budgets=np.geomspace(1e17, 1e21, 5)))
    assert list(fits.fits) == ["envelope", "isoflop", "parametric"]
    assert fits.failures == {}
    assert "approaches_disagree" not in {w.code for w in fits.warnings}
    for fit in (fits.isoflop, fits.parametric):
        assert fit.exponents["a"] == pytest.approx(0.5126, abs=0.02)


def test_approaches_that_differ_are_named_with_their_sizes(simulate: Simulate) -> None:
    steeper = {"A": 482.01, "B": 2085.43, "E": 1.8169, "alpha": 0.30, "beta": 0.3658}
    fits = {"envelope": fit_envelope(simulate()), "isoflop": fit_isoflop(simulate(law=steeper))}
    (warning,) = compare_approaches(fits, 1e21)
    assert warning.code == "approaches_disagree"
    assert "at 1e+21 FLOPs, ten times the largest budget, N* is envelope 2.78B, isoflop 10.5B" in warning.message
    two = {**fits, "isoflop": fit_isoflop(simulate(law=steeper, budgets=(1e18, 1e19)))}
    (warning,) = compare_approaches(two, 1e20)
    assert "(one has no interval)" in warning.message  # two minima leave none, and no number of standard errors
    same = {"envelope": fit_envelope(simulate()), "isoflop": fit_isoflop(simulate(spread=2.0))}
    assert compare_approaches(same, 1e21) == []


def test_an_approach_without_a_result_is_null_with_its_reason(simulate: Simulate) -> None:
    runs = simulate(noise=0.003)
    frame = runs.frame.drop(columns=["budget", "flops"])
    frame["tokens"] *= np.geomspace(1, 4, len(frame))
    fits = fit_all(read_runs(frame))
    document = fits.to_json()
    assert document["fits"]["isoflop"] is None
    assert document["fits"]["parametric"]["method"] == "parametric"
    assert any(w["code"] == "no_result" and "no column `budget`" in w["message"] for w in document["warnings"])
    json.dumps(document, allow_nan=False)


def test_nothing_to_fit_is_one_error(simulate: Simulate) -> None:
    frame = simulate().frame
    with pytest.raises(FitError, match="no approach has a result"):
        fit_all(read_runs(frame[frame["budget"] == 1e18].head(3)))


def test_cs336(shared_data: Path) -> None:
    columns = {"params": "parameters", "budget": "compute_budget", "loss": "final_loss"}
    fits = fit_all(read_runs(shared_data / "cs336_isoflops.json", columns=columns)).to_json()["fits"]
    expected = {"envelope": 0.4687, "isoflop": 0.5146, "parametric": 0.5143}
    assert {name: fit["exponents"]["a"] for name, fit in fits.items()} == pytest.approx(expected, abs=5e-5)
