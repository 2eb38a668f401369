"""Long short-term memory (Hochreiter & Schmidhuber 1997) as functions of its matrices, and its gradient by hand.

Each layer reads the normed residual stream and adds its state to it. The products with the inputs of all steps are one; those
with the state go step by step, and everything else is kept out of that loop: T steps of a few small operations are what
a recurrent network costs on any device. Tests hold the gradient against autograd on `states`, and that against torch's own.

Legend: T context, B batch, n = T x B tokens with time outside, D width, V vocabulary, G = 4 D gates in the order output, input,
forget, candidate.
"""

# ruff: noqa: N815 (tensors carry their shape in their names)

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from trainer.models.gradient import add_norm_back, norm, put_embedding, put_loss, put_product
from trainer.models.operations import rms_norm
from trainer.models.parameters import Matrices, Part, head_matrix
from trainer.models.parametrization import logit_scale
from trainer.spec import LSTM, RunSpec

FORGET_OFFSET = 1.0
"""Added to the forget gate, so that a new cell remembers (Gers et al. 2000; Jozefowicz et al. 2015, section 2.2)."""


def layout(shape: LSTM) -> tuple[Part, ...]:
    """The matrices of a model, in the order in which the flat vector holds them."""
    D, V = shape.width, shape.vocab
    parts = [Part(name="embedding", group="embedding", shape=(V, D))]
    for layer in range(shape.layers):
        parts += [
            Part(name=f"input.{layer}", group="hidden", shape=(D, 4 * D), joined=(D, D, D, D)),
            Part(name=f"state.{layer}", group="hidden", shape=(D, 4 * D), joined=(D, D, D, D)),
        ]
    if not shape.tied_head:
        parts.append(Part(name="head", group="head", shape=(D, V)))
    return tuple(parts)


@dataclass(frozen=True, kw_only=True)
class Model:
    """What the forward pass needs beside parameters; see `trainer.models.networks.Network`."""

    shape: LSTM
    parts: tuple[Part, ...]
    dtype: torch.dtype
    logit_scale: float


def build(spec: RunSpec) -> Model:
    """The model of a spec, without parameters."""
    shape = spec.model
    assert isinstance(shape, LSTM)
    return Model(
        shape=shape,
        parts=layout(shape),
        dtype=torch.bfloat16 if spec.precision == "bf16" else torch.float32,
        logit_scale=logit_scale(shape, spec.parametrization),
    )


def logits(model: Model, weights: Matrices, tokens_BT: Tensor) -> Tensor:
    """Logits of the next token, fp32, shape (B x T, V)."""
    x_TBD = functional.embedding(tokens_BT.t(), weights["embedding"])
    for layer in range(model.shape.layers):
        normed_TBD = rms_norm(x_TBD).to(model.dtype)
        x_TBD = x_TBD + states(normed_TBD, weights[f"input.{layer}"], weights[f"state.{layer}"])
    last_nD = rms_norm(x_TBD).to(model.dtype).transpose(0, 1).reshape(-1, model.shape.width)
    return (last_nD @ head_matrix(model, weights)).float()


