"""Settings against a baseline: offsets are recovered, noise is respected, and what would resolve them is sound."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from analysis import read_runs
from analysis.errors import FitError
from analysis.report import summarize
from analysis.report.blocks import Exhibit, Text
from analysis.report.settings import verdict
from analysis.report.transfer import transfer_section
from analysis.settings import Effect, compare_settings, on_source, sources_of
from analysis.table import Runs
from analysis.transfer import fit_transfer

BUDGETS = (3e16, 1e17, 3e17, 1e18)


def swept(offset: float, noise: float, *, seeds: int = 3, trend: float = 0.0, sizes: int = 7, seed: int = 0) -> Runs:
    """Setting b is `offset` nats off a at 1e17 FLOPs, and `trend` more a decade."""
    rng = np.random.default_rng(seed)
    rows = []
    for budget, setting in itertools.product(BUDGETS, ("a", "b")):
        for params, number in itertools.product(
            np.geomspace(0.3, 3, sizes) * 1e7 * (budget / 1e17) ** 0.5, range(seeds)
        ):
            tokens = budget / 6 / params
            loss = 1.7 + 400 / params**0.34 + 400 / tokens**0.34 + noise * rng.standard_normal()
            shift = offset + trend * np.log10(budget / 1e17) if setting == "b" else 0.0
            rows.append(
                {"setting": setting, "budget": budget, "params": params, "tokens": tokens, "flops": budget,
                 "loss": loss + shift, "seed": number}
            )  # fmt: skip
    return read_runs(pd.DataFrame(rows))


def effect(runs: Runs) -> Effect:
    (found,) = compare_settings(runs).effects
    return found


def test_an_offset_is_recovered_with_its_error_and_the_baseline_is_the_first() -> None:
    z, trends = [], []
    for seed in range(20):
        found = effect(swept(-0.05, 0.02, seed=seed))
        assert found.setting == "b"
        assert found.se is not None
        assert found.trend is not None
        assert found.trend_se is not None
        z.append((found.offset + 0.05) / found.se)
        trends.append(found.trend / found.trend_se)
        assert found.resolved
        assert found.remedy is None
    for values in (z, trends):  # twenty draws of mean 0 and deviation 1
        assert abs(np.mean(values)) < 0.7
        assert 0.5 < np.std(values) < 1.5


def test_settings_that_are_equal_are_seldom_told_apart() -> None:
    resolved = [effect(swept(0.0, 0.02, seed=seed)).resolved for seed in range(20)]
    assert sum(resolved) <= 4


def test_a_trend_with_compute_is_seen() -> None:
    found = effect(swept(-0.05, 0.002, trend=-0.04))
    assert found.trend == pytest.approx(-0.04, abs=0.01)
    assert found.comparison is not None
    assert found.comparison.multiplier.value > 1


def test_what_is_not_resolved_says_what_would() -> None:
    runs = swept(-0.004, 0.03, seeds=2)
    found = effect(runs)
    assert not found.resolved
    assert found.se is not None
    assert found.detectable is not None
    assert found.detectable > 2 * found.se
    remedy = found.remedy
    assert remedy is not None
    (error,) = [se for flops, _, se in found.offsets if flops == remedy.budget]
    assert error is not None
    assert 2 * error / np.sqrt(remedy.times) <= abs(found.offset)
    assert 2 * error / np.sqrt(remedy.times - 1) > abs(found.offset)
    assert remedy.flops == pytest.approx((remedy.times - 1) * 2 * 14 * remedy.budget)


def test_one_size_at_each_budget_is_enough_to_compare() -> None:
    runs = swept(-0.05, 0.005, seeds=4)
    middle = runs.frame.groupby("budget")["params"].transform("median")
    found = effect(read_runs(runs.frame[runs.frame["params"] == middle].reset_index(drop=True)))
    assert found.offset == pytest.approx(-0.05, abs=0.01)
    assert found.resolved


def test_without_replicates_or_sizes_nothing_is_claimed() -> None:
    runs = swept(-0.05, 0.005, seeds=1)
    middle = runs.frame.groupby("budget")["params"].transform("median")
    found = effect(read_runs(runs.frame[runs.frame["params"] == middle].reset_index(drop=True)))
    assert found.se is None
    assert not found.resolved


def test_a_comparison_takes_two_settings_with_a_budget_in_common() -> None:
    runs = swept(0.0, 0.01)
    with pytest.raises(FitError, match="1 settings"):
        compare_settings(runs.where(setting="a"))
    apart = runs.frame[(runs.frame["setting"] == "a") == (runs.frame["budget"] < 2e17)].reset_index(drop=True)
    with pytest.raises(FitError, match="setting b shares no budget with a"):
        compare_settings(read_runs(apart))
    with pytest.raises(FitError, match="baseline 'c'"):
        compare_settings(runs, baseline="c")
    assert [effect.setting for effect in compare_settings(runs, baseline="b").effects] == ["a"]


def rates(slope: float, *, noise: float = 0.01, seed: int = 0) -> Runs:
    """Best rates that follow width to a power, at constant tokens."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "setting": "rule", "tuned": f"peak={rate:g}", "width": width, "budget": 6e6 * width**2, "params": width**2,
            "tokens": 1e6, "flops": 6e6 * width**2, "seed": number,
            "loss": 3 - np.log(width) / 5 + 0.06 * np.log(rate / (8e-3 * (width / 32) ** slope)) ** 2
            + noise * rng.standard_normal(),
        }
        for width in (16, 32, 64, 128, 256) for rate in 2.0 ** np.arange(-11, -3) for number in range(4)
    ]  # fmt: skip
    return read_runs(pd.DataFrame(rows))


