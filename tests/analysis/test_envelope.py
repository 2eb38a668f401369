"""Approach 1: the envelope of final losses and of training curves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import FitError, Runs, fit_envelope, read_curves, read_runs

Simulate = Callable[..., Runs]


def training_curves(sizes: np.ndarray, *, end: float = 1e20) -> tuple[Runs, pd.DataFrame]:
    """Runs of one length in FLOPs whose training loss follows the additive law at every step."""
    rows, curves = [], []
    for i, N in enumerate(sizes):
        D = np.geomspace(1e6, end / (6 * N), 200)
        loss = 1.8169 + 482.01 / N**0.3478 + 2085.43 / D**0.3658
        rows.append({"run_id": f"r{i}", "params": N, "tokens": D[-1], "loss": loss[-1]})
        curves.append(pd.DataFrame({"run_id": f"r{i}", "tokens": D, "flops": 6 * N * D, "train_loss": loss}))
    return read_runs(pd.DataFrame(rows)), pd.concat(curves)


def test_best_point_of_each_budget(simulate: Simulate, true_optimum: Callable[[float], float]) -> None:
    fit = fit_envelope(simulate(sizes=7, spread=2.0))
    np.testing.assert_allclose(fit.params, [true_optimum(c) for c in fit.flops], rtol=1e-9)
    assert fit.exponents["a"] == pytest.approx(0.3658 / (0.3478 + 0.3658), abs=1e-9)
    assert fit.on_hull.all()


def test_without_budgets_the_envelope_is_what_nothing_cheaper_beats(simulate: Simulate) -> None:
    frame = simulate(sizes=9, spread=4.0).frame.drop(columns="budget")
    fit = fit_envelope(read_runs(frame))
    losses = frame["loss"].to_numpy()
    for C, loss in zip(fit.flops, fit.losses, strict=True):
        assert not (losses[frame["flops"].to_numpy() < C] <= loss).any()
    assert (np.diff(fit.losses) < 0).all()


def test_points_above_the_hull_are_filtered(simulate: Simulate) -> None:
    runs = simulate(sizes=5, spread=2.0)
    frame = runs.frame.copy()
    frame.loc[frame["budget"] == 1e18, "loss"] += 0.5
    fit = fit_envelope(read_runs(frame))
    assert fit.on_hull.tolist() == [True, False, True, True]
    assert fit.exponents_filtered["a"] == pytest.approx(0.5126, abs=1e-4)


def test_training_curves_recover_the_law_and_are_flagged() -> None:
    runs, curves = training_curves(np.geomspace(1e7, 3e9, 24))
    fit = fit_envelope(runs, curves)
    assert fit.over == "training curves"
    assert fit.exponents["a"] == pytest.approx(0.5126, abs=0.01)
    assert "mid_decay_losses" in {w.code for w in fit.warnings}
    assert len(fit.flops) == 1500


def test_replicates_are_averaged_before_the_minimum(simulate: Simulate) -> None:
    frame = simulate(sizes=7, spread=2.0).frame
    lucky = frame.groupby("budget").head(1)
    pair = pd.concat(
        [frame, lucky.assign(seed=1, loss=lucky["loss"] - 0.2), lucky.assign(seed=2, loss=lucky["loss"] + 0.4)]
    )
    assert fit_envelope(read_runs(pair)).exponents == pytest.approx(fit_envelope(read_runs(frame)).exponents)


def test_best_size_at_an_end_is_warned_of(simulate: Simulate) -> None:
    runs = simulate(off_centre=3.0, spread=2.0)
    messages = [w.message for w in fit_envelope(runs).warnings if w.code == "edge_minimum"]
    assert len(messages) == 4
    assert "the lowest loss is at the smallest size" in messages[0]


def test_the_only_size_of_a_budget_is_no_optimum(simulate: Simulate) -> None:
    """As in a sweep over widths at one number of tokens: the sizes grow with C because they were planned so."""
    frame = simulate(sizes=5, spread=2.0).frame
    alone = frame[frame["params"] == frame.groupby("budget")["params"].transform("median")]
    with pytest.raises(FitError, match="several sizes at 0 of 4 budgets"):
        fit_envelope(read_runs(alone))
    largest = frame[frame["budget"] == frame["budget"].max()]
    with pytest.raises(FitError, match="several sizes at 1 of 4 budgets"):
        fit_envelope(read_runs(pd.concat([alone[alone["budget"] < alone["budget"].max()], largest])))


def test_refusals(simulate: Simulate) -> None:
    frame = simulate(budgets=(1e18, 1e19)).frame
    with pytest.raises(FitError, match="one budget only"):
        fit_envelope(read_runs(frame[frame["budget"] == 1e18]))
    same = frame.assign(params=1e8, tokens=frame["budget"] / 6e8)
    with pytest.raises(FitError, match=r"one size \(100M\) is best at every budget"):
        fit_envelope(read_runs(same.drop(columns="flops"), duplicates="keep"))
    runs, curves = training_curves(np.geomspace(1e7, 1e9, 4))
    with pytest.raises(FitError, match="none of the curves"):
        fit_envelope(runs, curves.assign(run_id="other"))


def test_document(simulate: Simulate) -> None:
    document = fit_envelope(simulate()).to_json()
    assert document["method"] == "envelope"
    assert len(document["points"]) == 4
    json.dumps(document, allow_nan=False)


def test_curves_of_a_store(store: Any) -> None:
    for seq in range(3):
        store.run(seq)
    store.compact(committed=range(2))
    curves = read_curves(store.root)
    assert len(curves) == 9
    assert curves.columns.tolist()[:5] == ["run_id", "tokens", "flops", "train_loss", "lr"]


def test_cs336_lowest_loss_per_budget(shared_data: Path) -> None:
    columns = {"params": "parameters", "budget": "compute_budget", "loss": "final_loss"}
    fit = fit_envelope(read_runs(shared_data / "cs336_isoflops.json", columns=columns))
    assert fit.coefficients["N_prefactor"] == pytest.approx(1.163, abs=5e-4)
    assert fit.coefficients["N_exponent"] == pytest.approx(0.4687, abs=5e-5)
    assert fit.optimum(1e23).params == pytest.approx(7.00e10, abs=6e7)
