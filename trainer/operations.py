"""Operations with hand-written gradients, where autograd's own spend most of a small model's step.

Each equals its plain torch form up to rounding (tests compare both). Legend: n tokens (batch x context), D width, V
vocabulary, H batch x heads, T context, K head size.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

NORM_EPSILON = 1e-5


class _RMSNorm(Function):
    @staticmethod
    def forward(ctx: Any, x_nD: Tensor) -> Tensor:
        width = x_nD.shape[-1]
        scale_n1 = torch.linalg.vector_norm(x_nD, dim=-1, keepdim=True).mul_(width**-0.5).add_(NORM_EPSILON)
        y_nD = torch.div(x_nD, scale_n1)
        ctx.save_for_backward(y_nD, scale_n1)
        return y_nD

    @staticmethod
    def backward(ctx: Any, grad_nD: Tensor) -> Tensor:
        y_nD, scale_n1 = ctx.saved_tensors
        dot_n1 = (grad_nD * y_nD).sum(-1, keepdim=True)
        return torch.addcmul(grad_nD, y_nD, dot_n1, value=-1 / y_nD.shape[-1]).div_(scale_n1)


def rms_norm(x_nD: Tensor) -> Tensor:
    """Divide x by its root mean square, which has a small constant added; there is no gain."""
    return cast(Tensor, _RMSNorm.apply(x_nD))  # type: ignore[no-untyped-call]


class _Attention(Function):
    @staticmethod
    def forward(ctx: Any, q_HTK: Tensor, k_HTK: Tensor, v_HTK: Tensor, mask_TT: Tensor, scale: float) -> Tensor:
        scores_HTT = torch.baddbmm(mask_TT, q_HTK, k_HTK.transpose(1, 2), alpha=scale)
        weights_HTT = torch.softmax(scores_HTT, -1)
        ctx.save_for_backward(q_HTK, k_HTK, v_HTK, weights_HTT)
        ctx.scale = scale
        return torch.bmm(weights_HTT, v_HTK)

    @staticmethod
    def backward(ctx: Any, grad_HTK: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q_HTK, k_HTK, v_HTK, weights_HTT = ctx.saved_tensors
        grad_v_HTK = torch.bmm(weights_HTT.transpose(1, 2), grad_HTK)
        grad_weights_HTT = torch.bmm(grad_HTK, v_HTK.transpose(1, 2))
        grad_scores_HTT = torch.ops.aten._softmax_backward_data(grad_weights_HTT, weights_HTT, -1, weights_HTT.dtype)
        grad_scores_HTT.mul_(ctx.scale)
        grad_q_HTK = torch.bmm(grad_scores_HTT, k_HTK)
        grad_k_HTK = torch.bmm(grad_scores_HTT.transpose(1, 2), q_HTK)
        return grad_q_HTK, grad_k_HTK, grad_v_HTK, None, None


def causal_attention(q_HTK: Tensor, k_HTK: Tensor, v_HTK: Tensor, mask_TT: Tensor, scale: float) -> Tensor:
    """softmax(scale q k' + mask) v by explicit matrix products; on a GPU torch's fused kernel instead.

    On a CPU the fused kernel is no faster in fp32 at these sizes, and its backward in bf16 takes most of a step.
    """
    if q_HTK.is_cuda:
        return functional.scaled_dot_product_attention(q_HTK, k_HTK, v_HTK, is_causal=True, scale=scale)
    return cast(Tensor, _Attention.apply(q_HTK, k_HTK, v_HTK, mask_TT, scale))  # type: ignore[no-untyped-call]


class _LinearCrossEntropy(Function):
    @staticmethod
    def forward(ctx: Any, x_nD: Tensor, head_DV: Tensor, targets_n: Tensor) -> Tensor:
        log_probs_nV = torch.log_softmax((x_nD @ head_DV).float(), -1)
        loss = log_probs_nV.gather(1, targets_n[:, None]).sum().neg_()
        if any(ctx.needs_input_grad):
            grad_nV = log_probs_nV.exp_()
            grad_nV.scatter_add_(1, targets_n[:, None], grad_nV.new_full((1, 1), -1.0).expand(len(targets_n), 1))
            grad_nV = grad_nV.to(x_nD.dtype)
            ctx.save_for_backward(grad_nV @ head_DV.t(), x_nD.t() @ grad_nV)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_x_nD, grad_head_DV = ctx.saved_tensors
        return grad_x_nD * grad, grad_head_DV * grad, None


def linear_cross_entropy(x_nD: Tensor, head_DV: Tensor, targets_n: Tensor) -> Tensor:
    """Sum of -log softmax(x head) at the targets; its gradients are made on the way forward."""
    return cast(Tensor, _LinearCrossEntropy.apply(x_nD, head_DV, targets_n))  # type: ignore[no-untyped-call]


def rotary_table(context: int, head_size: int, base: float) -> Tensor:
    """Rotations of queries, keys and values (these by nothing) as unit complex numbers, shape (T, 3, 1, K/2).

    Su et al. 2021 (arXiv:2104.09864); neighbouring coordinates form a pair.
    """
    pairs = torch.arange(head_size // 2, dtype=torch.float64)
    angles = torch.arange(context, dtype=torch.float64)[:, None] * base ** (-2 * pairs / head_size)
    turned = torch.polar(torch.ones_like(angles), angles)
    return torch.stack([turned, turned, torch.ones_like(turned)], 1)[:, :, None].to(torch.complex64)


def causal_mask(context: int) -> Tensor:
    """0 where a query may look and -inf where it may not, shape (T, T)."""
    return torch.full((context, context), -math.inf).triu(1)
