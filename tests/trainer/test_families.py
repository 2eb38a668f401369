"""What holds for every family: changes of the logits that do not grow with width under maximal update, and do without."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer import LSTM, AdamW, Parametrization, RunSpec, Shape, Transformer, optimizers
from trainer.data.batches import batch
from trainer.models.networks import FAMILIES, build, initialize
from trainer.models.parameters import matrices

FAMILIES_BY_WIDTH: dict[str, Callable[[int], Shape]] = {
    "lstm": lambda width: LSTM(layers=1, width=width, vocab=256, context=32),
    "experts": lambda width: Transformer(
        layers=1, width=width, heads=width // 16, ffn_width=width, vocab=256, context=32, experts=4, active_experts=2
    ),
    "grouped, normed": lambda width: Transformer(
        layers=1, width=width, heads=width // 16, kv_heads=1, ffn_width=4 * width, vocab=256, context=32, qk_norm=True,
        positions="learned", activation="relu2",
    ),
}  # fmt: skip


def change_of_logits(spec: RunSpec, text: np.ndarray) -> float:
    """Root mean square over held-back windows, after the spec's steps without warm-up."""

    def tokens_of(step: int) -> torch.Tensor:
        return torch.from_numpy(batch(text, seed=0, step=step, batch_contexts=8, context=spec.model.context))

    network, parameters = build(spec), initialize(spec.model, spec.parametrization, seed=0)
    seen_BT = tokens_of(spec.steps)[:, :-1]
    before = network.logits(matrices(network, parameters), seen_BT)
    gradient = torch.empty_like(parameters)
    update = optimizers.bind(spec, parameters, gradient, optimizers.start(spec, parameters))
    for step in range(spec.steps):
        tokens_BT, leaf = tokens_of(step), parameters.clone().requires_grad_()
        objective = network.losses(matrices(network, leaf), tokens_BT[:, :-1], tokens_BT[:, 1:])[1]
        gradient.copy_(torch.autograd.grad(objective / tokens_BT[:, 1:].numel(), leaf)[0])
        update(step, 1.0)
    return float((network.logits(matrices(network, parameters), seen_BT) - before).square().mean().sqrt())


@pytest.mark.parametrize("family", FAMILIES_BY_WIDTH)
def test_logits_move_alike_at_every_width_under_maximal_update_alone(spec: RunSpec, family: str) -> None:
    text = np.frombuffer(Path(argparse.__file__).read_bytes(), np.uint8)
    optimizer = AdamW(learning_rate=8e-3, embedding_multiplier=5, head_multiplier=3, beta2=0.95)
    spec = replace(spec, steps=15, optimizer=optimizer, schedule=replace(spec.schedule, warmup_steps=0, decay_steps=15))
    growth = {}
    for kind in ("mup", "standard"):
        moved = [
            change_of_logits(replace(spec, model=FAMILIES_BY_WIDTH[family](width), parametrization=rule), text)
            for width in (32, 256)
            for rule in [Parametrization(kind=kind)]  # type: ignore[arg-type]
        ]
        growth[kind] = np.log2(moved[1] / moved[0]) / 3
    assert abs(growth["mup"]) < 0.15  # slope of log change on log width; one seed scatters it by .1
    assert growth["standard"] > 0.25


def test_every_kind_of_shape_has_a_network() -> None:
    assert {Transformer, LSTM} == set(FAMILIES)
