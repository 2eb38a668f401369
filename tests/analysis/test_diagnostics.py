"""Each diagnostic fires on what it is for, stays quiet on a good sweep, and says when it could not be asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import Runs, diagnose, fit_all, fit_form, fit_isoflop, read_runs
from analysis.diagnostics import QUESTIONS, check_runs

Simulate = Callable[..., Runs]


def changed(runs: Runs, **columns: Any) -> Runs:
    return read_runs(
        runs.frame.assign(**columns), allow_mixed=["count", "flops_rule", "evaluation", "decay"], duplicates="keep"
    )


def answers(runs: Runs, **fits: Any) -> dict[str, str]:
    return {d.code: d.answer for d in diagnose(runs, **fits)}


def both(runs: Runs) -> dict[str, Any]:
    return {"isoflop": fit_isoflop(runs), "parametric": fit_form(runs, engine="numpy")}


def test_every_code_is_answered_and_a_good_sweep_is_fine(simulate: Simulate) -> None:
    runs = simulate(noise=0.003, seeds=2, spread=2.0, budgets=np.geomspace(1e17, 1e20, 5))
    runs = changed(runs, decayed=True, warmup_steps=10, steps=400, epochs=1.0)
    found = answers(runs, found=(), target=5e20, **both(runs))
    assert list(found) == list(QUESTIONS)
    assert [code for code, answer in found.items() if answer == "weakens"] == []
    assert {code for code, answer in found.items() if answer == "not asked"} == {
        "curves_fall_off",
        "stopped_by_interval",
    }


def test_without_fits_or_columns_nothing_is_claimed(simulate: Simulate) -> None:
    found = answers(simulate())
    assert {code for code, answer in found.items() if answer == "fine"} == {"mixed_conventions", "six_nd"}
    assert found["approaches_disagree"] == found["not_converged"] == "not asked"


@pytest.mark.parametrize(
    ("columns", "code", "words"),
    [
        ({"context": lambda f: np.where(f["budget"] > 1e18, 256, 128)}, "mixed_conventions", "two context lengths"),
        ({"decayed": lambda f: f["budget"] > 1e18}, "schedule_not_matched", "14 of 28 losses"),
        ({"warmup_steps": 100, "steps": lambda f: f["budget"] / 1e15 * 3}, "warmup_too_long", "more than 20% in 7"),
        ({"epochs": lambda f: f["tokens"] / f["tokens"].min()}, "repeated_data", "repeat their text more than 4 times"),
        ({"flops": lambda f: f["flops"] * (1 + (1e6 / f["params"]) ** 0.3)}, "six_nd", "C / 6ND is"),
    ],
)
def test_checks_of_the_table(simulate: Simulate, columns: dict[str, Any], code: str, words: str) -> None:
    runs = changed(simulate(noise=0.003), **columns)
    diagnostic = next(d for d in diagnose(runs) if d.code == code)
    assert diagnostic.answer == "weakens"
    assert words in diagnostic.computed
    assert code in {w.code for w in check_runs(runs, isoflop=None, parametric=None)}


def test_lack_of_fit_against_pure_error(simulate: Simulate) -> None:
    """Grids so wide that the parabola misses by more than the seeds scatter; the additive form does not."""
    wide = simulate(spread=30.0, sizes=9, noise=0.002, seeds=3)
    diagnostic = next(d for d in diagnose(wide, **both(wide)) if d.code == "lack_of_fit")
    assert diagnostic.answer == "weakens"
    assert "the parabola misses its points by" in diagnostic.computed
    narrow = simulate(spread=2.0, noise=0.002, seeds=3)
    assert answers(narrow, **both(narrow))["lack_of_fit"] == "fine"


def test_residual_space_matters_where_small_losses_break_the_law(simulate: Simulate) -> None:
    runs = simulate(noise=0.003, spread=4.0)
    small = runs.frame["budget"] == 1e17
    tilt = 0.2 * np.log(runs.frame["params"] / runs.frame["params"].min()).clip(0) * small
    bent = changed(runs, loss=runs.frame["loss"] - tilt)
    assert answers(bent, parametric=fit_form(bent, engine="numpy"))["space_sensitive"] == "weakens"
    assert answers(runs, parametric=fit_form(runs, engine="numpy"))["space_sensitive"] == "fine"


def test_residuals_on_one_side(simulate: Simulate) -> None:
    runs = simulate(noise=0.002, sizes=9)
    generator = np.random.default_rng(0)
    up = generator.random(len(runs)) < 0.35
    skewed = changed(runs, loss=runs.frame["loss"] + up * generator.exponential(0.2, len(runs)))
    assert answers(skewed, parametric=fit_form(skewed, engine="numpy"))["residual_mean"] == "weakens"


def loss_curves(runs: Runs) -> pd.DataFrame:
    """Curves of the law with a linear decay's last drop, the same shape for all."""
    parts = []
    for run_id, N, D in zip(runs.frame["run_id"], runs.frame["params"], runs.frame["tokens"], strict=True):
        x = np.linspace(0.02, 1, 60)
        loss = 1.8169 + 482.01 / N**0.3478 + 2085.43 / (x * D) ** 0.3658 + 0.05 * (1 - x)
        parts.append(pd.DataFrame({"run_id": run_id, "tokens": x * D, "flops": 6 * N * x * D, "train_loss": loss}))
    return pd.concat(parts, ignore_index=True)


def test_a_mistuned_run_falls_off_the_collapse(simulate: Simulate) -> None:
    runs = simulate(noise=0.002)
    runs = changed(runs, run_id=[f"r{i}" for i in range(len(runs))])
    curves, fit = loss_curves(runs), fit_form(runs, engine="numpy")
    assert answers(runs, parametric=fit, curves=curves)["curves_fall_off"] == "fine"
    bad = curves["run_id"] == "r9"
    share = curves["tokens"] / curves.groupby("run_id")["tokens"].transform("max")
    curves.loc[bad, "train_loss"] += (1.5 * (1 - share) * share)[bad]
    diagnostic = next(d for d in diagnose(runs, parametric=fit, curves=curves) if d.code == "curves_fall_off")
    assert diagnostic.answer == "weakens"
    assert "except 1 (r9)" in diagnostic.computed


def test_far_targets_and_fit_all_carry_the_checks(simulate: Simulate) -> None:
    runs = changed(simulate(noise=0.003), warmup_steps=100, steps=300)
    assert answers(runs, target=1e24)["extrapolation"] == "weakens"
    assert "warmup_too_long" in {w.code for w in fit_all(runs).warnings}