def losses(model: Model, weights: Matrices, tokens_BT: Tensor, targets_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Summed loss of a batch, nats, and what training minimises, which is the same."""
    logits_nV = logits(model, weights, tokens_BT)
    loss = functional.cross_entropy(logits_nV, targets_BT.reshape(-1), reduction="sum")
    return loss, loss


def states(x_TBD: Tensor, input_DG: Tensor, state_DG: Tensor) -> Tensor:
    """The states of one layer after every step, fp32, from zero."""
    gates_TBG = x_TBD @ input_DG
    state_BD = cell_BD = x_TBD.new_zeros(x_TBD.shape[1:], dtype=torch.float32)
    found = []
    for gates_BG in gates_TBG:
        now_BG = gates_BG.float() + (state_BD.to(x_TBD.dtype) @ state_DG).float()
        out_BD, in_BD, forget_BD, candidate_BD = now_BG.chunk(4, -1)
        kept_BD = torch.sigmoid(forget_BD + FORGET_OFFSET) * cell_BD
        cell_BD = kept_BD + torch.sigmoid(in_BD) * torch.tanh(candidate_BD)
        state_BD = torch.sigmoid(out_BD) * torch.tanh(cell_BD)
        found.append(state_BD)
    return torch.stack(found)


class _Layer(NamedTuple):
    """What the gradient of a layer needs; `cells` and `states` begin with the zeros before the first step."""

    normed_nD: Tensor
    scale_n1: Tensor
    gates_TBG: Tensor
    cells_TBD: Tensor
    squashed_TBD: Tensor
    states_TBD: Tensor


def loss_and_gradient(
    model: Model, weights: Matrices, gradients: Matrices, tokens_BT: Tensor, targets_BT: Tensor
) -> Tensor:
    """Summed loss of a batch, its gradient written into `gradients`; see `trainer.models.gradient.loss_and_gradient`."""
    T = tokens_BT.shape[1]
    tokens_n = tokens_BT.t().reshape(-1)
    x_nD = weights["embedding"].index_select(0, tokens_n)
    kept = []
    for layer in range(model.shape.layers):
        kept.append(_layer(model, weights, layer, x_nD, T))
        x_nD = x_nD + kept[-1].states_TBD[1:].view(x_nD.shape)
    loss, grad_nD = put_loss(model, weights, gradients, x_nD, targets_BT.t().reshape(-1, 1))
    for layer in reversed(range(model.shape.layers)):
        grad_nD = _layer_back(model, weights, gradients, layer, kept[layer], grad_nD)
    put_embedding(model, gradients, tokens_n, grad_nD)
    return loss


def _layer(model: Model, weights: Matrices, layer: int, x_nD: Tensor, T: int) -> _Layer:
    """As `states`, writing every step in place."""
    normed_nD, scale_n1 = norm(x_nD)
    D = model.shape.width
    gates_TBG = (normed_nD.to(model.dtype) @ weights[f"input.{layer}"]).float().view(T, -1, 4 * D)
    out_TBD, in_TBD, forget_TBD, candidate_TBD = torch.split(gates_TBG, D, -1)
    forget_TBD.add_(FORGET_OFFSET)
    cells_TBD = x_nD.new_zeros(T + 1, gates_TBG.shape[1], D)
    states_TBD, squashed_TBD = torch.zeros_like(cells_TBD), torch.empty_like(cells_TBD[1:])
    state_DG, cells, states = weights[f"state.{layer}"], cells_TBD.unbind(), states_TBD.unbind()
    steps = zip(
        gates_TBG.unbind(),
        gates_TBG[:, :, : 3 * D].unbind(),
        out_TBD.unbind(),
        in_TBD.unbind(),
        forget_TBD.unbind(),
        candidate_TBD.unbind(),
        squashed_TBD.unbind(),
        strict=True,
    )
    for t, (gates_BG, sigmoids_BG, out_BD, in_BD, forget_BD, candidate_BD, squashed_BD) in enumerate(steps):
        _add_product(gates_BG, states[t], state_DG)
        sigmoids_BG.sigmoid_()
        candidate_BD.tanh_()
        torch.mul(forget_BD, cells[t], out=cells[t + 1]).addcmul_(in_BD, candidate_BD)
        torch.tanh(cells[t + 1], out=squashed_BD)
        torch.mul(out_BD, squashed_BD, out=states[t + 1])
    return _Layer(normed_nD, scale_n1, gates_TBG, cells_TBD, squashed_TBD, states_TBD)


def _layer_back(
    model: Model, weights: Matrices, gradients: Matrices, layer: int, kept: _Layer, grad_nD: Tensor
) -> Tensor:
    """Back through time, from the gradient of the stream above the layer to that below it.

    With s the gradient of a state and c that of its cell, those of the gates before their non-linearities are s x (a
    factor) for the output gate and c x (a factor) for the others; the factors are taken for all steps at once.
    """
    T, B, G = kept.gates_TBG.shape
    D = G // 4
    forget_TBD = kept.gates_TBG[:, :, 2 * D : 3 * D]
    factors_TBG = _factors(kept)
    into_cell_TBD = kept.gates_TBG[:, :, :D] * (1 - kept.squashed_TBD.square())
    back_GD = weights[f"state.{layer}"].t()
    grads_TBG = torch.empty_like(kept.gates_TBG)
    state_TBD = grad_nD.view(T, B, D).clone()
    cell_BD = grad_nD.new_zeros(B, D)
    steps = zip(
        state_TBD.unbind(),
        into_cell_TBD.unbind(),
        factors_TBG[:, :, :D].unbind(),
        factors_TBG[:, :, D:].view(T, B, 3, D).unbind(),
        grads_TBG[:, :, :D].unbind(),
        grads_TBG[:, :, D:].view(T, B, 3, D).unbind(),
        forget_TBD.unbind(),
        strict=True,
    )
    later_BG = None
    for t, (state_BD, into_cell_BD, out_BD, factors_B3D, grad_BD, grad_B3D, forget_BD) in reversed(
        list(enumerate(steps))
    ):
        if later_BG is not None:
            _add_product(state_BD, later_BG, back_GD)
        cell_BD.addcmul_(state_BD, into_cell_BD)
        torch.mul(state_BD, out_BD, out=grad_BD)
        torch.mul(cell_BD[:, None], factors_B3D, out=grad_B3D)
        cell_BD.mul_(forget_BD)
        later_BG = grads_TBG[t]
    low_nG = grads_TBG.view(-1, G).to(model.dtype)
    put_product(gradients[f"state.{layer}"], kept.states_TBD[:-1].view(-1, D).to(model.dtype).t(), low_nG)
    put_product(gradients[f"input.{layer}"], kept.normed_nD.to(model.dtype).t(), low_nG)
    normed_nD = (low_nG @ weights[f"input.{layer}"].t()).float()
    return add_norm_back(grad_nD, normed_nD, kept.normed_nD, kept.scale_n1)


def _factors(kept: _Layer) -> Tensor:
    """Slope of each gate's non-linearity times what the gate multiplies, shape (T, B, G)."""
    out, into, forget, candidate = kept.gates_TBG.chunk(4, -1)
    parts = (
        kept.squashed_TBD * out * (1 - out),
        candidate * into * (1 - into),
        kept.cells_TBD[:-1] * forget * (1 - forget),
        into * (1 - candidate.square()),
    )
    return torch.cat(parts, -1)


def _add_product(out: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left x right to `out`, which may be of another dtype than `right`."""
    if right.dtype == out.dtype:
        out.addmm_(left, right)
    else:
        out.add_(left.to(right.dtype) @ right)
