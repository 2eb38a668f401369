"""Points: exact counts, whole steps, and a reason for everything left out."""

from __future__ import annotations

import math

import pytest

from orchestrator.cost import CostModel
from orchestrator.errors import SweepError
from orchestrator.planning import BUDGET_TOLERANCE, Corpus, Plan, plan
from orchestrator.sweep.file import load_sweep
from trainer import count_params, flops_per_token

COST = CostModel(step_seconds=1e-3, token_seconds=0.0, flops_per_second=1e10)
CORPUS = Corpus(hash="c" * 64, train_tokens=10_000_000, exact=True)


def planned(*settings: str, corpus: Corpus = CORPUS, preset: str = "smoke") -> Plan:
    return plan(load_sweep(preset, settings), corpus, COST)


@pytest.mark.parametrize("rule", ["exact", "exact-causal", "6nd"])
@pytest.mark.parametrize("convention", ["blocks+head", "blocks", "total"])
def test_tokens_follow_from_the_named_count_in_whole_steps(rule: str, convention: str) -> None:
    made = planned(f"counting={{flops: {rule}, params: {convention}}}", "min_steps=5", "data.allow_epochs=100")
    for point in made.points:
        shape = point.spec.model
        per_token = flops_per_token(shape, rule, convention)
        assert point.params == count_params(shape).under(convention)
        assert point.spec.tokens == point.spec.steps * point.spec.batch_tokens
        assert point.flops == point.spec.tokens * per_token
        assert abs(point.flops / point.budget - 1) <= BUDGET_TOLERANCE


def test_every_preset_plans_on_its_budgets() -> None:
    made = planned(preset="quickstart")
    by_curve: dict[int, set[int]] = {}
    for point in made.points:
        by_curve.setdefault(point.curve, set()).add(point.params)
    assert len(by_curve) == 3
    assert all(len(sizes) >= 7 for sizes in by_curve.values())


def test_a_budget_that_buys_less_than_a_step_is_an_error_that_says_so() -> None:
    with pytest.raises(SweepError, match=r"no point of sweep smoke can be run.*1000 FLOPs buys 0 steps.*smaller"):
        planned("budgets=[1e3]")


def test_a_point_with_too_few_steps_is_dropped_and_named() -> None:
    made = planned("min_steps=300")
    assert [(drop.budget, drop.params) for drop in made.dropped] == [(1e9, 7424), (1e9, 13632), (3e9, 13632)]
    assert "min_steps is 300" in made.dropped[0].reason


def test_a_size_range_that_misses_what_exists_is_an_error() -> None:
    with pytest.raises(SweepError, match="no shape has about 10 parameters"):
        planned("sizes={range: {min: 10, max: 20, count: 2}}")


def test_more_text_than_there_is_needs_consent() -> None:
    small = Corpus(hash="c" * 64, train_tokens=50_000, exact=True)
    with pytest.raises(SweepError, match=r"5\.7 epochs\); allowed are 1\. Set data.allow_epochs: 6"):
        planned(corpus=small)
    assert planned("data.allow_epochs=6", corpus=small).points


def test_identity_is_the_spec_alone() -> None:
    base = {point.run_id for point in planned().points}
    assert {point.run_id for point in planned("resources.cpus=2", "stop.max_hours=3", "name=other").points} == base
    assert {point.run_id for point in planned("optimizer.beta1=0.8").points}.isdisjoint(base)
    other = Corpus(hash="d", train_tokens=10**7, exact=True)
    assert {point.run_id for point in planned(corpus=other).points}.isdisjoint(base)


def test_seeds_are_runs_of_one_point_and_a_curve_may_have_its_own() -> None:
    made = planned("budgets=[1e9, {flops: 3e9, seeds: [5, 7]}]", "seeds=3")
    seeds = {curve: sorted({p.spec.seed for p in made.points if p.curve == curve}) for curve in (0, 1)}
    assert seeds == {0: [0, 1, 2], 1: [5, 7]}


def test_sizes_around_an_optimum_move_with_the_budget() -> None:
    made = planned(
        "budgets=[1e9, 4e9]",
        "sizes={around: {params: 6e3, at: 1e9, exponent: 0.5, factor: 2, count: 3}}",
        "min_steps=5",
    )
    middle = {curve: sorted({p.params for p in made.points if p.curve == curve})[1] for curve in (0, 1)}
    assert middle[1] / middle[0] == pytest.approx(2, rel=0.25)  # widths come in multiples of 8


def test_rules_of_batch_and_rate_follow_tokens() -> None:
    made = planned(
        "batch={coefficient: 1.0, exponent: 0.5}",
        "optimizer.learning_rate={peak: 1e-2, at_batch_tokens: 256}",
        "min_steps=5",
    )
    for point in made.points:
        wanted = point.budget / (point.flops / point.spec.tokens)
        assert abs(point.spec.batch_tokens - math.sqrt(wanted)) <= 32  # half a window of 64 tokens
        rate = 1e-2 * math.sqrt(point.spec.batch_tokens / 256)
        assert point.spec.optimizer.learning_rate == pytest.approx(rate, rel=1e-5)


def test_beta2_keeps_its_half_life_in_tokens() -> None:
    for point in planned().points:
        halvings = point.spec.batch_tokens / 10_000
        assert point.spec.optimizer.beta2 == pytest.approx(0.5**halvings, rel=1e-6)


@pytest.mark.parametrize("kind", ["linear", "cosine", "wsd"])
def test_schedules_fill_every_step(kind: str) -> None:
    for point in planned(f"schedule.kind={kind}").points:
        schedule = point.spec.schedule
        used = schedule.warmup_steps + schedule.decay_steps
        assert used <= point.spec.steps if kind == "wsd" else used == point.spec.steps
        assert schedule.warmup_steps <= math.ceil(0.05 * point.spec.steps)
