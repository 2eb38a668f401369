"""The experiment presets: each plans at once, asks for text that there is, and can answer its question."""

from __future__ import annotations

from collections import defaultdict

import pytest

from orchestrator.cost import CostModel
from orchestrator.planning import Corpus, Plan, plan
from orchestrator.sweep.file import load_sweep, presets

COST = CostModel(step_seconds=1e-3, token_seconds=1e-6, flops_per_second=7e10)
CORPUS = Corpus(hash="c" * 64, train_tokens=8_000_000, exact=True)

EXPERIMENTS = (
    "architecture", "batch", "counting", "depth", "ladder", "lr", "mixture", "mup", "optimizer", "repeat", "shape",
)  # fmt: skip


def planned(name: str) -> Plan:
    sweep = load_sweep(name)
    sizes = tuple((source, 8_000_000) for source in sorted(sweep.data.mixture))
    return plan(sweep, Corpus(hash="c" * 64, train_tokens=8_000_000, exact=True, sizes=sizes), COST)


def test_every_experiment_is_a_preset() -> None:
    assert set(EXPERIMENTS) | {"quickstart", "smoke"} == set(presets())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_preset_plans_whole_curves_for_a_laptop(name: str) -> None:
    made = planned(name)
    assert made.dropped == ()
    assert made.sweep.name == name
    assert made.seconds < 2 * 3600 * 2  # two workers, two hours
    by_curve: dict[int, set[str | None]] = defaultdict(set)
    for point in made.points:
        by_curve[point.curve].add(point.tuned)
    assert len({len(tuned) for tuned in by_curve.values()}) == 1  # every curve tries as many values


@pytest.mark.parametrize("name", ["architecture", "depth", "mixture", "optimizer", "shape"])
def test_settings_have_curves_with_a_minimum_to_find_and_seeds_to_know_the_noise(name: str) -> None:
    sizes: dict[tuple[str | None, float], set[int]] = defaultdict(set)
    seeds: dict[tuple[str | None, float], set[int]] = defaultdict(set)
    for point in planned(name).points:
        sizes[point.setting, point.budget].add(point.params)
        seeds[point.setting, point.budget].add(point.spec.seed)
    assert min(map(len, sizes.values())) >= 4
    assert min(map(len, seeds.values())) >= 3
    assert len({budget for _, budget in sizes}) >= 2


def test_widths_of_the_transfer_preset_see_the_same_steps() -> None:
    points = planned("mup").points
    assert {point.spec.steps for point in points} == {600}
    assert {point.spec.batch_tokens for point in points} == {1024}
    seeds = {point.spec.model.width: point.spec.seed + 1 for point in sorted(points, key=lambda p: p.spec.seed)}
    assert seeds == {16: 8, 32: 8, 64: 4, 128: 3, 256: 2}
    heads = {point.spec.model.width // point.spec.model.heads for point in points}  # type: ignore[union-attr]
    assert heads == {16}


def test_lengths_of_the_batch_preset_are_whole_steps_of_every_batch() -> None:
    points = planned("batch").points
    lengths: dict[float, set[int]] = defaultdict(set)
    for point in points:
        lengths[point.budget].add(point.spec.tokens)
    assert all(len(tokens) == 1 for tokens in lengths.values())
    assert {point.spec.batch_tokens for point in points} == {128 * 2**k for k in range(7)}


def test_the_ladder_predicts_ten_points_at_ten_times_the_compute() -> None:
    made = planned("ladder")
    targets = {point.params for point in made.points if point.target}
    fitted = [point.budget for point in made.points if not point.target]
    assert len(targets) == 10
    assert {point.budget for point in made.points if point.target} == {10 * max(fitted)}


def test_repeats_are_nested_and_small_beside_their_text() -> None:
    points = planned("repeat").points
    for point in points:
        unique = point.spec.data.unique_tokens
        if unique is not None:
            assert point.params <= unique / 50
            assert unique >= 400_000
