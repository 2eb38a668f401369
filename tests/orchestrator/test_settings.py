"""Settings and axes: every variant is a checked sweep, and a run belongs to one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import load_sweep, run
from orchestrator.cost import CostModel
from orchestrator.errors import SweepError
from orchestrator.planning import Corpus, Plan, plan, point_row
from orchestrator.running import Options
from orchestrator.status import status

COST = CostModel(step_seconds=1e-3, token_seconds=0.0, flops_per_second=1e10)
CORPUS = Corpus(hash="c" * 64, train_tokens=10_000_000, exact=True)
ACTIVATIONS = "settings={swiglu: {}, gelu: {model.activation: gelu, model.ffn_ratio: 4}}"
RATES = "axes={optimizer.learning_rate.peak: [4e-3, 8e-3]}"
TUNED = "tune=[optimizer.learning_rate.peak]"


def planned(*settings: str) -> Plan:
    return plan(load_sweep("smoke", settings), CORPUS, COST)


def refused(*settings: str) -> str:
    with pytest.raises(SweepError) as caught:
        planned(*settings)
    return str(caught.value)


def test_every_setting_has_every_curve_and_the_baseline_keeps_its_runs() -> None:
    alone, made = planned(), planned(ACTIVATIONS)
    by_setting = {name: [point.run_id for point in made.points if point.setting == name] for name in ("swiglu", "gelu")}
    assert by_setting["swiglu"] == [point.run_id for point in alone.points]
    assert {(p.spec.model.activation, p.setting) for p in made.points} == {("swiglu", "swiglu"), ("gelu", "gelu")}
    curves = {(point.budget, point.setting): point.curve for point in made.points}
    assert curves == {(1e9, "swiglu"): 0, (1e9, "gelu"): 1, (3e9, "swiglu"): 2, (3e9, "gelu"): 3}


def test_axes_are_crossed_and_name_their_values() -> None:
    made = planned("axes={optimizer.learning_rate.peak: [4e-3, 8e-3], batch: [256, 512]}", "min_steps=5")
    assert list(dict.fromkeys(point.setting for point in made.points)) == [
        "peak=0.004 batch=256", "peak=0.004 batch=512", "peak=0.008 batch=256", "peak=0.008 batch=512",
    ]  # fmt: skip
    assert {point.spec.batch_tokens for point in made.points} == {256, 512}


def test_values_that_are_tuned_over_share_a_setting_and_a_curve() -> None:
    made = planned(ACTIVATIONS, RATES, TUNED)
    assert {(point.setting, point.tuned) for point in made.points} == {
        (setting, f"peak={rate}") for setting in ("swiglu", "gelu") for rate in ("0.004", "0.008")
    }
    assert len({point.curve for point in made.points}) == 4
    row = point_row(made.sweep, made.points[0], CORPUS)
    assert (row["setting"], row["tuned"]) == ("swiglu", "peak=0.004")


def test_a_setting_may_have_its_own_values_of_an_axis() -> None:
    rates = "optimizer.learning_rate.peak"
    made = planned(f"settings={{a: {{}}, b: {{model.ffn_ratio: 2, axes: {{{rates}: [1, 2, 4]}}}}}}", RATES, TUNED)
    tuned = {name: {point.tuned for point in made.points if point.setting == name} for name in ("a", "b")}
    assert tuned == {"a": {"peak=0.004", "peak=0.008"}, "b": {"peak=1", "peak=2", "peak=4"}}
    assert "setting b: tuned axis" in refused(f"settings={{b: {{axes: {{{rates}: [-1]}}}}}}", RATES, TUNED)
    assert "expected keys with lists of values" in refused("settings={b: {axes: 3}}")


def test_a_row_says_what_its_own_setting_trains() -> None:
    muon = "{optimizer.name: muon, optimizer.adam_learning_rate: 8e-3}"
    made = planned(f"settings={{adamw: {{}}, muon: {muon}}}")
    rows = [point_row(made.sweep, point, CORPUS) for point in made.points]
    assert {(row["setting"], row["optimizer"]) for row in rows} == {("adamw", "adamw"), ("muon", "muon")}


def test_a_setting_may_bring_its_own_sizes_and_budgets() -> None:
    made = planned(
        "settings={few: {budgets: [1e9]}, small: {model.ffn_ratio: 2, sizes: {shapes: [{width: 4}, {width: 8}]}}}"
    )
    assert {point.budget for point in made.points if point.setting == "few"} == {1e9}
    assert {point.spec.model.width for point in made.points if point.setting == "small"} == {4, 8}


def test_a_setting_reaches_into_lists() -> None:
    made = planned("settings={one: {}, more: {budgets.1.seeds: 4, model.ffn_ratio: 2}}")
    seeds = {name: {point.spec.seed for point in made.points if point.setting == name} for name in ("one", "more")}
    assert len(seeds["more"]) == 4 > len(seeds["one"])


def test_settings_that_plan_the_same_run_cannot_be_compared() -> None:
    assert "settings a and b plan the same run" in refused("settings={a: {}, b: {model.ffn_ratio: 3}}")


def test_tuned_values_that_come_to_the_same_run_are_made_once_and_named() -> None:
    made = planned("axes={batch: [256, 260]}", "tune=[batch]")
    assert {point.tuned for point in made.points} == {"batch=256"}
    assert any("batch=260 is the same run as batch=256" in drop.reason for drop in made.dropped)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ["settings={a: {model.activaton: gelu}}"],
            'setting a: model.activaton: unknown key. Did you mean "activation"?',
        ),
        (["settings={a: {model.ffn_ratio: -2}}"], "setting a: model.ffn_ratio: -2; input should be greater than 0"),
        (["axes={batch: [0]}"], "setting batch=0: batch: 0; "),
        (["settings={a: {stop.max_hours: 1}}"], "replaces stop.max_hours, which all settings share"),
        (
            ["settings={a: {budgets.7.seeds: 1}}"],
            "budgets.7.seeds: 7 lies in a list of 2; expected a number from 0 to 1",
        ),
        (["settings={a: {data.source: text}}"], "replaces data.source, which all settings share"),
        (["settings={a: {batch: 64}}", "axes={batch: [128]}"], "setting a: it and axes both replace batch"),
        (["axes={batch: []}"], "axis batch has the values []; expected at least one"),
        (["axes={model.activation: [gelu]}", "tune=[model.activation]"], "has the value 'gelu'; expected positive"),
        (["tune=[batch]"], "tune names batch, which is no axis"),
        (["settings={a b: {}}"], "settings.a b"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_settings_name(settings: list[str], said: str) -> None:
    assert said in refused(*settings)


def test_status_tells_settings_apart(tmp_path: Path) -> None:
    sweep = load_sweep(
        "smoke", [ACTIVATIONS, RATES, TUNED, "trainer=law_trainer:train", "seeds=2", "min_steps=5", "name=two"]
    )
    run(sweep, tmp_path / "store", Options(inline=True))
    curves = status(str(tmp_path / "store"))["curves"]
    assert [(curve["budget"], curve["setting"], curve["done"]) for curve in curves] == [
        (1e9, "gelu", 16), (1e9, "swiglu", 16), (3e9, "gelu", 16), (3e9, "swiglu", 16),
    ]  # fmt: skip
    assert all(curve["minimum"] is not None for curve in curves)
