"""The sweep file's optimisers: each takes its own settings and no other's, and reaches the runs as it was said."""

from __future__ import annotations

from pathlib import Path

import pytest

import trainer
from orchestrator import cost, planning
from orchestrator.errors import SweepError
from orchestrator.sweep.file import load_sweep

SWEEP = """\
name: mine
budgets: [1e9]
sizes: {shapes: [{width: 8}, {width: 16}]}
batch: 256
optimizer: {OPTIMIZER}
"""
ADAM = "learning_rate: 7e-3, beta2_half_life_tokens: 3.5e4"


def write(tmp_path: Path, optimizer: str) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.replace("OPTIMIZER", optimizer))
    return path


def planned(tmp_path: Path, optimizer: str) -> trainer.RunSpec:
    corpus = planning.Corpus(hash="0" * 64, train_tokens=10**9, exact=True)
    made = planning.plan(load_sweep(write(tmp_path, optimizer)), corpus, cost.first_guess())
    return made.points[0].spec


def test_adamw_is_meant_where_nothing_is_said(tmp_path: Path) -> None:
    spec = planned(tmp_path, ADAM)
    assert spec.optimizer == trainer.AdamW(learning_rate=7e-3, beta2=0.994943)
    assert spec == planned(tmp_path, f"name: adamw, {ADAM}")
    assert "kind" not in trainer.to_dict(spec)["optimizer"]


def test_sgd_and_muon_reach_the_run(tmp_path: Path) -> None:
    rule = "learning_rate: {peak: 0.5, at_batch_tokens: 512, exponent: 1}"
    sgd = planned(tmp_path, f"name: sgd, {rule}, momentum: 0.8, nesterov: true, clip_norm: null")
    assert sgd.optimizer == trainer.SGD(learning_rate=0.25, momentum=0.8, nesterov=True, clip_norm=None)
    muon = planned(
        tmp_path, f"name: muon, {ADAM}, adam_learning_rate: 1e-2, weight_decay: 1e-4, decay_rule: independent"
    )
    assert muon.optimizer == trainer.Muon(
        learning_rate=7e-3, adam_learning_rate=1e-2, beta2=0.994943, weight_decay=1e-4, decay_rule="independent"
    )


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        ("name: sgd, learning_rate: 0.5, beta1: 0.9", "sweep.yaml:5 optimizer.beta1: unknown key"),
        ("name: sgd, learning_rate: 0.5, momentun: 0.9", 'Did you mean "momentum"?'),
        (f"{ADAM}, momentum: 0.9", "optimizer.momentum: unknown key"),
        (f"name: muon, {ADAM}", "optimizer.adam_learning_rate: missing"),
        (f"name: adam, {ADAM}", "name is 'adam'; expected one of adamw, sgd, muon. Did you mean \"adamw\"?"),
        ("3", "optimizer"),
    ],
)
def test_settings_of_another_are_refused(tmp_path: Path, optimizer: str, said: str) -> None:
    with pytest.raises(SweepError) as caught:
        load_sweep(write(tmp_path, optimizer))
    assert said in str(caught.value)
