"""The gradient by hand against autograd on the plain model."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from trainer import RunSpec
from trainer.models import transformer
from trainer.models.gradient import put_loss
from trainer.models.networks import build, initialize
from trainer.models.parameters import matrices

Reshape = Callable[..., RunSpec]


def both(spec: RunSpec) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss and gradient by autograd, then by hand, at parameters where no gradient vanishes."""
    model = build(spec)
    generator = torch.Generator().manual_seed(0)
    flat = initialize(spec.model, spec.parametrization, seed=0)
    flat += 0.1 * torch.randn(flat.shape, generator=generator)
    tokens_BT = torch.randint(spec.model.vocab, (3, spec.model.context + 1), generator=generator)
    inputs_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]
    leaf = flat.clone().requires_grad_()
    loss, objective = model.losses(matrices(model, leaf), inputs_BT, targets_BT)
    gradient = torch.full_like(flat, torch.nan)
    into = matrices(model._replace(dtype=torch.float32), gradient)
    assert model.by_hand is not None
    with torch.inference_mode():
        by_hand = model.by_hand(matrices(model, flat), into, inputs_BT, targets_BT)
    return loss.detach(), torch.autograd.grad(objective, leaf)[0], by_hand, gradient


SHAPES: list[dict[str, object]] = [
    {"layers": layers, "heads": heads, "activation": activation, "tied_head": tied}
    for layers, heads, activation, tied in itertools.product((1, 2), (1, 4), ("gelu", "swiglu"), (False, True))
] + [
    {"activation": "relu2"},
    {"heads": 4, "kv_heads": 2},
    {"heads": 8, "kv_heads": 2, "qk_norm": True, "layers": 2},
    {"qk_norm": True, "positions": "none"},
    {"positions": "learned"},
    {"positions": "learned", "tied_head": True, "heads": 4, "kv_heads": 1, "qk_norm": True, "activation": "relu2"},
]


@pytest.mark.parametrize("changes", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("precision", "tolerance"),
    # Rounding of fp32 and of bf16 (2^-24 and 2^-9) over the depth of the graph.
    [("fp32", 1e-5), ("bf16", 2e-2)],
)
def test_equals_autograd(
    spec: RunSpec, with_shape: Reshape, changes: dict[str, object], precision: str, tolerance: float
) -> None:
    spec = with_shape(spec, **changes)
    loss, gradient, by_hand, gradient_by_hand = both(replace(spec, precision=precision))
    assert abs(by_hand / loss - 1) < tolerance
    assert (gradient_by_hand - gradient).norm() < tolerance * gradient.norm()


def test_a_token_held_impossible_has_a_bounded_loss_and_its_gradient(spec: RunSpec, with_shape: Reshape) -> None:
    head_DV = torch.zeros(8, spec.model.vocab)
    head_DV[0, :3] = torch.tensor([0.0, 500.0, -500.0])
    x_nD = torch.zeros(1, 8)
    x_nD[0, 0] = 1.0
    model, into = build(with_shape(spec, width=8, heads=1)), {"head": torch.full_like(head_DV, torch.nan)}
    loss, grad_nD = put_loss(model, {"head": head_DV}, into, x_nD, torch.tensor([[2]]))
    assert float(loss) == pytest.approx(87.3, abs=0.1)
    assert into["head"][0, 1:3].tolist() == pytest.approx([8**0.5, -(8**0.5)], rel=1e-4)  # softmax minus one, times x
    assert bool(grad_nD.isfinite().all())


def test_what_is_not_written_by_hand_goes_through_autograd(spec: RunSpec, with_shape: Reshape) -> None:
    assert build(spec).by_hand is not None
    assert build(with_shape(spec, experts=2)).by_hand is None


def test_directional_derivative(spec: RunSpec) -> None:
    """In float64 along a random direction: nothing in common with either gradient."""
    model = replace(transformer.build(spec), dtype=torch.float64)
    model = replace(model, mask=model.mask.double(), rotary=model.rotary.to(torch.complex128))
    generator = torch.Generator().manual_seed(1)
    flat = initialize(spec.model, spec.parametrization, seed=0)
    flat += 0.1 * torch.randn(flat.shape, generator=generator)
    direction = torch.randn(flat.shape, generator=generator)
    tokens_BT = torch.randint(spec.model.vocab, (2, spec.model.context + 1), generator=generator)

    def loss(at: Tensor) -> Tensor:
        return transformer.losses(model, matrices(model, at), tokens_BT[:, :-1], tokens_BT[:, 1:])[0]

    leaf = flat.clone().requires_grad_()
    slope = float(torch.autograd.grad(loss(leaf), leaf)[0] @ direction)
    step = 1e-3
    difference = (loss(flat + step * direction) - loss(flat - step * direction)) / (2 * step)
    assert float(difference) == pytest.approx(slope, rel=2e-2)  # rotate and logits round to fp32
