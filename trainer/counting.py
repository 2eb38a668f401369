"""Parameter and FLOP counts of a model shape, each under a named convention.

A count means nothing without its convention: the exponent of N*(C) differs by .17 between counting blocks alone and
counting blocks and head at small sizes (Porian et al. 2024, arXiv:2406.19146, find the same cause for Kaplan against
Chinchilla).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from trainer.spec import Transformer

ParamConvention = Literal["blocks+head", "blocks", "total"]
FlopsRule = Literal["exact", "exact-causal", "6nd"]

PARAM_CONVENTIONS: tuple[ParamConvention, ...] = get_args(ParamConvention)
FLOPS_RULES: tuple[FlopsRule, ...] = get_args(FlopsRule)


@dataclass(frozen=True, kw_only=True)
class ParamCounts:
    """Parameters of a model by part.

    Attributes:
        body: Matrices of the blocks.
        embedding: Token embedding.
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
        return self.total


def count_params(shape: Transformer) -> ParamCounts:
    """Count the parameters of `shape`; RMSNorm has no gains and nothing has a bias, so matrices are all there is."""
    ffn_matrices = 3 if shape.activation == "swiglu" else 2
    body = shape.layers * (4 * shape.width**2 + ffn_matrices * shape.width * shape.ffn_width)
    embedding = shape.vocab * shape.width
    head = shape.vocab * shape.width
    stored_head = 0 if shape.tied_head else head
    return ParamCounts(
        body=body, embedding=embedding, head=head, active=body + head, total=body + embedding + stored_head
    )


def flops_per_token(shape: Transformer, rule: FlopsRule, convention: ParamConvention = "blocks+head") -> int:
    """Training FLOPs per token: forward plus a backward of twice the forward, without recomputation.

    `exact` is 6 x (body + head) + 12 L d T: two FLOPs per multiply-accumulate of every matrix product, attention
    scores and their application included over the full T x T square; the embedding look-up counts 0. `exact-causal`
    counts the lower half of the square, 6 L d T. `6nd` is 6 N with N under `convention`, the approximation of most
    published laws. Norms, rotations, activations, the softmax and the optimiser are left out, as in PaLM's appendix B
    (arXiv:2204.02311).
    """
    counts = count_params(shape)
    if rule == "6nd":
        return 6 * counts.under(convention)
    attention = 12 * shape.layers * shape.width * shape.context
    if rule == "exact-causal":
        attention //= 2
    return 6 * (counts.body + counts.head) + attention
