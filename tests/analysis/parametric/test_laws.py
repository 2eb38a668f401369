"""Published laws and allocations give the figures of their papers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from analysis import LawError, allocate, fit_form, law
from analysis.laws.catalogue import describe_laws
from analysis.laws.models import KNOWN_MODELS
from analysis.laws.published import LAWS
from analysis.laws.recipes import RECIPES, recipe
from analysis.laws.repetition import worth_of_epochs

from .conftest import MakeRuns


def test_repeated_data() -> None:
    muennighoff = law("muennighoff2023")
    assert muennighoff.loss(6.34e9, 242e9, unique_tokens=25e9) == pytest.approx(2.2256440889984477, rel=1e-12)
    worth = [worth_of_epochs(epochs) for epochs in (4, 16, 40)]
    assert worth == pytest.approx([3.73, 10.58, 15.17], abs=0.005)


def test_inference_aware() -> None:
    plan = allocate("sardana2023", match_size=30e9, inference_tokens=1e13)
    assert plan.params == pytest.approx(13.61e9, abs=0.005e9)
    assert plan.inference is not None
    assert plan.tokens / plan.inference.baseline_tokens == pytest.approx(2.84, abs=0.005)
    assert plan.inference.saved == pytest.approx(0.280, abs=0.0005)


def test_rounded_exponents_change_the_answer() -> None:
    plan = allocate("hoffmann2022", match_size=30e9, inference_tokens=1e13)
    assert plan.params == pytest.approx(15.9e9, abs=0.05e9)
    assert plan.inference is not None
    assert plan.inference.saved == pytest.approx(0.18, abs=0.005)


def test_gophers_budget() -> None:
    assert law("20-tokens-per-param").optimum(5.76e23).params == pytest.approx(6.93e10, rel=1e-3)
    plan = allocate("besiroglu2024", flops=5.76e23)
    assert plan.params == pytest.approx(7.23e10, rel=1e-3)
    assert plan.tokens_per_param == pytest.approx(18.4, abs=0.05)
    assert plan.neighbours[0].name == "Chinchilla"
    assert law("hoffmann2022").optimum(5.76e23).params == pytest.approx(40e9, rel=0.2)
    for number in (1, 2):
        assert law(f"hoffmann2022-approach{number}").optimum(5.76e23).params == pytest.approx(65e9, rel=0.04)


def test_kaplan() -> None:
    allocation = law("kaplan2020-allocation")
    tenfold = [allocation.optimum(flops) for flops in (1e20, 1e21)]
    assert tenfold[1].params / tenfold[0].params == pytest.approx(5.37, abs=0.005)
    assert tenfold[1].tokens / tenfold[0].tokens == pytest.approx(1.86, abs=0.005)
    assert law("kaplan2020-params").loss(8.8e13, 1.0) == pytest.approx(1.0)
    assert law("kaplan2020-tokens").loss(1.0, 5.4e13) == pytest.approx(1.0)
    joint = law("kaplan2020-joint")
    assert joint.loss(1e9, 1e30) == pytest.approx((6.4e13 / 1e9) ** 0.076, rel=1e-3)


def test_costs_of_another_size() -> None:
    costs = {cost.factor: cost for cost in allocate("besiroglu2024", flops=1e21).size_costs}
    assert [costs[f].extra_compute for f in (0.5, 0.3, 0.75)] == pytest.approx([0.259, 1.61, 0.034], abs=0.005)
    assert costs[2.0].extra_loss == pytest.approx(0.015, abs=0.0005)
    assert costs[0.5].extra_loss == pytest.approx(0.015, abs=0.0005)
    assert costs[0.25].extra_loss == pytest.approx(0.060, abs=0.0005)
    assert costs[4.0].extra_loss == pytest.approx(0.060, abs=0.0025)


def test_sizes_beside_an_inference_aware_optimum_pay_for_serving_too() -> None:
    served = 1e13
    plan = allocate("sardana2023", match_size=30e9, inference_tokens=served)
    assert plan.inference is not None
    assert plan.band is not None
    low, high = plan.band
    assert low < plan.params < high < plan.inference.baseline_params
    for size in plan.band:
        tokens = plan.inference.total_flops / (6 * size) - served / 3
        assert law("sardana2023").loss(size, tokens) - plan.loss == pytest.approx(0.01, rel=1e-6)
    costs = {cost.factor: cost for cost in plan.size_costs}
    assert all(cost.extra_loss is None or cost.extra_loss > 0 for cost in plan.size_costs)
    assert costs[4.0].extra_loss is None  # serving 54B parameters alone costs more than the whole budget
    assert (costs[4.0].extra_compute or 0.0) > 0.5
    assert plan.to_json()["band"]["at"] == "equal FLOPs of training and inference"


def test_band_is_where_loss_is_a_hundredth_higher() -> None:
    plan = allocate("besiroglu2024", flops=1e21)
    assert plan.band is not None
    for size in plan.band:
        assert law("besiroglu2024").loss(size, 1e21 / (6 * size)) == pytest.approx(plan.loss + 0.01, abs=1e-9)


def test_recipes() -> None:
    step = recipe("steplaw2025")
    rate = step.value("learning_rate", params=1e9, tokens=1e11)
    assert rate == pytest.approx(1.79 * 1e9**-0.713 * 1e11**0.307)
    assert step.value("batch_tokens", tokens=1e11) == pytest.approx(0.58 * 1e11**0.571)
    critical = recipe("kaplan2020-critical-batch")
    assert critical.value("batch_tokens", loss=3.0) == pytest.approx(2e8 * 3 ** (-1 / 0.21))
    with pytest.raises(LawError, match="needs tokens"):
        step.value("batch_tokens", params=1e9)
    with pytest.raises(LawError, match="expected one of"):
        recipe("steplaw")


def test_llama_tokens_per_parameter_differ_by_model() -> None:
    ratios = {model.name: model.tokens_per_param for model in KNOWN_MODELS}
    assert ratios["Llama 3 8B"] == pytest.approx(1868, abs=1)
    assert ratios["Llama 3 70B"] == pytest.approx(212, abs=1)
    assert ratios["Llama 3.1 405B"] == pytest.approx(38.5, abs=0.05)


@pytest.mark.parametrize("name", LAWS)
def test_every_law_answers_or_says_why_not(name: str) -> None:
    published = law(name)
    assert published.source
    columns = {
        "unique_tokens": 1e11, "granularity": 8.0, "bits_weights": 16.0, "bits_activations": 16.0, "bits_cache": 16.0,
    }  # fmt: skip
    if published.form is None:
        assert published.optimum(1e22).params > 1e8
        with pytest.raises(LawError, match="no loss"):
            published.loss(1e9, 2e10)
        return
    if "flops" in published.form.columns:
        columns["flops"] = 1e21
    assert 1.0 < published.loss(1e9, 2e10, **columns) < 6.0


def test_a_law_asks_for_the_columns_that_it_reads() -> None:
    with pytest.raises(LawError, match="unique_tokens"):
        law("muennighoff2023").loss(1e9, 2e10)
    with pytest.raises(LawError, match="Did you mean besiroglu2024"):
        law("besiroglu")


def test_limited_data_moves_to_larger_models_than_epochs_alone(planted: MakeRuns) -> None:
    free = allocate("besiroglu2024", flops=1e22)
    limited = allocate("besiroglu2024", flops=1e22, unique_tokens=2e10)
    assert limited.loss > free.loss
    assert limited.epochs == pytest.approx(limited.tokens / 2e10)
    plenty = allocate("besiroglu2024", flops=1e22, unique_tokens=1e13)
    assert plenty.params == pytest.approx(free.params, rel=1e-3)


def test_budget_from_gpus_and_days() -> None:
    plan = allocate(gpu="h100", gpus=8, days=10, mfu=0.5)
    assert plan.flops == pytest.approx(989.4e12 * 8 * 10 * 86400 * 0.5)


def test_a_fit_gives_intervals(planted: MakeRuns) -> None:
    fit = fit_form(planted(noise=0.005))
    plan = allocate(fit, flops=1e22)
    interval = plan.intervals["params"]
    assert interval is not None
    assert interval.low < plan.params < interval.high
    assert plan.intervals["flops"] is None  # given, not estimated
    aware = allocate(fit, match_size=1e9, inference_tokens=1e12)
    assert aware.params < 1e9
    assert aware.intervals["flops"] is not None
    json.dumps(aware.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({}, "one of flops"),
        ({"flops": 1e21, "match_size": 1e9}, "one of flops"),
        ({"flops": -1.0}, "positive"),
        ({"gpu": "h100"}, "without days"),
        ({"gpu": "abacus", "days": 1.0}, "unknown"),
        ({"gpu": "h100", "days": 1.0, "mfu": 3.0}, "share of peak"),
        ({"flops": 1e21, "inference_tokens": 0.0}, "positive"),
        ({"law": "20-tokens-per-param", "match_size": 1e9}, "no loss"),
    ],
)
def test_bad_requests(arguments: dict[str, float], match: str) -> None:
    with pytest.raises(LawError, match=match):
        allocate(**arguments)


def test_catalogue_is_json_and_complete() -> None:
    document = json.loads(json.dumps(describe_laws(), allow_nan=False))
    assert {entry["name"] for entry in document["laws"]} == set(LAWS)
    assert {entry["name"] for entry in document["recipes"]} == set(RECIPES)
    assert all(entry["source"] for kind in ("laws", "forms", "recipes", "models") for entry in document[kind])
    assert all(device["source"] for device in document["accelerators"].values())


def test_constants_that_were_not_compared_with_their_source_say_so() -> None:
    document = describe_laws()
    assert document["exponents"]["compared"] is False
    assert "from memory" in document["exponents"]["source"]
    assert {model["name"] for model in document["models"] if model["compared"]} >= {"Gopher", "Chinchilla", "LLaMA-65B"}


def test_the_frontier_of_kaplan_is_the_one_in_its_table() -> None:
    rules = RECIPES["kaplan2020-frontier"]
    at_one = {name: rules.value(name, flops=8.64e19) for name in ("params", "batch_tokens", "steps")}
    assert at_one == pytest.approx({"params": 1.3e9, "batch_tokens": 2.0e6, "steps": 5.4e3})
    assert rules.value("least_tokens", params=1e9) == pytest.approx(5e3 * 1e9**0.74)
    assert law("kaplan2020-compute").loss(1.0, 1.0, flops=3.1e8 * 8.64e19) == pytest.approx(1.0)
    assert law("kaplan2020-compute-fixed-batch").loss(1.0, 1.0, flops=1.6e7 * 8.64e19) == pytest.approx(1.0)


def test_unrounded_floor_of_besiroglu_matters() -> None:
    published = law("besiroglu2024")
    assert published.coefficients["E"] == 1.8169
    assert math.isfinite(float(np.asarray(published.loss(1e9, 1e10))))


def test_a_train_optimal_run_carries_the_fits_own_intervals(planted: MakeRuns) -> None:
    fit = fit_form(planted(noise=0.005))
    made = allocate(fit, flops=1e21)
    assert made.intervals["params"] == fit.optimum(flops=1e21).intervals["params"]
    served = allocate(fit, flops=1e21, inference_tokens=1e12).intervals["params"]
    assert served is not None
    assert served.method == "bootstrap percentile"
