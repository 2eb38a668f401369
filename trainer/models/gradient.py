"""The model's gradient by hand: the same products as autograd's, in half its time at small sizes.

A step of a one-layer model is a few milliseconds, of which autograd's bookkeeping is up to half. Each part below is a
pair: `_x` runs forward and keeps what its gradient needs, `_x_back` turns the gradient of the residual stream at its
output into that at its input and fills in the gradients of its matrices. Tests hold both against autograd on
`trainer.models.transformer`.

Legend: B batch, T context, n = B x T tokens, D width, F feed-forward width, V vocabulary, N heads, K head size,
M heads of keys, G = N / M queries that share one, R = G + 2, H = B x M, P columns of the projection to all of them.
"""

# ruff: noqa: N815 (tensors carry their shape in their names)

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from trainer.models.operations import (
    NORM_EPSILON,
    attention_weights,
    join_heads,
    queries_keys_values,
    split_heads,
    turn,
)
from trainer.models.parameters import Described, Matrices, head_matrix
from trainer.models.transformer import Model, activate, embed
from trainer.spec import Transformer


class _Attention(NamedTuple):
    """What the gradient of an attention part needs."""

    normed_nD: Tensor
    scale_n1: Tensor
    q_HTK: Tensor
    q_HT1: Tensor | None
    k_HTK: Tensor
    k_HT1: Tensor | None
    v_HTK: Tensor
    weights_HTT: Tensor
    mixed_nD: Tensor


class _FeedForward(NamedTuple):
    """What the gradient of a feed-forward part needs."""

    normed_nD: Tensor
    scale_n1: Tensor
    up_nF: Tensor
    active_nF: Tensor


def loss_and_gradient(
    model: Model, weights: Matrices, gradients: Matrices, tokens_BT: Tensor, targets_BT: Tensor
) -> Tensor:
    """Summed loss of a batch, its gradient written into `gradients`.

    Args:
        model: The model.
        weights: Its matrices (see `trainer.models.parameters.matrices`), without autograd.
        gradients: fp32 matrices of the same shapes, overwritten.
        tokens_BT: Inputs.
        targets_BT: The tokens that follow them.
    """
    tokens_n = tokens_BT.reshape(-1)
    x_nD = embed(model, weights, tokens_n)
    kept = []
    for layer in range(model.shape.layers):
        x_nD, attention = _attention(model, weights, layer, x_nD)
        x_nD, feed_forward = _feed_forward(model, weights, layer, x_nD)
        kept.append((attention, feed_forward))
    loss, grad_nD = put_loss(model, weights, gradients, x_nD, targets_BT.reshape(-1, 1))
    for layer in reversed(range(model.shape.layers)):
        attention, feed_forward = kept[layer]
        grad_nD = _feed_forward_back(model, weights, gradients, layer, feed_forward, grad_nD)
        grad_nD = _attention_back(model, weights, gradients, layer, attention, grad_nD)
    put_embedding(model, gradients, tokens_n, grad_nD)
    if model.shape.positions == "learned":
        torch.sum(grad_nD.view(-1, *gradients["positions"].shape), 0, out=gradients["positions"])
    return loss


def serves(shape: Transformer) -> bool:
    """Whether `loss_and_gradient` knows every part of a shape; a mixture of experts goes through autograd."""
    return shape.experts == 1


def put_embedding(model: Described, gradients: Matrices, tokens_n: Tensor, grad_nD: Tensor) -> None:
    """Add up the gradients of each token's row; a tied head has put its own there before."""
    if not model.shape.tied_head:
        gradients["embedding"].zero_()
    gradients["embedding"].index_add_(0, tokens_n, grad_nD)


def norm(x_nD: Tensor) -> tuple[Tensor, Tensor]:
    """The normed x, and what it was divided by."""
    norm_n1 = torch.linalg.vector_norm(x_nD, dim=-1, keepdim=True)
    scale_n1 = norm_n1.square_().mul_(1 / x_nD.shape[-1]).add_(NORM_EPSILON).sqrt_()
    return x_nD / scale_n1, scale_n1


def norm_back(grad_nD: Tensor, normed_nD: Tensor, scale_n1: Tensor) -> Tensor:
    """Take out the part of the gradient along x, whose length the norm removes."""
    along_n1 = (grad_nD * normed_nD).sum(-1, keepdim=True)
    return torch.addcmul(grad_nD, normed_nD, along_n1, value=-1 / normed_nD.shape[-1]).div_(scale_n1)


