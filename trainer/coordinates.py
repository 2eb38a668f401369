"""The coordinate check of a parametrisation: how far activations and logits move in the first steps, against width.

Under maximal update the root mean square of that change is the same at every width (Yang et al. 2022, arXiv:2203.03466,
appendix D.1); under the standard form it grows. A small rate would hide the difference, so the check trains near the
best one, and counts only if the standard form fails in the same run.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from trainer import optimizers
from trainer.data.batches import batch
from trainer.models import networks, transformer
from trainer.models.parameters import Matrices, head_matrix, matrices
from trainer.models.transformer import Model
from trainer.spec import SGD, AdamW, Data, Muon, Optimizer, Parametrization, RunSpec, Schedule, Transformer

WIDTHS = (32, 64, 128, 256)
"""Eight times in width."""

STEPS = 16
SEEDS = 4
"""Geometric means over so many: at one seed slopes scatter by .1."""

TOLERANCE = 0.1
"""Largest slope of log change on log width that counts as none."""

JUDGED = ("stream", "logits")
"""What the verdict rests on: the residual stream after the last block, and the logits."""

OPTIMIZERS: Mapping[str, Optimizer] = {
    # Half the quickstart's peak, as there is no warm-up; SGD without clipping, which follows width by itself.
    "adamw": AdamW(learning_rate=4e-3, embedding_multiplier=5.0, head_multiplier=3.0, beta2=0.97),
    "sgd": SGD(learning_rate=0.3, clip_norm=None),
    "muon": Muon(
        learning_rate=0.03, adam_learning_rate=8e-3, embedding_multiplier=5.0, head_multiplier=3.0, beta2=0.97
    ),
}
"""By name, at rates within a factor of two of the best at the base width."""

Kind = Literal["mup", "standard"]
KINDS: tuple[Kind, Kind] = ("mup", "standard")

_CONTEXT, _WINDOWS, _LAYERS, _HEAD_SIZE = 64, 8, 2, 32


@dataclass(frozen=True, kw_only=True)
class Coordinate:
    """One quantity under one parametrisation.

    Attributes:
        name: `embedding`, `attention.LAYER`, `feed-forward.LAYER` (what they add to the stream), `stream` or `logits`.
        changes: Root mean square change since step 0 at every width, geometric mean over seeds.
        slope: Of log2 change on log2 width, by least squares.
    """

    name: str
    changes: tuple[float, ...]
    slope: float


@dataclass(frozen=True, kw_only=True)
class Check:
    """The whole check.

    Attributes:
        optimizer: Name of the optimiser.
        widths: Widths.
        coordinates: Quantities by parametrisation.
    """

    optimizer: str
    widths: tuple[int, ...]
    coordinates: Mapping[Kind, tuple[Coordinate, ...]]

    def largest_slope(self, kind: Kind) -> float:
        """The slope farthest from zero among what is judged."""
        return max((one.slope for one in self.coordinates[kind] if one.name in JUDGED), key=abs)

    @property
    def passed(self) -> bool:
        """Whether maximal update keeps every change and the standard form does not."""
        return abs(self.largest_slope("mup")) <= TOLERANCE < abs(self.largest_slope("standard"))


def check(optimizer: str, *, widths: Sequence[int] = WIDTHS, steps: int = STEPS, seeds: int = SEEDS) -> Check:
    """Train a model of every width under both parametrisations for a few steps, on the source text of `argparse`."""
    text = np.frombuffer(Path(argparse.__file__).read_bytes(), np.uint8)
    coordinates: dict[Kind, tuple[Coordinate, ...]] = {}
    for kind in KINDS:
        logs = []
        for width in widths:
            runs = [_changes(_spec(kind, width, OPTIMIZERS[optimizer], seed, steps), text) for seed in range(seeds)]
            logs.append({name: sum(math.log2(run[name]) for run in runs) / seeds for name in runs[0]})
        coordinates[kind] = tuple(_coordinate(name, widths, [log[name] for log in logs]) for name in logs[0])
    return Check(optimizer=optimizer, widths=tuple(widths), coordinates=coordinates)


def _coordinate(name: str, widths: Sequence[int], log_changes: Sequence[float]) -> Coordinate:
    slope = float(np.polyfit(np.log2(widths), log_changes, 1)[0])
    return Coordinate(name=name, changes=tuple(2.0**log for log in log_changes), slope=slope)


def _spec(kind: Kind, width: int, optimizer: Optimizer, seed: int, steps: int) -> RunSpec:
    shape = Transformer(
        layers=_LAYERS, width=width, heads=max(1, width // _HEAD_SIZE), ffn_width=4 * width, vocab=256, context=_CONTEXT
    )
    return RunSpec(
        model=shape,
        data=Data(corpus="", heldout_tokens=_CONTEXT),
        steps=steps,
        batch_contexts=_WINDOWS,
        optimizer=optimizer,
        schedule=Schedule(kind="wsd", warmup_steps=0, decay_steps=0),
        parametrization=Parametrization(kind=kind, base_width=WIDTHS[0]),
        seed=seed,
    )


@torch.inference_mode()
def _changes(spec: RunSpec, text: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> dict[str, float]:
    """Root mean square change of every quantity over the spec's steps."""

    def tokens_of(step: int) -> Tensor:
        tokens = batch(text, seed=spec.seed, step=step, batch_contexts=_WINDOWS, context=_CONTEXT)
        return torch.from_numpy(tokens)

    network, model = networks.build(spec), transformer.build(spec)
    parameters = networks.initialize(spec.model, spec.parametrization, spec.seed)
    gradient = torch.empty_like(parameters)
    update = optimizers.bind(spec, parameters, gradient, optimizers.start(spec, parameters))
    weights, into = matrices(network, parameters), matrices(network, gradient)
    assert network.by_hand is not None
    seen_BT = tokens_of(spec.steps)[:, :-1]
    before = _activations(model, weights, seen_BT)
    for step in range(spec.steps):
        tokens_BT = tokens_of(step)
        network.by_hand(weights, into, tokens_BT[:, :-1], tokens_BT[:, 1:])
        optimizers.clip(gradient, spec.batch_tokens, spec.optimizer.clip_norm)
        update(step, 1.0)
    after = _activations(model, weights, seen_BT)
    return {name: float((after[name] - before[name]).square().mean().sqrt()) for name in before}


def _activations(model: Model, weights: Matrices, tokens_BT: Tensor) -> dict[str, Tensor]:
    """What is watched, by name; the same forward pass as `trainer.models.transformer.hidden`."""
    x_nD = transformer.embed(model, weights, tokens_BT.reshape(-1))
    found = {"embedding": x_nD}
    for layer in range(model.shape.layers):
        found[f"attention.{layer}"] = transformer.attention(model, weights, layer, transformer.normed(model, x_nD))
        x_nD = x_nD + found[f"attention.{layer}"]
        up_nF = transformer.normed(model, x_nD) @ weights[f"up.{layer}"]
        found[f"feed-forward.{layer}"] = transformer.activate(model.shape.activation, up_nF) @ weights[f"down.{layer}"]
        x_nD = x_nD + found[f"feed-forward.{layer}"]
    return found | {"stream": x_nD, "logits": transformer.normed(model, x_nD) @ head_matrix(model, weights)}
