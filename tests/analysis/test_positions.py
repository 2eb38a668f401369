"""Losses by context: a planted crossover is given back, and nothing is claimed where noise or seeds do not allow it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from analysis import read_runs
from analysis.errors import FitError
from analysis.positions import losses_by_context
from analysis.report.context import sentence
from analysis.table import Runs

LAST = (1, 2, 4, 8, 16, 32, 64)
FIRST = (1, *(end + 1 for end in LAST[:-1]))


def runs(*, seeds: int = 4, noise: float = 0.005, turn: bool = True, **columns: object) -> Runs:
    """Two settings at two budgets and three sizes; the second leads by .1 nats at one token and trails by .1 at the last."""
    rng = np.random.default_rng(0)
    rows = []
    for setting in ("attention", "recurrence"):
        for budget in (1e10, 1e11):
            for size, params in enumerate((1e4, 2e4, 4e4)):
                for seed in range(seeds):
                    offset = np.linspace(-0.1, 0.1 if turn else -0.1, len(LAST)) * (setting == "recurrence")
                    loss = (
                        3 - 0.2 * np.arange(len(LAST)) + offset + 0.05 * abs(size - 1) + noise * rng.standard_normal()
                    )
                    loss = loss + noise * rng.standard_normal(len(LAST))
                    parts = [
                        {"first": first, "last": last, "loss": float(value)}
                        for first, last, value in zip(FIRST, LAST, loss, strict=True)
                    ]
                    weights = np.array(LAST) - np.array(FIRST) + 1
                    rows.append(
                        {"setting": setting, "budget": budget, "params": params, "tokens": budget / 6 / params,
                         "flops": budget, "seed": seed, "loss": float(loss @ weights / weights.sum()),
                         "position_losses": json.dumps(parts)}
                    )  # fmt: skip
    return read_runs(pd.DataFrame(rows).assign(**columns))


def test_a_planted_crossover_is_found_at_the_largest_budget() -> None:
    made = losses_by_context(runs())
    assert made.budget == 1e11
    assert (made.first, made.last) == (FIRST, LAST)
    assert [one.setting for one in made.settings] == ["attention", "recurrence"]
    assert {one.params for one in made.settings} == {2e4}  # the best of three sizes
    (crossover,) = made.crossovers
    assert crossover.se is not None
    assert crossover.difference == pytest.approx(np.linspace(-0.1, 0.1, 7), abs=4 * float(crossover.se.max()))
    assert crossover.sides == ((1, 4), (9, 64))  # at 5 to 8 tokens the planted difference is nothing
    assert "better at 1 to 4 tokens, worse at 9 to 64 tokens" in sentence(made, crossover)


def test_without_a_turn_or_under_noise_none_is_claimed() -> None:
    for made, words in (
        (losses_by_context(runs(turn=False)), "better at 7 of 7 contexts"),
        (losses_by_context(runs(noise=0.5)), "no difference is resolved at any context"),
    ):
        assert made.crossovers[0].sides is None
        assert words in sentence(made, made.crossovers[0])


def test_one_seed_has_no_noise_to_judge_by() -> None:
    made = losses_by_context(runs(seeds=1))
    assert made.crossovers[0].se is None
    assert "one seed says nothing of the noise" in sentence(made, made.crossovers[0])


def test_the_order_of_runs_does_not_matter() -> None:
    frame = runs().frame
    shuffled = pd.concat([part.sample(frac=1, random_state=1) for _, part in frame.groupby("setting", sort=False)])
    one, other = losses_by_context(read_runs(frame)), losses_by_context(read_runs(shuffled))
    assert one.crossovers[0].difference == pytest.approx(other.crossovers[0].difference, rel=1e-12)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"setting": "one"}, "1 settings"),
        ({"position_losses": None}, "of which 0 have losses by context"),
        ({"mixture": [json.dumps({"a": i % 2}) for i in range(48)]}, "several mixtures"),
    ],
)
def test_what_cannot_be_compared_is_refused(columns: dict[str, object], said: str) -> None:
    with pytest.raises(FitError, match=said):
        losses_by_context(runs(**columns))
