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
    attention_scores,
    join_heads,
    queries_keys_values,
    split_heads,
    turn,
)
from trainer.models.parameters import Described, Matrices, head_matrix
from trainer.models.transformer import Model, activate, embed
from trainer.spec import Transformer

LEAST_PROBABILITY = torch.finfo(torch.float32).tiny
"""What the loss of a token is bounded by, at 87 nats; its gradient is not."""

EPSILON = torch.tensor(NORM_EPSILON)

aten = torch.ops.aten


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
    gate_nF: Tensor | None


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
    """The normed x, and what it was multiplied by."""
    norm_n1 = torch.linalg.vector_norm(x_nD, dim=-1, keepdim=True)
    scale_n1 = torch.addcmul(EPSILON, norm_n1, norm_n1, value=1 / x_nD.shape[-1]).rsqrt_()
    return x_nD * scale_n1, scale_n1


def norm_back(grad_nD: Tensor, normed_nD: Tensor, scale_n1: Tensor) -> Tensor:
    """The gradient of `norm`'s input, in the place of that of its result."""
    return _across(grad_nD, normed_nD).mul_(scale_n1)


def add_norm_back(stream_nD: Tensor, grad_nD: Tensor, normed_nD: Tensor, scale_n1: Tensor) -> Tensor:
    """The same, added to the gradient of the residual stream; overwrites both gradients."""
    return stream_nD.addcmul_(_across(grad_nD, normed_nD), scale_n1)


def _across(grad_nD: Tensor, normed_nD: Tensor) -> Tensor:
    """Take out the part of the gradient along x, whose length the norm removes."""
    along_n1 = (grad_nD * normed_nD).sum(-1, keepdim=True)
    return grad_nD.addcmul_(normed_nD, along_n1, value=-1 / normed_nD.shape[-1])


def _attention(model: Model, weights: Matrices, layer: int, x_nD: Tensor) -> tuple[Tensor, _Attention]:
    T, M = model.shape.context, model.shape.key_heads
    normed_nD, scale_n1 = norm(x_nD)
    qkv_nP = normed_nD.to(model.dtype) @ weights[f"qkv.{layer}"]
    q_HTK, k_HTK, v_HTK = _split(model, qkv_nP)
    q_HT1 = k_HT1 = None
    if model.shape.qk_norm:
        (q_HTK, q_HT1), (k_HTK, k_HT1) = norm(q_HTK.float()), norm(k_HTK.float())
    if model.query_scale != 1:
        q_HTK = q_HTK * model.query_scale
    low_q, low_k = q_HTK.to(model.dtype), k_HTK.to(model.dtype)
    weights_HTT = attention_scores(low_q, low_k, model.mask)
    aten._softmax.out(weights_HTT, -1, False, out=weights_HTT)
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
    v_HTK = torch.bmm(kept.weights_HTT.transpose(1, 2), mixed_HTK)
    scores_HTT = torch.bmm(mixed_HTK, kept.v_HTK.transpose(1, 2))
    aten._softmax_backward_data.out(scores_HTT, kept.weights_HTT, -1, model.dtype, grad_input=scores_HTT)
    q_HTK = torch.bmm(scores_HTT, kept.k_HTK)
    k_HTK = torch.bmm(scores_HTT.transpose(1, 2), kept.q_HTK)
    if model.query_scale != 1:
        q_HTK.mul_(model.query_scale)
    if kept.q_HT1 is not None and kept.k_HT1 is not None:
        q_HTK = norm_back(q_HTK.float(), kept.q_HTK.float() / model.query_scale, kept.q_HT1)
        k_HTK = norm_back(k_HTK.float(), kept.k_HTK.float(), kept.k_HT1)
    qkv_nP = _join(model, q_HTK, k_HTK, v_HTK)
    put_product(gradients[f"qkv.{layer}"], kept.normed_nD.to(model.dtype).t(), qkv_nP)
    normed_nD = _times_transpose(qkv_nP, weights[f"qkv.{layer}"]).float()
    return add_norm_back(grad_nD, normed_nD, kept.normed_nD, kept.scale_n1)


def _split(model: Model, qkv_nP: Tensor) -> tuple[Tensor, ...]:
    """`queries_keys_values`, turned in the place of their projection, and of one head left there."""
    T, G, M, K = model.shape.context, model.shape.groups, model.shape.key_heads, model.shape.head_size
    if model.rotary is not None and not model.rotary.is_complex():
        return queries_keys_values(qkv_nP, model.rotary, context=T, groups=G, key_heads=M)
    x_BTRMK = qkv_nP.view(-1, T, G + 2, M, K)
    if model.rotary is not None:
        x_BTRMK = x_BTRMK.float()
        _pairs(x_BTRMK[:, :, : G + 1]).mul_(model.rotary[:, : G + 1])
    if G == 1:
        return x_BTRMK.permute(2, 0, 3, 1, 4).reshape(3, -1, T, K).to(model.dtype).unbind()
    return tuple(split_heads(x_BTGMK).to(model.dtype) for x_BTGMK in torch.split(x_BTRMK, [G, 1, 1], 2))


