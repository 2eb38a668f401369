"""The runs of the presets keep their identity: a store that was made with an older version is continued, not repeated."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from orchestrator.cost import CostModel
from orchestrator.planning import Corpus, plan
from orchestrator.sweep.file import load_sweep
from trainer import RECIPE_VERSION
from trainer.identity import from_dict, run_id, to_dict

COST = CostModel(step_seconds=1e-3, token_seconds=0.0, flops_per_second=1e10)
CORPUS = Corpus(hash="c" * 64, train_tokens=10_000_000, exact=True)


@pytest.mark.parametrize(
    ("preset", "sampler", "runs", "first", "all_of_them"),
    [
        ("quickstart", "grid", 56, "142927dac8f23987", "977504211a10da93"),
        ("quickstart", "isoflop", 63, "142927dac8f23987", "99484be3fc061b42"),
        ("smoke", "grid", 8, "08e004970f7cbbc4", "d6e749cef7cdc8e9"),
        ("smoke", "isoflop", 24, "08e004970f7cbbc4", "19d0cb199e15d5e9"),
    ],
)
def test_run_ids_and_their_order_are_those_of_recipe_2(
    preset: str, sampler: str, runs: int, first: str, all_of_them: str
) -> None:
    assert digest_of(preset, sampler, recipe=2) == (runs, first, all_of_them)


@pytest.mark.parametrize(
    ("preset", "sampler", "runs", "first", "all_of_them"),
    [
        ("quickstart", "grid", 56, "294d31158ca8d153", "1ae2b8e6c6580059"),
        ("quickstart", "isoflop", 63, "294d31158ca8d153", "7d12454e41017b8f"),
        ("smoke", "grid", 8, "31793f9ed645e50d", "47c2da39e098a3bf"),
        ("smoke", "isoflop", 24, "31793f9ed645e50d", "7b6fa7a0e876a953"),
    ],
)
def test_run_ids_of_recipe_1_differ_in_the_recipe_alone(
    preset: str, sampler: str, runs: int, first: str, all_of_them: str
) -> None:
    """With the heads that the quickstart had then."""
    assert digest_of(preset, sampler, "model.head_size=64", recipe=1) == (runs, first, all_of_them)


def test_runs_of_another_trainer_keep_their_identity_over_our_recipes() -> None:
    points = plan(load_sweep("smoke", ["trainer=theirs:train"]), CORPUS, COST).points
    assert {point.spec.recipe for point in points} == {1}


def digest_of(preset: str, sampler: str, *changes: str, recipe: int) -> tuple[int, str, str]:
    """How many runs a preset plans, the first one's identity, and a hash of all in their order."""
    points = plan(load_sweep(preset, [f"sampler={sampler}", *changes]), CORPUS, COST).points
    ids = [run_id(replace(point.spec, recipe=recipe)) for point in points]
    assert recipe != RECIPE_VERSION or ids == [point.run_id for point in points]
    return len(ids), ids[0], hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]


def test_seeds_that_are_planned_together_have_the_identities_that_they_have_alone() -> None:
    seeds = [0, 7, 123456789]
    for point in plan(load_sweep("smoke", [f"seeds={seeds}"]), CORPUS, COST).points:
        alone = replace(point.spec, seed=point.spec.seed)
        assert (alone, hash(alone)) == (point.spec, hash(point.spec))
        assert point.run_id == run_id(alone) == run_id(from_dict(to_dict(alone)))
