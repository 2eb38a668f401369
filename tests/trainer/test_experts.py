"""Mixture of experts: the same as all experts at once with most of them weighed by zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trainer import RunSpec, run_id, train
from trainer.execution import Execution
from trainer.models import transformer
from trainer.models.experts import BALANCE_WEIGHT, imbalance, mixture
from trainer.models.networks import build, initialize
from trainer.models.parameters import matrices

Reshape = Callable[..., RunSpec]


@pytest.mark.parametrize("active", [1, 2, 4])
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_equals_all_experts_weighed(spec: RunSpec, with_shape: Reshape, active: int, activation: str) -> None:
    spec = with_shape(spec, experts=4, active_experts=active, activation=activation)
    model = transformer.build(spec)
    generator = torch.Generator().manual_seed(0)
    weights = matrices(model, torch.randn(len(initialize(spec.model, spec.parametrization, 0)), generator=generator))
    x_nD = torch.randn(64, 16, generator=generator)
    found, _ = mixture(model, weights, 0, x_nD, transformer.activate)
    probs_nE = torch.softmax(x_nD @ weights["router.0"], -1)
    least = probs_nE.sort(-1, descending=True).values[:, active - 1 : active]
    expected = torch.zeros_like(x_nD)
    for expert in range(4):
        y_nD = (
            transformer.activate(spec.model.activation, x_nD @ weights[f"up.0.{expert}"]) @ weights[f"down.0.{expert}"]
        )
        expected += torch.where(probs_nE[:, expert, None] >= least, probs_nE[:, expert, None] * y_nD, 0)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_imbalance_counts_from_even_to_one_expert() -> None:
    even = torch.full((64, 4), 0.25)
    assert float(imbalance(even, torch.arange(64)[:, None] % 4, context=32)) == pytest.approx(64)
    one = torch.tensor([1.0, 0, 0, 0]).expand(64, 4)
    assert float(imbalance(one, torch.zeros(64, 1, dtype=torch.int64), context=32)) == pytest.approx(4 * 64)


def test_imbalance_is_in_the_objective_and_not_in_the_loss(spec: RunSpec, with_shape: Reshape) -> None:
    spec = with_shape(spec, experts=4, active_experts=2, layers=2)
    model = build(spec)
    weights = matrices(model, initialize(spec.model, spec.parametrization, seed=0))
    tokens_BT = torch.randint(256, (2, 33), generator=torch.Generator().manual_seed(0))
    loss, objective = model.losses(weights, tokens_BT[:, :-1], tokens_BT[:, 1:])
    log_probs = torch.log_softmax(model.logits(weights, tokens_BT[:, :-1]), -1)
    assert float(loss) == pytest.approx(-float(log_probs.gather(1, tokens_BT[:, 1:].reshape(-1, 1)).sum()), rel=1e-5)
    n_layers, n_tokens = 2, 64
    assert (
        n_layers * n_tokens * BALANCE_WEIGHT * 0.9 < float(objective - loss) < 4 * n_layers * n_tokens * BALANCE_WEIGHT
    )


def test_learns_repeats_and_does_not_mind_micro_batches(spec: RunSpec, with_shape: Reshape, corpus: Path) -> None:
    short = replace(with_shape(spec, experts=4), steps=20, schedule=replace(spec.schedule, decay_steps=15))
    spec = replace(short, steps=200, schedule=replace(spec.schedule, decay_steps=195))
    first, second = train(spec, Execution(corpus=corpus)), train(spec, Execution(corpus=corpus))
    assert first.loss is not None
    assert first.loss < 3.2  # ln 16 letters is 2.8; it starts at 5.5
    assert (first.loss, first.curve) == (second.loss, second.curve)
    whole, parts = train(short, Execution(corpus=corpus)), train(short, Execution(corpus=corpus, micro_batch=3))
    assert parts.loss == pytest.approx(whole.loss, abs=1e-6)  # later, rounding sends some token to another expert


def test_a_dense_shape_keeps_its_identity(spec: RunSpec, with_shape: Reshape) -> None:
    same = with_shape(spec, kv_heads=None, positions="rotary", qk_norm=False, experts=1, active_experts=1)
    assert run_id(same) == run_id(spec)
    for changes in ({"kv_heads": 1}, {"positions": "none"}, {"qk_norm": True}, {"experts": 2}):
        assert run_id(with_shape(spec, **changes)) != run_id(spec)
