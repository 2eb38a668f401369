"""A plain GPT in torch.nn with exactly the matrices that isoflop counts for its transformers, so that N means the same.

No biases, norms without gains, sinusoidal positions: everything that is stored is a matrix of the blocks, the embedding
or the head. A model with more parameters than the spec says would stand at the wrong N.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm."""

    def __init__(self, width: int, heads: int, ffn_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, ffn_width, bias=False)
        self.down = nn.Linear(ffn_width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """From the residual stream (B, T, D) to the next."""
        B, T, D = x.shape
        q, k, v = (part.view(B, T, self.heads, -1).transpose(1, 2) for part in self.qkv(_norm(x)).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(B, T, D))
        return x + self.down(F.gelu(self.up(_norm(x))))


class GPT(nn.Module):
    """A decoder-only transformer of a spec's shape."""

    def __init__(self, shape: dict[str, Any]) -> None:
        """Build it.

        Args:
            shape: The `model` of a spec, as JSON has it.
        """
        super().__init__()
        if shape.get("activation", "gelu") != "gelu" or shape.get("tied_head") or "kind" in shape:
            raise ValueError(f"model is {shape}; expected gelu and a head of its own. Set them in the sweep file.")
        width = shape["width"]
        self.embedding = nn.Embedding(shape["vocab"], width)
        self.blocks = nn.ModuleList(Block(width, shape["heads"], shape["ffn_width"]) for _ in range(shape["layers"]))
        self.head = nn.Linear(width, shape["vocab"], bias=False)
        self.register_buffer("positions", _positions(shape["context"], width), persistent=False)
        for matrix in self.parameters():
            nn.init.normal_(matrix, std=1 / math.sqrt(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, T, V) of the token after each."""
        x = self.embedding(tokens) * math.sqrt(self.embedding.embedding_dim) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(_norm(x))

    def loss(self, windows: Tensor) -> Tensor:
        """Mean loss of windows of T + 1 tokens, nats per token."""
        logits = self(windows[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def _norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:])


def _positions(context: int, width: int) -> Tensor:
    angles = torch.arange(context)[:, None] / 100 ** (torch.arange(0, width, 2) / width)
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]


def heldout_loss(model: GPT, text: Any, context: int, tokens: int) -> float:
    """Mean loss over the first `tokens` held-out tokens, in whole windows: the same ones for every run."""
    count = min(tokens, len(text) - 1) // context
    total = 0.0
    with torch.no_grad():
        for first in range(0, count, 64):
            starts = range(first, min(first + 64, count))
            windows = torch.stack([torch.tensor(text[s * context : (s + 1) * context + 1]).long() for s in starts])
            total += float(model.loss(windows)) * len(windows)
    return total / count