def _attention(model: Model, weights: Matrices, layer: int, x_nD: Tensor) -> tuple[Tensor, _Attention]:
    T, M = model.shape.context, model.shape.key_heads
    normed_nD, scale_n1 = norm(x_nD)
    qkv_nP = normed_nD.to(model.dtype) @ weights[f"qkv.{layer}"]
    q_HTK, k_HTK, v_HTK = _split(model, qkv_nP)
    q_HT1 = k_HT1 = None
    if model.shape.qk_norm:
        (q_HTK, q_HT1), (k_HTK, k_HT1) = norm(q_HTK.float()), norm(k_HTK.float())
    low_q, low_k = q_HTK.to(model.dtype), k_HTK.to(model.dtype)
    weights_HTT = attention_weights(low_q, low_k, model.mask, model.attention_scale)
    mixed_nD = join_heads(torch.bmm(weights_HTT, v_HTK), context=T, key_heads=M).reshape(x_nD.shape)
    kept = _Attention(normed_nD, scale_n1, low_q, q_HT1, low_k, k_HT1, v_HTK, weights_HTT, mixed_nD)
    return _add_product(x_nD, mixed_nD, weights[f"out.{layer}"]), kept


def _attention_back(
    model: Model, weights: Matrices, gradients: Matrices, layer: int, kept: _Attention, grad_nD: Tensor
) -> Tensor:
    low_nD = grad_nD.to(model.dtype)
    put_product(gradients[f"out.{layer}"], kept.mixed_nD.t(), low_nD)
    T, G, M, K = model.shape.context, model.shape.groups, model.shape.key_heads, model.shape.head_size
    mixed_HTK = split_heads((low_nD @ weights[f"out.{layer}"].t()).view(-1, T, G, M, K))
    grad_weights_HTT = torch.bmm(mixed_HTK, kept.v_HTK.transpose(1, 2))
    scores_HTT = torch.ops.aten._softmax_backward_data(grad_weights_HTT, kept.weights_HTT, -1, model.dtype)
    scores_HTT.mul_(model.attention_scale)
    q_HTK = torch.bmm(scores_HTT, kept.k_HTK)
    k_HTK = torch.bmm(scores_HTT.transpose(1, 2), kept.q_HTK)
    v_HTK = torch.bmm(kept.weights_HTT.transpose(1, 2), mixed_HTK)
    if kept.q_HT1 is not None and kept.k_HT1 is not None:
        q_HTK = norm_back(q_HTK.float(), kept.q_HTK.float(), kept.q_HT1)
        k_HTK = norm_back(k_HTK.float(), kept.k_HTK.float(), kept.k_HT1)
    qkv_nP = _join(model, q_HTK, k_HTK, v_HTK)
    put_product(gradients[f"qkv.{layer}"], kept.normed_nD.to(model.dtype).t(), qkv_nP)
    normed_nD = (qkv_nP @ weights[f"qkv.{layer}"].t()).float()
    return grad_nD.add_(norm_back(normed_nD, kept.normed_nD, kept.scale_n1))


def _split(model: Model, qkv_nP: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`queries_keys_values`; of several heads, turned on their way to their places instead of before."""
    T, G, M, K = model.shape.context, model.shape.groups, model.shape.key_heads, model.shape.head_size
    if model.rotary is None or M == 1 or not model.rotary.is_complex():
        return queries_keys_values(qkv_nP, model.rotary, context=T, groups=G, key_heads=M)
    x_BTRMK = qkv_nP.view(-1, T, G + 2, M, K)
    turned = []
    for rows in (slice(0, G), slice(G, G + 1)):
        x_BMGTK = x_BTRMK[:, :, rows].permute(0, 3, 2, 1, 4)
        out_BMGTK = torch.empty(x_BMGTK.shape)
        torch.mul(_pairs(x_BMGTK.float()), model.rotary[:, rows].permute(2, 1, 0, 3), out=_pairs(out_BMGTK))
        turned.append(out_BMGTK.view(-1, out_BMGTK.shape[2] * T, K).to(model.dtype))
    return turned[0], turned[1], split_heads(x_BTRMK[:, :, G + 1 :])


def _join(model: Model, q_HTK: Tensor, k_HTK: Tensor, v_HTK: Tensor) -> Tensor:
    """Gradient of `_split`'s input, shape (n, P), from those of its results."""
    T, G, M, K = model.shape.context, model.shape.groups, model.shape.key_heads, model.shape.head_size
    by_head = [join_heads(x_HTK, context=T, key_heads=M).float() for x_HTK in (q_HTK, k_HTK, v_HTK)]
    if model.rotary_back is None or M == 1 or not model.rotary_back.is_complex():
        x_BTRMK = torch.cat(by_head, 2)
        x_BTRMK = x_BTRMK if model.rotary_back is None else turn(x_BTRMK, model.rotary_back)
    else:
        x_BTRMK = torch.empty(len(v_HTK) // M, T, G + 2, M, K)
        for rows, x_BTGMK in zip((slice(0, G), slice(G, G + 1)), by_head, strict=False):
            torch.mul(_pairs(x_BTGMK), model.rotary_back[:, rows], out=_pairs(x_BTRMK[:, :, rows]))
        x_BTRMK[:, :, G + 1 :] = by_head[2]
    return x_BTRMK.reshape(-1, (G + 2) * M * K).to(model.dtype)


def _pairs(x: Tensor) -> Tensor:
    """Neighbouring coordinates as complex numbers, a view."""
    return torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))