@pytest.mark.parametrize(("slope", "verdict"), [(0.0, "transfers"), (-0.6, "drifts")])
def test_the_slope_of_the_best_rate_on_width_is_recovered(slope: float, verdict: str) -> None:
    (found,) = fit_transfer(rates(slope))
    assert found.width is not None
    assert found.width.value == pytest.approx(slope, abs=3 * found.width.se)
    assert found.verdict == verdict
    assert found.tokens is None
    assert [best.width for best in found.rates] == [16, 32, 64, 128, 256]


def test_noise_widens_the_slope_until_nothing_is_said() -> None:
    (found,) = fit_transfer(rates(0.0, noise=0.3))
    assert found.verdict == "not resolved"


def test_intervals_of_the_slope_cover_it() -> None:
    hits = 0
    for seed in range(40):
        (found,) = fit_transfer(rates(-0.3, noise=0.02, seed=seed))
        assert found.width is not None
        low, high = found.width.interval.low, found.width.interval.high
        assert low is not None
        assert high is not None
        hits += low <= -0.3 <= high
    assert hits >= 31  # of 40 at 90 %


def test_rates_that_cannot_be_located_are_counted_and_not_drawn() -> None:
    """All valleys still fall at the largest rate that was tried: there is nothing to draw against width."""
    runs = rates(0.0)
    small = runs.frame["tuned"].str.removeprefix("peak=").astype(float) < 4e-3
    for frame, names in ((runs.frame, ["rate-valleys", "best-rates"]), (runs.frame[small], ["rate-valleys"])):
        section = transfer_section(summarize(frame.reset_index(drop=True)))
        assert section is not None
        assert [block.name for block in section.blocks if isinstance(block, Exhibit)] == names
    assert section.answers == ("Fewer than three widths have a best rate that could be located: no slope on width.",)
    (said,) = next(block.items for block in section.blocks if isinstance(block, Text) and block.items)
    assert "Not located of 5 best rates: 5 at the end of the rates tried." in said


def test_a_table_without_tuned_rates_says_what_is_missing() -> None:
    with pytest.raises(FitError, match="no tuned learning rates"):
        fit_transfer(swept(0.0, 0.01))


def test_mixtures_are_compared_on_one_source() -> None:
    runs = swept(-0.05, 0.002)
    own = [json.dumps([{"source": "code", "loss": loss, "loss_se": 0.01}]) for loss in runs.frame["loss"]]
    mixed = read_runs(runs.frame.assign(losses=own, loss=runs.frame["loss"] + 1.0))
    assert sources_of(mixed.frame) == ["code"]
    assert effect(on_source(mixed, "code")).offset == pytest.approx(-0.05, abs=0.01)
    with pytest.raises(FitError, match="no loss on 'books'; expected one of code"):
        on_source(mixed, "books")


def test_a_trend_is_said_where_the_mean_offset_hides_it() -> None:
    """A setting that loses at small budgets and wins at large ones has no offset, and is not the same as the other."""
    (effect,) = compare_settings(swept(-0.024, 0.003, trend=0.1)).effects
    assert not effect.resolved
    assert "no offset is resolved over all budgets" in verdict(effect)
    assert "the offset changes by +0." in verdict(effect)
    assert effect.remedy is None  # the mean is unresolved since budgets differ: more runs would not change that
    assert "To resolve" not in verdict(effect)
    (flat,) = compare_settings(swept(0.0, 0.003)).effects
    assert "not resolved here" in verdict(flat)
    assert "the offset changes" not in verdict(flat)
