"""The model's operations in plain torch, and the constant tables that they need.

Legend: n tokens (batch x context), D width, V vocabulary, H batch x heads, T context, K head size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

NORM_EPSILON = 1e-5


def rms_norm(x_nD: Tensor) -> Tensor:
    """Divide x by sqrt(mean square + epsilon) (Zhang & Sennrich 2019, arXiv:1910.07467), without a gain."""
    return x_nD / (x_nD.square().mean(-1, keepdim=True) + NORM_EPSILON).sqrt()


def attention_weights(q_HTK: Tensor, k_HTK: Tensor, mask_TT: Tensor, scale: float) -> Tensor:
    """softmax(scale q k' + mask), shape (H, T, T)."""
    return torch.softmax(torch.baddbmm(mask_TT, q_HTK, k_HTK.transpose(1, 2), alpha=scale), -1)


def causal_attention(q_HTK: Tensor, k_HTK: Tensor, v_HTK: Tensor, mask_TT: Tensor, scale: float) -> Tensor:
    """Attention by explicit matrix products on a CPU, by torch's fused kernel on a GPU.

    On a CPU the fused kernel is no faster in fp32 at these sizes, and its backward in bf16 takes most of a step.
    """
    if q_HTK.is_cuda:
        return functional.scaled_dot_product_attention(q_HTK, k_HTK, v_HTK, is_causal=True, scale=scale)
    return torch.bmm(attention_weights(q_HTK, k_HTK, mask_TT, scale), v_HTK)


def rotate(qkv_n3D: Tensor, rotary: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values by head, each of shape (H, T, K); queries and keys turned by their position."""
    T, K = len(rotary), qkv_n3D.shape[-1] // (3 * heads)
    pairs_BT3NK = torch.view_as_complex(qkv_n3D.float().view(-1, T, 3, heads, K // 2, 2))
    turned_BT3NK = torch.view_as_real(pairs_BT3NK * rotary).flatten(-2).to(qkv_n3D.dtype)
    q_HTK, k_HTK, v_HTK = (split_heads(part_BTNK) for part_BTNK in turned_BT3NK.unbind(2))
    return q_HTK, k_HTK, v_HTK


def split_heads(x_BTNK: Tensor) -> Tensor:
    """Heads beside the batch, shape (H, T, K)."""
    B, T, N, K = x_BTNK.shape
    return x_BTNK.transpose(1, 2).reshape(B * N, T, K)


def merge_heads(x_HTK: Tensor, heads: int) -> Tensor:
    """Heads side by side in the width, shape (n, D)."""
    H, T, K = x_HTK.shape
    return x_HTK.view(H // heads, heads, T, K).transpose(1, 2).reshape(-1, heads * K)


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
