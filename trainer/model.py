"""A decoder-only transformer as functions of its matrices: pre-norm with RMSNorm without gains, rotary positions, no biases.

Legend: B batch, T context, n = B x T tokens, D width, F feed-forward width, V vocabulary, K head size, N heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainer.operations import causal_attention, causal_mask, merge_heads, rms_norm, rotary_table, rotate
from trainer.parameters import Matrices, Part, head_matrix
from trainer.parametrization import attention_scale, logit_scale
from trainer.spec import Activation, RunSpec, Transformer

ROTARY_BASE_OVER_CONTEXT = 2.0
"""Base of the rotary angles over the context, so that the slowest pair turns by half a radian across a window; chosen.

At 64 tokens a base of 30 or 100 scores .02 nats better than the usual 10,000, most of whose pairs never turn there.
"""


def layout(shape: Transformer) -> tuple[Part, ...]:
    """The matrices of a model, in the order in which the flat vector holds them."""
    D, F, V = shape.width, shape.ffn_width, shape.vocab
    parts = [Part(name="embedding", group="embedding", shape=(V, D))]
    for layer in range(shape.layers):
        branches = (F, F) if shape.activation == "swiglu" else (F,)
        parts += [
            Part(name=f"qkv.{layer}", group="hidden", shape=(D, 3 * D), joined=(D, D, D)),
            Part(name=f"out.{layer}", group="output", shape=(D, D)),
            Part(name=f"up.{layer}", group="hidden", shape=(D, sum(branches)), joined=branches),
            Part(name=f"down.{layer}", group="output", shape=(F, D)),
        ]
    if not shape.tied_head:
        parts.append(Part(name="head", group="head", shape=(D, V)))
    return tuple(parts)


@dataclass(frozen=True, kw_only=True)
class Model:
    """What the forward pass needs beside parameters.

    Attributes:
        shape: Shape of the network.
        parts: Its matrices.
        dtype: Arithmetic of the matrix products; the residual stream, norms and the softmax of the loss stay in fp32.
        attention_scale: Factor of q·k.
        logit_scale: Factor of the logits.
        rotary: Table of rotations, shape (T, 3, 1, K/2).
        rotary_back: Its inverse, which turns gradients back.
        mask: Causal mask, shape (T, T).
    """

    shape: Transformer
    parts: tuple[Part, ...]
    dtype: torch.dtype
    attention_scale: float
    logit_scale: float
    rotary: Tensor
    rotary_back: Tensor
    mask: Tensor


def build(spec: RunSpec, device: str = "cpu") -> Model:
    """The model of a spec, without parameters."""
    shape = spec.model
    rotary = rotary_table(shape.context, shape.width // shape.heads, ROTARY_BASE_OVER_CONTEXT * shape.context)
    dtype = torch.bfloat16 if spec.precision == "bf16" else torch.float32
    return Model(
        shape=shape,
        parts=layout(shape),
        dtype=dtype,
        attention_scale=attention_scale(shape, spec.parametrization),
        logit_scale=logit_scale(shape, spec.parametrization),
        rotary=rotary.to(device),
        rotary_back=rotary.conj().resolve_conj().to(device),
        mask=causal_mask(shape.context).to(device, dtype),
    )


def hidden(model: Model, weights: Matrices, tokens_BT: Tensor) -> Tensor:
    """Final normed state of every token, shape (n, D), in the dtype of matrix products."""
    x_nD = functional.embedding(tokens_BT.reshape(-1), weights["embedding"])
    for layer in range(model.shape.layers):
        qkv_n3D = _normed(model, x_nD) @ weights[f"qkv.{layer}"]
        q_HTK, k_HTK, v_HTK = rotate(qkv_n3D, model.rotary, model.shape.heads)
        y_HTK = causal_attention(q_HTK, k_HTK, v_HTK, model.mask, model.attention_scale)
        x_nD = x_nD + merge_heads(y_HTK, model.shape.heads) @ weights[f"out.{layer}"]
        up_nF = activate(model.shape.activation, _normed(model, x_nD) @ weights[f"up.{layer}"])
        x_nD = x_nD + up_nF @ weights[f"down.{layer}"]
    return _normed(model, x_nD)


def logits(model: Model, weights: Matrices, tokens_BT: Tensor) -> Tensor:
    """Logits of the next token, fp32, shape (n, V)."""
    return (hidden(model, weights, tokens_BT) @ head_matrix(model, weights)).float()


def losses(model: Model, weights: Matrices, tokens_BT: Tensor, targets_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Summed loss of a batch, nats, and what training minimises, which is the same."""
    logits_nV = logits(model, weights, tokens_BT)
    loss = functional.cross_entropy(logits_nV, targets_BT.reshape(-1), reduction="sum")
    return loss, loss


def activate(activation: Activation, up_nF: Tensor) -> Tensor:
    """The feed-forward non-linearity."""
    if activation == "gelu":
        return functional.gelu(up_nF)
    gate_nF, value_nF = up_nF.chunk(2, -1)
    return functional.silu(gate_nF) * value_nF


def _normed(model: Model, x_nD: Tensor) -> Tensor:
    return rms_norm(x_nD).to(model.dtype)