def _join(model: Model, q_HTK: Tensor, k_HTK: Tensor, v_HTK: Tensor) -> Tensor:
    """Gradient of `_split`'s input, shape (n, P), from those of its results."""
    T, G, M = model.shape.context, model.shape.groups, model.shape.key_heads
    by_head = [join_heads(x_HTK, context=T, key_heads=M).float() for x_HTK in (q_HTK, k_HTK, v_HTK)]
    x_BTRMK = torch.cat(by_head, 2)
    if model.rotary_back is not None and model.rotary_back.is_complex():
        _pairs(x_BTRMK[:, :, : G + 1]).mul_(model.rotary_back[:, : G + 1])
    elif model.rotary_back is not None:
        x_BTRMK = turn(x_BTRMK, model.rotary_back)
    return x_BTRMK.reshape(len(x_BTRMK) * T, -1).to(model.dtype)


def _pairs(x: Tensor) -> Tensor:
    """Neighbouring coordinates as complex numbers, a view."""
    return torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))


def _feed_forward(model: Model, weights: Matrices, layer: int, x_nD: Tensor) -> tuple[Tensor, _FeedForward]:
    normed_nD, scale_n1 = norm(x_nD)
    up_nF = normed_nD.to(model.dtype) @ weights[f"up.{layer}"]
    active_nF, gate_nF = _activate(model, up_nF)
    kept = _FeedForward(normed_nD, scale_n1, up_nF, active_nF, gate_nF)
    return _add_product(x_nD, active_nF, weights[f"down.{layer}"]), kept


def _feed_forward_back(
    model: Model, weights: Matrices, gradients: Matrices, layer: int, kept: _FeedForward, grad_nD: Tensor
) -> Tensor:
    low_nD = grad_nD.to(model.dtype)
    put_product(gradients[f"down.{layer}"], kept.active_nF.t(), low_nD)
    up_nF = _activate_back(model, low_nD @ weights[f"down.{layer}"].t(), kept)
    put_product(gradients[f"up.{layer}"], kept.normed_nD.to(model.dtype).t(), up_nF)
    normed_nD = _times_transpose(up_nF, weights[f"up.{layer}"]).float()
    return add_norm_back(grad_nD, normed_nD, kept.normed_nD, kept.scale_n1)


def _activate(model: Model, up_nF: Tensor) -> tuple[Tensor, Tensor | None]:
    """`activate`, and what SwiGLU multiplies its values by."""
    if model.shape.activation != "swiglu":
        return activate(model.shape.activation, up_nF), None
    gate_nF, value_nF = up_nF.chunk(2, -1)
    gate_nF = torch.nn.functional.silu(gate_nF)
    return gate_nF * value_nF, gate_nF


def _activate_back(model: Model, grad_nF: Tensor, kept: _FeedForward) -> Tensor:
    """The gradient of `_activate`'s input; overwrites that of its result."""
    up_nF = kept.up_nF
    if model.shape.activation == "gelu":
        aten.gelu_backward.grad_input(grad_nF, up_nF, grad_input=grad_nF)
        return grad_nF
    if model.shape.activation == "relu2":
        return grad_nF.mul_(torch.relu(up_nF).mul_(2))
    assert kept.gate_nF is not None
    linear_nF, value_nF = up_nF.chunk(2, -1)
    back_nF = torch.empty_like(up_nF)
    linear_back_nF, value_back_nF = back_nF.chunk(2, -1)
    torch.mul(grad_nF, value_nF, out=linear_back_nF)
    aten.silu_backward.grad_input(linear_back_nF, linear_nF, grad_input=linear_back_nF)
    torch.mul(grad_nF, kept.gate_nF, out=value_back_nF)
    return back_nF


def put_loss(
    model: Described, weights: Matrices, gradients: Matrices, x_nD: Tensor, targets_n1: Tensor
) -> tuple[Tensor, Tensor]:
    """Summed loss and its gradient in the residual stream; that of the logits is softmax minus one at the target."""
    head_DV = head_matrix(model, weights)
    normed_nD, scale_n1 = norm(x_nD)
    low_nD = normed_nD.to(model.dtype)
    logits_nV = (low_nD @ head_DV).float()
    aten._softmax.out(logits_nV, -1, False, out=logits_nV)
    loss = logits_nV.gather(1, targets_n1).clamp_(min=LEAST_PROBABILITY).log_().sum().neg_()
    logits_nV.scatter_add_(1, targets_n1, logits_nV.new_full((1, 1), -1.0).expand_as(targets_n1))
    logits_nV = logits_nV.to(model.dtype)
    if model.shape.tied_head:
        put_product(gradients["embedding"], logits_nV.t(), low_nD)
        gradients["embedding"].mul_(model.logit_scale)
    else:
        put_product(gradients["head"], low_nD.t(), logits_nV)
    return loss, norm_back((logits_nV @ head_DV.t()).float(), normed_nD, scale_n1)


def _add_product(x_nD: Tensor, update_nF: Tensor, matrix_FD: Tensor) -> Tensor:
    """Add a projected update to the residual stream, in one operation where the dtypes agree."""
    if update_nF.dtype == x_nD.dtype:
        return x_nD.addmm_(update_nF, matrix_FD)
    return x_nD.add_(update_nF @ matrix_FD)


def _times_transpose(left: Tensor, right: Tensor) -> Tensor:
    """The product left x right', by a copy of right': at widths of 64 and 128 the product by itself takes a sixth longer."""
    return left @ right.t().contiguous()


def put_product(out: Tensor, left: Tensor, right: Tensor) -> None:
    """Write left x right into `out`, which may be of another dtype."""
    if left.dtype == out.dtype:
        torch.mm(left, right, out=out)
    else:
        out.copy_(left @ right)
