"""The model's operations in plain torch, and the constant tables that they need.

Legend: B batch, T context, n = B x T tokens, D width, N heads, K head size, M heads of keys, G = N / M queries that share
one, R = G + 2 rows of M heads (queries, keys, values), H = B x M, P = R x M x K columns of their projection.
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


def attention_scores(q_HTK: Tensor, k_HTK: Tensor, mask_TT: Tensor) -> Tensor:
    """Scores q k' + mask of queries that are scaled already, shape (H, G T, T)."""
    return torch.bmm(q_HTK, k_HTK.transpose(1, 2)).add_(mask_TT)


def causal_attention(q_HTK: Tensor, k_HTK: Tensor, v_HTK: Tensor, mask_TT: Tensor) -> Tensor:
    """Attention of queries that are scaled already: by explicit products on a CPU, by torch's fused kernel on a GPU.

    On a CPU the fused kernel is no faster in fp32 at these sizes, and its backward in bf16 takes most of a step.
    """
    if q_HTK.is_cuda:
        return fused_attention(q_HTK, k_HTK, v_HTK)
    return torch.bmm(torch.softmax(attention_scores(q_HTK, k_HTK, mask_TT), -1), v_HTK)


def fused_attention(q_HTK: Tensor, k_HTK: Tensor, v_HTK: Tensor) -> Tensor:
    """The same by torch's fused kernel, which wants a key for every query."""
    G = q_HTK.shape[1] // k_HTK.shape[1]
    each_k, each_v = (x_HTK.repeat_interleave(G, 0) for x_HTK in (k_HTK, v_HTK))
    q = q_HTK.reshape(each_k.shape)
    mixed = functional.scaled_dot_product_attention(q, each_k, each_v, is_causal=True, scale=1.0)
    return mixed.reshape(q_HTK.shape)


def queries_keys_values(
    qkv_nP: Tensor, rotary: Tensor | None, *, context: int, groups: int, key_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, shape (H, G T, K), keys and values, each of shape (H, T, K); turned by position where there is a table.

    The G queries that share a key lie one after another, so that one product serves them all.
    """
    x_BTRMK = qkv_nP.view(-1, context, groups + 2, key_heads, qkv_nP.shape[-1] // ((groups + 2) * key_heads))
    if rotary is not None:
        x_BTRMK = turn(x_BTRMK, rotary)
    q_HTK, k_HTK, v_HTK = (split_heads(x_BTGMK) for x_BTGMK in torch.split(x_BTRMK, [groups, 1, 1], 2))
    return q_HTK, k_HTK, v_HTK


def turn(x_BTRMK: Tensor, rotary: Tensor) -> Tensor:
    """Multiply neighbouring pairs of coordinates by complex numbers."""
    if not rotary.is_complex():
        return _turn_in_reals(x_BTRMK, rotary)
    pairs = torch.view_as_complex(x_BTRMK.float().view(*x_BTRMK.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rotary).flatten(-2).to(x_BTRMK.dtype)


def _turn_in_reals(x_BTRMK: Tensor, rotary: Tensor) -> Tensor:
    even, odd = x_BTRMK.float().view(*x_BTRMK.shape[:-1], -1, 2).unbind(-1)
    cos, sin = rotary.unbind(-1)
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1)
    return turned.flatten(-2).to(x_BTRMK.dtype)


def split_heads(x_BTGMK: Tensor) -> Tensor:
    """Heads of keys beside the batch, the queries of each in a row, shape (H, G T, K)."""
    B, T, G, M, K = x_BTGMK.shape
    return x_BTGMK.permute(0, 3, 2, 1, 4).reshape(B * M, G * T, K)


def join_heads(x_HTK: Tensor, *, context: int, key_heads: int) -> Tensor:
    """Inverse of `split_heads`, shape (B, T, G, M, K)."""
    H, rows, K = x_HTK.shape
    return x_HTK.view(H // key_heads, key_heads, rows // context, context, K).permute(0, 3, 2, 1, 4)


def rotary_table(context: int, head_size: int, base: float, groups: int = 1, query_scale: float = 1.0) -> Tensor:
    """Rotations of queries and keys, and of values by nothing, as complex numbers, shape (T, R, 1, K/2).

    Su et al. 2021 (arXiv:2104.09864); neighbouring coordinates form a pair. Those of queries have the length
    `query_scale`, so that scores need no factor of their own.
    """
    pairs = torch.arange(head_size // 2, dtype=torch.float64)
    angles = torch.arange(context, dtype=torch.float64)[:, None] * base ** (-2 * pairs / head_size)
    turned = torch.polar(torch.ones_like(angles), angles)
    rows = [turned * query_scale] * groups + [turned, torch.ones_like(turned)]
    return torch.stack(rows, 1)[:, :, None].to(torch.complex64)


def causal_mask(context: int, groups: int = 1) -> Tensor:
    """0 where a query may look and -inf where it may not, shape (G T, T)."""
    return torch.full((context, context), -math.inf).triu(1).repeat(groups, 1)
