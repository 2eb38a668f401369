"""Predicted times: recovered from runs that follow the model, sensible from few, and additive over what is left."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.cost import CostModel, Work, first_guess, fitted
from orchestrator.errors import SweepError
from orchestrator.planning import Corpus, plan
from orchestrator.sweep.file import load_sweep

TRUE = CostModel(step_seconds=3e-3, token_seconds=4e-6, flops_per_second=2e10)
GUESS = CostModel(step_seconds=1e-3, token_seconds=1e-6, flops_per_second=8e10)
SPECS = [
    point.spec
    for point in plan(load_sweep("quickstart"), Corpus(hash="c", train_tokens=10**7, exact=True), GUESS).points
]


def test_many_runs_give_their_own_constants_back() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, len(SPECS) * 8)
    runs = [(spec, TRUE.seconds(spec) * np.exp(e)) for spec, e in zip(SPECS * 8, noise, strict=True)]
    model = fitted(runs, GUESS)
    assert model.measured_runs == len(runs)
    for spec in SPECS:
        assert model.seconds(spec) == pytest.approx(TRUE.seconds(spec), rel=0.05)


def test_one_run_rescales_the_guess() -> None:
    model = fitted([(SPECS[0], 7 * GUESS.seconds(SPECS[0]))], GUESS)
    assert model.seconds(SPECS[-1]) == pytest.approx(7 * GUESS.seconds(SPECS[-1]), rel=0.01)


def test_no_constant_becomes_negative() -> None:
    runs = [(spec, 1e-6 * spec.tokens) for spec in SPECS]
    model = fitted(runs, GUESS)
    assert min(model.step_seconds, model.token_seconds, model.flops_per_second) > 0


def test_what_is_left_shrinks_to_nothing() -> None:
    work = Work()
    for spec in SPECS:
        work.add(spec)
    assert work.seconds(TRUE) == pytest.approx(sum(TRUE.seconds(spec) for spec in SPECS))
    for spec in SPECS:
        work.remove(spec)
    assert work.seconds(TRUE) == pytest.approx(0, abs=1e-6)


def test_a_first_guess_is_of_this_world() -> None:
    assert 1e8 < first_guess().flops_per_second < 1e14


def test_a_gpu_is_not_guessed_from_a_cpu_core() -> None:
    settings = ["resources.gpus=1", "cost={gpu: h100}"]
    named, unnamed = (first_guess(load_sweep("quickstart", settings[:n])) for n in (2, 1))
    half = first_guess(load_sweep("quickstart", [*settings, "resources.gpus=0.5"]))
    assert named.flops_per_second == pytest.approx(0.1 * 989.4e12)
    assert unnamed.flops_per_second < named.flops_per_second
    assert half.flops_per_second == pytest.approx(named.flops_per_second / 2)
    with pytest.raises(SweepError, match="'h1000' has no known peak; expected one of v100, "):
        load_sweep("quickstart", ["cost={gpu: h1000}"])


def test_a_step_of_a_deeper_or_recurrent_model_is_dearer() -> None:
    def one_step(*settings: str) -> float:
        sweep = load_sweep("smoke", ["min_steps=5", "sizes={shapes: [{width: 16}]}", "budgets=[3e9]", *settings])
        corpus = Corpus(hash="c" * 64, train_tokens=10**7, exact=True)
        model = CostModel(step_seconds=1.0, token_seconds=0.0, flops_per_second=1e30)
        (point,) = plan(sweep, corpus, model).points
        return point.seconds / point.spec.steps

    assert one_step() == pytest.approx(1.0)
    assert one_step("model.layers=6") == pytest.approx(4.5)
    assert one_step("model.experts=4", "counting.params=active") == pytest.approx(1.7)
    assert one_step("optimizer.name=muon", "optimizer.adam_learning_rate=0.01") == pytest.approx(1.1)
    assert one_step("model={family: lstm, layers: 1, context: 256}") > 5
