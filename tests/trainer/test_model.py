"""What the network must obey whatever its parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from trainer import Parametrization, RunSpec, SpecError, Transformer
from trainer.models.networks import build, initialize, rate_spans
from trainer.models.operations import causal_attention, causal_mask, fused_attention, rotary_table
from trainer.models.parameters import matrices

Reshape = Callable[..., RunSpec]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "changes",
    [
        {"heads": 1},
        {"heads": 2},
        {"heads": 4, "kv_heads": 2, "qk_norm": True},
        {"positions": "learned", "activation": "relu2"},
        {"positions": "none"},
        {"experts": 4, "active_experts": 2},
    ],
    ids=str,
)
def test_the_future_does_not_change_the_past(
    spec: RunSpec, with_shape: Reshape, changes: dict[str, object], precision: str
) -> None:
    spec = replace(with_shape(spec, layers=2, **changes), precision=precision)
    model = build(spec)
    generator = torch.Generator().manual_seed(0)
    flat = initialize(spec.model, spec.parametrization, seed=0)
    flat += 0.2 * torch.randn(flat.shape, generator=generator)
    tokens_BT = torch.randint(256, (2, 32), generator=generator)
    changed_BT = tokens_BT.clone()
    changed_BT[:, 20:] = torch.randint(256, (2, 12), generator=generator)
    before, after = (model.logits(matrices(model, flat), t).view(2, 32, -1) for t in (tokens_BT, changed_BT))
    if (
        spec.model.experts > 1
    ):  # as many tokens as chose it go through an expert at once: products of other sizes round alike
        assert torch.allclose(before[:, :20], after[:, :20], atol=1e-4 if precision == "fp32" else 0.05)
    else:
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
    mup = rate_spans(wide.model, Parametrization(kind="mup", base_width=32), wide.optimizer)
    peak, total = wide.optimizer.learning_rate, len(initialize(wide.model, wide.parametrization, 0))
    assert [rate for _, rate in mup] == pytest.approx([peak, peak / 2])  # the embedding, and all that lies behind it
    assert (mup[0].span.start, mup[0].span.stop, mup[1].span.stop) == (0, mup[1].span.start, total)
    standard = rate_spans(wide.model, Parametrization(kind="standard"), wide.optimizer)
    assert standard == [(slice(0, total), peak)]


@pytest.mark.parametrize(("width", "heads"), [(16, 3), (6, 6), (0, 1)])
def test_heads_must_divide_the_width_evenly(width: int, heads: int) -> None:
    with pytest.raises(SpecError, match=r"expected .*\. Choose "):
        Transformer(layers=1, width=width, heads=heads, ffn_width=4, vocab=256, context=8)


@pytest.mark.parametrize(
    "changes", [{"kv_heads": 3}, {"kv_heads": 0}, {"experts": 2, "active_experts": 3}, {"experts": 0}]
)
def test_parts_that_do_not_fit_are_refused(spec: RunSpec, with_shape: Reshape, changes: dict[str, object]) -> None:
    with pytest.raises(SpecError, match=r"expected .*\. Choose "):
        with_shape(spec, **changes)


def test_shared_keys_are_repeated_keys(spec: RunSpec, with_shape: Reshape) -> None:
    """Grouped keys give what ordinary heads give whose key and value matrices repeat."""
    shared = with_shape(spec, heads=4, kv_heads=2, layers=1)
    plain = with_shape(shared, kv_heads=None)
    generator = torch.Generator().manual_seed(0)
    few = matrices(
        build(shared), torch.randn(len(initialize(shared.model, shared.parametrization, 0)), generator=generator)
    )
    many = dict(few)
    q, k, v = few["qkv.0"].split([16, 8, 8], 1)
    many["qkv.0"] = torch.cat([q, k, k, v, v], 1)  # query heads 0 1 2 3 read keys 0 1 0 1
    tokens_BT = torch.randint(256, (2, 32), generator=generator)
    assert torch.allclose(
        build(shared).logits(few, tokens_BT), build(plain).logits(many, tokens_BT), atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize(("positions", "sees_order"), [("rotary", True), ("learned", True), ("none", False)])
def test_order_is_seen_through_positions_alone(
    spec: RunSpec, with_shape: Reshape, positions: str, sees_order: bool
) -> None:
    """One layer, without positions: the last logits do not change with the order of what comes before."""
    spec = with_shape(spec, positions=positions)
    model = build(spec)
    generator = torch.Generator().manual_seed(0)
    flat = 0.3 * torch.randn(len(initialize(spec.model, spec.parametrization, 0)), generator=generator)
    tokens_BT = torch.randint(256, (1, 32), generator=generator)
    shuffled_BT = torch.cat([tokens_BT[:, :31].flip(1), tokens_BT[:, 31:]], 1)
    last, other = (model.logits(matrices(model, flat), each_BT)[-1] for each_BT in (tokens_BT, shuffled_BT))
    assert torch.allclose(last, other, atol=1e-3) != sees_order


def test_normed_queries_and_keys_do_not_grow(spec: RunSpec, with_shape: Reshape) -> None:
    spec = with_shape(spec, qk_norm=True)
    model = build(spec)
    generator = torch.Generator().manual_seed(0)
    weights = matrices(model, torch.randn(len(initialize(spec.model, spec.parametrization, 0)), generator=generator))
    larger = weights | {"qkv.0": torch.cat([100 * weights["qkv.0"][:, :32], weights["qkv.0"][:, 32:]], 1)}
    tokens_BT = torch.randint(256, (1, 32), generator=generator)
    assert torch.allclose(model.logits(weights, tokens_BT), model.logits(larger, tokens_BT), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("groups", [1, 3])
def test_the_fused_attention_of_a_gpu_is_the_explicit_one(groups: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q_HTK = torch.randn(4, groups * 16, 8, generator=generator)
    k_HTK, v_HTK = torch.randn(2, 4, 16, 8, generator=generator)
    explicit = causal_attention(q_HTK, k_HTK, v_HTK, causal_mask(16, groups))
    assert torch.allclose(fused_attention(q_HTK, k_HTK, v_HTK), explicit, atol=1e-5)
