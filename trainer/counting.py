"""Parameter and FLOP counts of a model shape, each under a named convention.

A count means nothing without its convention: the exponent of N*(C) differs by .17 between counting blocks alone and
counting blocks and head at small sizes (Porian et al. 2024, arXiv:2406.19146, find the same cause for Kaplan against
Chinchilla).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal, get_args

from trainer.spec import LSTM, Shape, Transformer

ParamConvention = Literal["blocks+head", "blocks", "total", "active"]
FlopsRule = Literal["exact", "exact-causal", "6nd"]

PARAM_CONVENTIONS: tuple[ParamConvention, ...] = get_args(ParamConvention)
FLOPS_RULES: tuple[FlopsRule, ...] = get_args(FlopsRule)


@dataclass(frozen=True, kw_only=True)
class ParamCounts:
    """Parameters of a model by part.

    Attributes:
        body: Matrices of the blocks, all experts of a mixture among them.
        embedding: Token embedding, and that of positions where they are learned.
        head: Output matrix; with a tied head the embedding, counted once more here and once in `total`.
        active: Parameters that one token's forward pass uses in a matrix product (a mixture of experts has fewer than
            it stores).
        total: Everything that is stored, once.
    """

    body: int
    embedding: int
    head: int
    active: int
    total: int

    def under(self, convention: ParamConvention) -> int:
        """N under `convention`."""
        if convention == "blocks+head":
            return self.body + self.head
        if convention == "blocks":
            return self.body
        return self.active if convention == "active" else self.total


@functools.cache  # a sweep of ten thousand runs has some tens of shapes
def count_params(shape: Shape) -> ParamCounts:
    """Count the parameters of `shape`; norms have no gains and nothing has a bias, so matrices are all there is."""
    body, unused = _lstm_body(shape) if isinstance(shape, LSTM) else _transformer_body(shape)
    head = shape.vocab * shape.width
    positions = shape.context if isinstance(shape, Transformer) and shape.positions == "learned" else 0
    embedding = head + positions * shape.width
    stored_head = 0 if shape.tied_head else head
    return ParamCounts(
        body=body,
        embedding=embedding,
        head=head,
        active=body - unused + head,
        total=body + embedding + stored_head,
    )


def _transformer_body(shape: Transformer) -> tuple[int, int]:
    """Parameters of the blocks, and those of them that a token does not meet."""
    attention = 2 * shape.width * (shape.width + shape.key_heads * shape.head_size)
    expert = (3 if shape.activation == "swiglu" else 2) * shape.width * shape.ffn_width
    router = shape.width * shape.experts if shape.experts > 1 else 0
    block = attention + shape.experts * expert + router
    return shape.layers * block, shape.layers * (shape.experts - shape.active_experts) * expert


def _lstm_body(shape: LSTM) -> tuple[int, int]:
    """Four gates of each layer, from the layer below and from the state; a token meets them all."""
    return shape.layers * 8 * shape.width**2, 0


@functools.cache
def flops_per_token(shape: Shape, rule: FlopsRule, convention: ParamConvention = "blocks+head") -> int:
    """Training FLOPs per token: forward plus a backward of twice the forward, without recomputation.

    `exact` is 6 x active + 12 L d T: two FLOPs per multiply-accumulate of every matrix product, attention scores and
    their application included over the full T x T square (whatever heads share keys); the embedding look-up counts 0,
    and so do the experts that a token does not go through. An LSTM has no attention; the product with its first state,
    which is zero, counts. `exact-causal` counts the lower half of the square, 6 L d T. `6nd` is 6 N with N under
    `convention`, the approximation of most published laws. Norms, rotations, gates, activations, the softmax and the
    optimiser are left out, as in PaLM's appendix B (arXiv:2204.02311).
    """
    counts = count_params(shape)
    if rule == "6nd":
        return 6 * counts.under(convention)
    attention = 12 * shape.layers * shape.width * shape.context if isinstance(shape, Transformer) else 0
    if rule == "exact-causal":
        attention //= 2
    return 6 * counts.active + attention