def _feed_forward(model: Model, weights: Matrices, layer: int, x_nD: Tensor) -> tuple[Tensor, _FeedForward]:
    normed_nD, scale_n1 = norm(x_nD)
    up_nF = normed_nD.to(model.dtype) @ weights[f"up.{layer}"]
    active_nF = activate(model.shape.activation, up_nF)
    kept = _FeedForward(normed_nD, scale_n1, up_nF, active_nF)
    return _add_product(x_nD, active_nF, weights[f"down.{layer}"]), kept


def _feed_forward_back(
    model: Model, weights: Matrices, gradients: Matrices, layer: int, kept: _FeedForward, grad_nD: Tensor
) -> Tensor:
    low_nD = grad_nD.to(model.dtype)
    put_product(gradients[f"down.{layer}"], kept.active_nF.t(), low_nD)
    up_nF = _activate_back(model, low_nD @ weights[f"down.{layer}"].t(), kept.up_nF)
    put_product(gradients[f"up.{layer}"], kept.normed_nD.to(model.dtype).t(), up_nF)
    normed_nD = (up_nF @ weights[f"up.{layer}"].t()).float()
    return grad_nD.add_(norm_back(normed_nD, kept.normed_nD, kept.scale_n1))


def _activate_back(model: Model, grad_nF: Tensor, up_nF: Tensor) -> Tensor:
    if model.shape.activation == "gelu":
        gelu_back_nF: Tensor = torch.ops.aten.gelu_backward(grad_nF, up_nF)
        return gelu_back_nF
    if model.shape.activation == "relu2":
        return torch.relu(up_nF).mul_(2).mul_(grad_nF)
    gate_nF, value_nF = up_nF.chunk(2, -1)
    gate_back_nF = torch.ops.aten.silu_backward(grad_nF * value_nF, gate_nF)
    return torch.cat([gate_back_nF, grad_nF * torch.nn.functional.silu(gate_nF)], -1)


def put_loss(
    model: Described, weights: Matrices, gradients: Matrices, x_nD: Tensor, targets_n1: Tensor
) -> tuple[Tensor, Tensor]:
    """Summed loss and its gradient in the residual stream; that of the logits is softmax minus one at the target."""
    head_DV = head_matrix(model, weights)
    normed_nD, scale_n1 = norm(x_nD)
    low_nD = normed_nD.to(model.dtype)
    log_probs_nV = torch.log_softmax((low_nD @ head_DV).float(), -1)
    loss = log_probs_nV.gather(1, targets_n1).sum().neg_()
    logits_nV = log_probs_nV.exp_()
    logits_nV.scatter_add_(1, targets_n1, logits_nV.new_full((1, 1), -1.0).expand_as(targets_n1))
    logits_nV = logits_nV.to(model.dtype)
    if model.shape.tied_head:
        put_product(gradients["embedding"], logits_nV.t(), low_nD)
        gradients["embedding"].mul_(model.logit_scale)
    else:
        put_product(gradients["head"], low_nD.t(), logits_nV)
    return loss, norm_back((logits_nV @ head_DV.t()).float(), normed_nD, scale_n1)


def _add_product(x_nD: Tensor, update_nF: Tensor, matrix_FD: Tensor) -> Tensor:
    """Residual stream plus a projected update, in one operation where the dtypes agree."""
    if update_nF.dtype == x_nD.dtype:
        return torch.addmm(x_nD, update_nF, matrix_FD)
    return x_nD + update_nF @ matrix_FD


def put_product(out: Tensor, left: Tensor, right: Tensor) -> None:
    """Write left x right into `out`, which may be of another dtype."""
    if left.dtype == out.dtype:
        torch.mm(left, right, out=out)
    else:
        out.copy_(left @ right)
