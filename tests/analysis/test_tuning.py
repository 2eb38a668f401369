"""Tuned axes: the valley's minimum and its error, and fits that take one setting."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from analysis import fit_envelope, fit_form, fit_isoflop, read_runs
from analysis.errors import FitError, SourceError
from analysis.table import Runs
from analysis.tries import read_knobs
from analysis.tuning import one_point_each, tuned_points

RATES = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3, 32e-3)
BUDGETS = (1e16, 1e17, 1e18)


def law(params: float, tokens: float) -> float:
    return 1.7 + 400 / params**0.34 + 410 / tokens**0.28


def best_rate(params: float) -> float:
    return 4e-3 * (params / 1e7) ** -0.2


def swept(noise: float, seeds: int, *, settings: tuple[tuple[str, float], ...] = (("a", 0.0),), seed: int = 0) -> Runs:
    """Every point tried at every rate: its law, a valley of curvature .05 in ln(rate), and noise."""
    rng = np.random.default_rng(seed)

    def rows() -> Iterator[dict[str, object]]:
        for (setting, offset), budget in itertools.product(settings, BUDGETS):
            for params in np.geomspace(0.25, 4, 7) * 1e7 * (budget / 1e17) ** 0.5:
                tokens = budget / (6 * params)
                for rate, number in itertools.product(RATES, range(seeds)):
                    away = np.log(rate / best_rate(params))
                    loss = law(params, tokens) + offset + 0.05 * away**2 + noise * rng.standard_normal()
                    yield {
                        "run_id": f"{setting}-{budget}-{params}-{rate}-{number}", "setting": setting, "seed": number,
                        "tuned": f"peak={rate:g}", "budget": budget, "params": params, "tokens": tokens,
                        "flops": budget, "loss": loss, "learning_rate": rate,
                    }  # fmt: skip

    return read_runs(pd.DataFrame(list(rows())))


def test_a_valley_without_noise_is_recovered_exactly() -> None:
    for point in tuned_points(swept(0.0, 1)):
        assert point.inside
        assert point.budget is not None
        assert point.loss == pytest.approx(law(point.params, point.budget / 6 / point.params), abs=1e-9)
        assert point.knobs["peak"] == pytest.approx(best_rate(point.params), rel=1e-6)


def test_errors_of_the_minimum_and_of_its_place_are_what_simulations_scatter_by() -> None:
    z_loss, z_rate, valley, lowest = [], [], [], []
    for seed in range(12):
        for point in tuned_points(swept(0.01, 3, seed=seed)):
            if point.inside and point.loss_se is not None and point.log_se["peak"] is not None:
                truth = law(point.params, (point.budget or 0) / 6 / point.params)
                z_loss.append((point.loss - truth) / point.loss_se)
                z_rate.append(np.log(point.knobs["peak"] / best_rate(point.params)) / point.log_se["peak"])
                valley.append(point.loss - truth)
                lowest.append(point.tried["loss"].min() - truth)
    # 252 points; the window follows the lowest, which costs a little
    assert abs(np.mean(z_loss)) < 0.35
    assert 0.8 < np.std(z_loss) < 1.3
    assert abs(np.mean(z_rate)) < 0.25
    assert 0.8 < np.std(z_rate) < 1.3
    assert np.std(valley) < np.std(lowest)


def test_two_axes_are_tuned_together() -> None:
    rows = [
        {
            "tuned": f"peak={rate:g} batch={batch}", "budget": 1e17, "params": 1e7, "tokens": 1e9, "flops": 1e17,
            "loss": 3 + 0.05 * np.log(rate / 5e-3) ** 2 + 0.02 * np.log(batch / 700) * np.log(rate / 5e-3)
            + 0.03 * np.log(batch / 700) ** 2,
        }
        for rate in RATES for batch in (128, 256, 512, 1024, 2048)
    ]  # fmt: skip
    (point,) = tuned_points(read_runs(pd.DataFrame(rows)))
    assert point.knobs == pytest.approx({"peak": 5e-3, "batch": 700})
    assert point.loss == pytest.approx(3)


def test_a_best_value_at_the_end_of_what_was_tried_is_the_lowest_mean_and_said() -> None:
    runs = swept(0.0, 2)
    kept = runs.frame[runs.frame["learning_rate"] <= 2e-3].reset_index(drop=True)
    made = one_point_each(read_runs(kept))
    assert len(made) == 21
    assert "Widen the axis" in made.dropped[0].reason
    small = made.frame.iloc[0]
    assert small["loss"] == kept[(kept["params"] == small["params"])]["loss"].min()


def test_fits_of_a_tuned_sweep_are_those_of_its_valleys() -> None:
    runs = swept(0.0, 2)
    exact = runs.frame.drop_duplicates(["budget", "params"]).drop(columns=["tuned", "learning_rate"])
    exact = exact.assign(loss=[law(n, d) for n, d in zip(exact["params"], exact["tokens"], strict=True)])
    wanted = fit_isoflop(read_runs(exact.reset_index(drop=True)))
    found = fit_isoflop(runs)
    assert found.exponents == pytest.approx(wanted.exponents)
    assert [m.loss for m in found.minima] == pytest.approx([m.loss for m in wanted.minima])
    assert fit_form(runs, seed=0).coefficients["E"] == pytest.approx(1.7, abs=1e-3)


@pytest.mark.parametrize("fit", [fit_isoflop, fit_envelope, fit_form])
def test_a_fit_takes_one_setting(fit: object) -> None:
    runs = swept(0.0, 1, settings=(("a", 0.0), ("b", 0.1)))
    assert callable(fit)
    with pytest.raises(FitError, match=r"of 2 settings \(a: 126, b: 126\).*--setting 'a'"):
        fit(runs)
    fit(runs.where(setting="b"))
    with pytest.raises(SourceError, match="no run has setting 'c'; expected one of a, b"):
        runs.where(setting="c")


def test_the_order_of_rows_does_not_matter() -> None:
    runs = swept(0.01, 2)
    shuffled = read_runs(runs.frame.sample(frac=1, random_state=1).reset_index(drop=True))
    first = {(p.budget, p.params): (p.loss, p.loss_se) for p in tuned_points(runs)}
    second = {(p.budget, p.params): (p.loss, p.loss_se) for p in tuned_points(shuffled)}
    for place, (loss, error) in first.items():
        assert second[place] == pytest.approx((loss, error))


@pytest.mark.parametrize("text", ["peak", "peak=", "peak=fast", "peak=-1", ""])
def test_what_is_no_list_of_positive_values_is_named(text: str) -> None:
    with pytest.raises(FitError, match=r"expected key=value"):
        read_knobs(text)


def retrained(runs: Runs, seeds: int, noise: float) -> Runs:
    """The runs, and the best try of every point again on so many fresh seeds."""
    rng = np.random.default_rng(1)
    fresh = []
    for (budget, params), rows in runs.frame.groupby(["budget", "params"]):
        best = rows.loc[rows.groupby("tuned")["loss"].transform("mean").idxmin()]
        exact = law(params, budget / 6 / params) + 0.05 * np.log(best["learning_rate"] / best_rate(params)) ** 2
        for number in range(seeds):
            fresh.append(
                {**best, "run_id": f"again-{budget}-{params}-{number}", "seed": 1000 + number, "retrained": True,
                 "loss": exact + noise * rng.standard_normal()}
            )  # fmt: skip
    return read_runs(pd.concat([runs.frame.assign(retrained=False), pd.DataFrame(fresh)], ignore_index=True))


def test_runs_that_were_trained_again_are_free_of_the_choice_that_the_tries_were_subject_to() -> None:
    noise = 0.03
    tries, chosen, again = [], [], []
    for seed in range(6):
        runs = retrained(swept(noise, 1, seed=seed), 2, noise)
        kept = one_point_each(runs).frame
        assert kept["retrained"].all()
        pd.testing.assert_frame_equal(one_point_each(one_point_each(runs)).frame, kept)  # whoever fits takes it again
        assert len(kept) == 2 * 21
        for (budget, params), rows in runs.frame.groupby(["budget", "params"]):
            best = rows.loc[rows.loc[~rows["retrained"].astype(bool), "loss"].idxmin()]
            exact = law(params, budget / 6 / params) + 0.05 * np.log(best["learning_rate"] / best_rate(params)) ** 2
            chosen.append(best["loss"] - exact)
            mine = kept[(kept["budget"] == budget) & (kept["params"] == params)]
            assert set(mine["tuned"]) == {best["tuned"]}
            again.append(mine["loss"].mean() - exact)
        tries.append(len(tuned_points(runs)[0].tried))
    assert set(tries) == {6}  # the fresh runs are no tries
    assert np.mean(chosen) < -0.3 * noise  # 126 points
    assert abs(np.mean(again)) < 3 * noise / np.sqrt(2 * len(again))


def test_points_whose_best_try_is_another_one_or_not_trained_again_are_left_out_and_said() -> None:
    runs = retrained(swept(0.01, 2), 2, 0.01)
    frame = runs.frame
    first, second = list(frame.groupby(["budget", "params"]).groups)[:2]
    here = (frame["budget"] == first[0]) & (frame["params"] == first[1])
    there = (frame["budget"] == second[0]) & (frame["params"] == second[1])
    other = next(
        t for t in frame.loc[there, "tuned"].unique() if t not in set(frame.loc[there & (frame["retrained"]), "tuned"])
    )
    frame = frame.assign(tuned=frame["tuned"].mask(there & frame["retrained"], other))
    made = one_point_each(read_runs(frame[~(here & frame["retrained"])].reset_index(drop=True)))
    assert len(made) == 2 * 19
    assert sum("not trained again yet: left out" in drop.reason for drop in made.dropped) == 2
    none = frame[~frame["retrained"] | there].reset_index(drop=True)
    with pytest.raises(FitError, match="Repeat the sweep's command"):
        one_point_each(read_runs(none))
