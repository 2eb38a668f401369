"""Counts against the model itself, and against torch's own FLOP counter."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from trainer import RunSpec, Transformer, count_params, flops_per_token
from trainer.models.networks import build, initialize, layout
from trainer.models.parameters import matrices

Reshape = Callable[..., RunSpec]

SHAPES = [
    {"layers": layers, "heads": heads, "activation": activation, "tied_head": tied, "ffn_width": ffn}
    for layers, heads, activation, tied, ffn in itertools.product(
        (1, 3), (1, 2), ("gelu", "swiglu"), (False, True), (40, 64)
    )
] + [
    {"heads": 4, "kv_heads": 2},
    {"heads": 4, "kv_heads": 1, "layers": 2, "tied_head": True},
    {"activation": "relu2", "qk_norm": True},
    {"positions": "learned", "tied_head": True},
    {"positions": "none", "kv_heads": 1},
    {"experts": 4, "active_experts": 1, "layers": 2},
    {"experts": 4, "active_experts": 2, "activation": "swiglu", "kv_heads": 1, "tied_head": True},
    {"experts": 3, "active_experts": 3, "activation": "relu2", "positions": "learned"},
]


@pytest.mark.parametrize("changes", SHAPES)
def test_parameters_are_those_that_are_stored(spec: RunSpec, with_shape: Reshape, changes: dict[str, object]) -> None:
    shape = with_shape(spec, **changes).model
    counts = count_params(shape)
    assert len(initialize(shape, spec.parametrization, seed=0)) == counts.total
    blocks = sum(part.shape[0] * part.shape[1] for part in layout(shape) if part.group in ("hidden", "output"))
    assert blocks == counts.body == counts.under("blocks")
    assert counts.under("blocks+head") == blocks + shape.width * shape.vocab
    assert (counts.under("active") == counts.under("blocks+head")) == (shape.experts == shape.active_experts)


@pytest.mark.parametrize("changes", SHAPES)
def test_flops_are_what_torch_counts(spec: RunSpec, with_shape: Reshape, changes: dict[str, object]) -> None:
    spec = with_shape(spec, **changes)
    model = build(spec)
    leaf = initialize(spec.model, spec.parametrization, seed=0).requires_grad_()
    tokens_BT = torch.randint(spec.model.vocab, (3, spec.model.context + 1), generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        model.losses(matrices(model, leaf), tokens_BT[:, :-1], tokens_BT[:, 1:])[1].backward()
    counted = counter.get_flop_counts()["Global"]
    assert {str(op) for op in counted} == {"aten.mm", "aten.bmm"}  # no kernel whose products count 0
    assert all(flops > 0 for flops in counted.values())
    assert counter.get_total_flops() == 3 * spec.model.context * flops_per_token(spec.model, "exact")


def test_rules_differ_as_they_say() -> None:
    shape = Transformer(layers=2, width=32, heads=1, ffn_width=128, vocab=256, context=64)
    exact, causal = flops_per_token(shape, "exact"), flops_per_token(shape, "exact-causal")
    assert exact - causal == 6 * 2 * 32 * 64
    assert flops_per_token(shape, "6nd") == 6 * count_params(shape).under("blocks+head")
    assert flops_per_token(shape, "6nd", "blocks") == 6 * 12 * 2 * 32**2


def test_only_active_experts_are_active() -> None:
    dense = Transformer(layers=2, width=32, heads=2, ffn_width=128, vocab=256, context=64)
    sparse = replace(dense, experts=8, active_experts=2)
    router, expert = 2 * 32 * 8, 2 * 2 * 32 * 128
    assert count_params(sparse).body - count_params(dense).body == 7 * expert + router
    assert count_params(sparse).active - count_params(dense).active == expert + router
    assert flops_per_token(sparse, "exact") - flops_per_token(dense, "exact") == 6 * (expert + router)
    assert flops_per_token(sparse, "6nd", "active") == 6 * count_params(sparse).active


def test_shared_keys_save_their_projection_alone() -> None:
    shape = Transformer(layers=1, width=32, heads=4, ffn_width=128, vocab=256, context=64)
    shared = replace(shape, kv_heads=1)
    saved = 2 * 32 * (32 - 8)
    assert count_params(shape).body - count_params(shared).body == saved
    assert flops_per_token(shape, "exact") - flops_per_token(shared, "exact") == 6 * saved
