"""`batch.ramp` in a sweep file: whole steps, exact FLOPs, and budgets that are met as before."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import cost, planning
from orchestrator.errors import SweepError
from orchestrator.sweep.file import load_sweep

SWEEP = """\
name: mine
budgets: [1e10]
sizes: {shapes: [{width: 16}, {width: 24}]}
batch: {coefficient: 8, exponent: 0.4, ramp: {doublings: 2, share: SHARE}}
optimizer: {learning_rate: 7e-3, beta2_half_life_tokens: 3.5e4}
"""


def planned(tmp_path: Path, share: str) -> planning.Plan:
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.replace("SHARE", share))
    corpus = planning.Corpus(hash="0" * 64, train_tokens=10**9, exact=True)
    return planning.plan(load_sweep(path), corpus, cost.first_guess())


def test_a_growing_batch_meets_the_budget(tmp_path: Path) -> None:
    for point in planned(tmp_path, "0.2").points:
        spec = point.spec
        assert len(spec.ramp_steps) == 2
        assert spec.batch_contexts % 4 == 0
        assert spec.tokens < spec.steps * spec.batch_tokens
        assert spec.tokens_before(sum(spec.ramp_steps)) == pytest.approx(0.2 * spec.tokens, rel=0.05)
        assert point.flops == pytest.approx(point.budget, rel=planning.planner.BUDGET_TOLERANCE)


def test_a_share_of_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"batch\.ramp\.share"):
        planned(tmp_path, "1")
