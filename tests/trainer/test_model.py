"""What the network must obey whatever its parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from trainer import Parametrization, RunSpec, SpecError, Transformer
from trainer.networks import build, initialize, rates
from trainer.operations import rotary_table
from trainer.parameters import matrices

Reshape = Callable[..., RunSpec]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("heads", [1, 2])
def test_the_future_does_not_change_the_past(spec: RunSpec, with_shape: Reshape, heads: int, precision: str) -> None:
    spec = replace(with_shape(spec, heads=heads, layers=2), precision=precision)
    model = build(spec)
    generator = torch.Generator().manual_seed(0)
    flat = initialize(spec.model, spec.parametrization, seed=0)
    flat += 0.2 * torch.randn(flat.shape, generator=generator)
    tokens_BT = torch.randint(256, (2, 32), generator=generator)
    changed_BT = tokens_BT.clone()
    changed_BT[:, 20:] = torch.randint(256, (2, 12), generator=generator)
    before, after = (model.logits(matrices(model, flat), t).view(2, 32, -1) for t in (tokens_BT, changed_BT))
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.allclose(before[:, 20:], after[:, 20:])


def test_starts_at_the_uniform_loss(spec: RunSpec) -> None:
    model = build(spec)
    weights = matrices(model, initialize(spec.model, spec.parametrization, seed=3))
    tokens_BT = torch.randint(256, (2, 33), generator=torch.Generator().manual_seed(0))
    loss = model.losses(weights, tokens_BT[:, :-1], tokens_BT[:, 1:])[0] / 64
    assert float(loss) == pytest.approx(math.log(256), abs=1e-5)


def test_position_enters_by_distance_only() -> None:
    table = rotary_table(16, 8, base=100.0)
    turned = table[:, 0, 0]
    assert torch.allclose(turned[5] * turned[2].conj(), turned[9] * turned[6].conj(), atol=1e-6)
    assert torch.equal(table[:, 2], torch.ones_like(table[:, 2]))  # values are not turned


def test_rates_follow_width_as_the_rule_says(spec: RunSpec, with_shape: Reshape) -> None:
    wide = with_shape(spec, width=64, heads=2, ffn_width=256)
    mup = rates(wide.model, Parametrization(kind="mup", base_width=32), wide.optimizer)
    assert mup.unique().tolist() == pytest.approx([wide.optimizer.learning_rate / 2, wide.optimizer.learning_rate])
    standard = rates(wide.model, Parametrization(kind="standard"), wide.optimizer)
    assert len(standard.unique()) == 1


@pytest.mark.parametrize(("width", "heads"), [(16, 3), (6, 6), (0, 1)])
def test_heads_must_divide_the_width_evenly(width: int, heads: int) -> None:
    with pytest.raises(SpecError, match=r"expected .*\. Choose "):
        Transformer(layers=1, width=width, heads=heads, ffn_width=4, vocab=256, context=8)
