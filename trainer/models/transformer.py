"""A decoder-only transformer as functions of its matrices: pre-norm with RMSNorm without gains, no biases.

Legend: B batch, T context, n = B x T tokens, D width, F feed-forward width, V vocabulary, K head size, N heads,
M heads of keys, G = N / M queries that share one, R = G + 2, H = B x M, P columns of the projection to all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainer.models import experts
from trainer.models.operations import (
    causal_attention,
    causal_mask,
    join_heads,
    queries_keys_values,
    rms_norm,
    rotary_table,
)
from trainer.models.parameters import Matrices, Part, head_matrix
from trainer.models.parametrization import attention_scale, logit_scale
from trainer.spec import Activation, RunSpec, Transformer

ROTARY_BASE_OVER_CONTEXT = 2.0
"""Base of the rotary angles over the context, so that the slowest pair turns by half a radian across a window; chosen.

At 64 tokens a base of 30 or 100 scores .02 nats better than the usual 10,000, most of whose pairs never turn there.
"""


def layout(shape: Transformer) -> tuple[Part, ...]:
    """The matrices of a model, in the order in which the flat vector holds them."""
    D, F, V = shape.width, shape.ffn_width, shape.vocab
    keys = shape.key_heads * shape.head_size
    branches = (F, F) if shape.activation == "swiglu" else (F,)
    parts = [Part(name="embedding", group="embedding", shape=(V, D))]
    if shape.positions == "learned":
        parts.append(Part(name="positions", group="embedding", shape=(shape.context, D)))
    for layer in range(shape.layers):
        parts += [
            Part(name=f"qkv.{layer}", group="hidden", shape=(D, D + 2 * keys), joined=(D, keys, keys)),
            Part(name=f"out.{layer}", group="output", shape=(D, D)),
        ]
        if shape.experts > 1:
            parts.append(Part(name=f"router.{layer}", group="hidden", shape=(D, shape.experts)))
        for expert in experts.names(shape, layer):
            parts += [
                Part(name=f"up.{expert}", group="hidden", shape=(D, sum(branches)), joined=branches),
                Part(name=f"down.{expert}", group="output", shape=(F, D)),
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
        query_scale: Factor of queries, where it is no part of their rotations.
        logit_scale: Factor of the logits.
        rotary: Table of rotations, shape (T, R, 1, K/2); None without rotary positions.
        rotary_back: Its conjugate, which turns gradients back.
        mask: Causal mask, shape (G T, T).
    """

    shape: Transformer
    parts: tuple[Part, ...]
    dtype: torch.dtype
    query_scale: float
    logit_scale: float
    rotary: Tensor | None
    rotary_back: Tensor | None
    mask: Tensor


def build(spec: RunSpec, device: str = "cpu") -> Model:
    """The model of a spec, without parameters."""
    shape = spec.model
    assert isinstance(shape, Transformer)
    scale = attention_scale(shape, spec.parametrization)
    scaled_by_turning = shape.positions == "rotary" and not shape.qk_norm  # the norm would take a scale out again
    rotary = _rotary(shape, scale if scaled_by_turning else 1.0)
    dtype = torch.bfloat16 if spec.precision == "bf16" else torch.float32
    return Model(
        shape=shape,
        parts=layout(shape),
        dtype=dtype,
        query_scale=1.0 if scaled_by_turning else scale,
        logit_scale=logit_scale(shape, spec.parametrization),
        rotary=None if rotary is None else rotary.to(device),
        rotary_back=None if rotary is None else rotary.conj().resolve_conj().to(device),
        mask=causal_mask(shape.context, shape.groups).to(device, dtype),
    )


def _rotary(shape: Transformer, query_scale: float) -> Tensor | None:
    if shape.positions != "rotary":
        return None
    base = ROTARY_BASE_OVER_CONTEXT * shape.context
    return rotary_table(shape.context, shape.head_size, base, shape.groups, query_scale)


def hidden(model: Model, weights: Matrices, tokens_BT: Tensor) -> tuple[Tensor, Tensor | None]:
    """Final normed state of every token, shape (n, D), in the dtype of matrix products, and the routers' imbalance."""
    x_nD, imbalance = embed(model, weights, tokens_BT.reshape(-1)), None
    for layer in range(model.shape.layers):
        x_nD = x_nD + attention(model, weights, layer, normed(model, x_nD))
        if model.shape.experts > 1:
            y_nD, added = experts.mixture(model, weights, layer, normed(model, x_nD), activate)
            imbalance = added if imbalance is None else imbalance + added
        else:
            up_nF = activate(model.shape.activation, normed(model, x_nD) @ weights[f"up.{layer}"])
            y_nD = up_nF @ weights[f"down.{layer}"]
        x_nD = x_nD + y_nD
    return normed(model, x_nD), imbalance


def logits(model: Model, weights: Matrices, tokens_BT: Tensor) -> Tensor:
    """Logits of the next token, fp32, shape (n, V)."""
    return (hidden(model, weights, tokens_BT)[0] @ head_matrix(model, weights)).float()


def losses(model: Model, weights: Matrices, tokens_BT: Tensor, targets_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Summed loss of a batch, nats, and what training minimises: with experts, the loss and a share of their imbalance."""
    x_nD, imbalance = hidden(model, weights, tokens_BT)
    logits_nV = (x_nD @ head_matrix(model, weights)).float()
    loss = functional.cross_entropy(logits_nV, targets_BT.reshape(-1), reduction="sum")
    return loss, loss if imbalance is None else loss + experts.BALANCE_WEIGHT * imbalance


def embed(model: Model, weights: Matrices, tokens_n: Tensor) -> Tensor:
    """The residual stream before the first block, shape (n, D)."""
    x_nD = functional.embedding(tokens_n, weights["embedding"])
    if model.shape.positions != "learned":
        return x_nD
    positions_TD = weights["positions"]
    return (x_nD.view(-1, *positions_TD.shape) + positions_TD).view(x_nD.shape)


def attention(model: Model, weights: Matrices, layer: int, normed_nD: Tensor) -> Tensor:
    """What the attention of a layer adds to the residual stream, shape (n, D)."""
    T, G, M = model.shape.context, model.shape.groups, model.shape.key_heads
    qkv_nP = normed_nD @ weights[f"qkv.{layer}"]
    q_HTK, k_HTK, v_HTK = queries_keys_values(qkv_nP, model.rotary, context=T, groups=G, key_heads=M)
    if model.shape.qk_norm:
        q_HTK, k_HTK = (rms_norm(x_HTK.float()).to(model.dtype) for x_HTK in (q_HTK, k_HTK))
    if model.query_scale != 1:
        q_HTK = q_HTK * model.query_scale
    mixed_HTK = causal_attention(q_HTK, k_HTK, v_HTK, model.mask)
    mixed_nD = join_heads(mixed_HTK, context=T, key_heads=M).reshape(normed_nD.shape)
    return mixed_nD @ weights[f"out.{layer}"]


def activate(activation: Activation, up_nF: Tensor) -> Tensor:
    """The feed-forward non-linearity."""
    if activation == "gelu":
        return functional.gelu(up_nF)
    if activation == "relu2":
        return functional.relu(up_nF).square()
    gate_nF, value_nF = up_nF.chunk(2, -1)
    return functional.silu(gate_nF) * value_nF


def normed(model: Model, x_nD: Tensor) -> Tensor:
    """The residual stream normed, in the dtype of matrix products."""
    return rms_norm(x_nD).to(model.dtype)
