"""From a wanted number of parameters to a shape that exists; what is reported is always the N that was realised."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trainer.counting import ParamConvention, count_params
from trainer.errors import SpecError
from trainer.spec import LSTM, Activation, Positions, Shape, Transformer

Family = Literal["transformer", "lstm"]


@dataclass(frozen=True, kw_only=True)
class ShapeRule:
    """How everything else about a model follows its width.

    Attributes:
        family: Kind of shape; an LSTM takes layers, width, head, vocabulary and context alone.
        layers: Fixed number of blocks; None takes `aspect_ratio`.
        aspect_ratio: Width over layers, where `layers` is None.
        head_size: Largest head size; narrower models have one head.
        kv_heads: Heads of keys and values, of which the heads are a multiple; None for as many as heads.
        width_multiple: Widths are multiples of this.
        ffn_ratio: Feed-forward width over width, of each expert (for SwiGLU 8/3 keeps the parameters of 4 with GELU).
        activation: Feed-forward non-linearity.
        positions: Where the network learns a token's place from.
        qk_norm: Whether queries and keys are normed.
        experts: Feed-forward parts of each block; 1 for no mixture.
        active_experts: Experts that each token goes through.
        tied_head: Whether the head is the embedding.
        vocab: Token ids.
        context: Tokens per window.
    """

    family: Family = "transformer"
    layers: int | None = None
    aspect_ratio: float = 64.0
    head_size: int = 64
    kv_heads: int | None = None
    width_multiple: int = 8
    ffn_ratio: float = 4.0
    activation: Activation = "gelu"
    positions: Positions = "rotary"
    qk_norm: bool = False
    experts: int = 1
    active_experts: int = 1
    tied_head: bool = False
    vocab: int = 256
    context: int = 64

    def shape(self, width: int, layers: int | None = None) -> Shape:
        """The shape of this width, with the rule's layers unless given.

        Raises:
            SpecError: No number of heads suits the width.
        """
        depth = layers or self.layers or max(1, round(width / self.aspect_ratio))
        if self.family == "lstm":
            return LSTM(layers=depth, width=width, vocab=self.vocab, context=self.context, tied_head=self.tied_head)
        heads = _heads(width, self.head_size, self.kv_heads or 1)
        return Transformer(
            layers=depth,
            width=width,
            heads=heads,
            kv_heads=None if self.kv_heads == heads else self.kv_heads,
            ffn_width=max(1, round(self.ffn_ratio * width)),
            vocab=self.vocab,
            context=self.context,
            activation=self.activation,
            positions=self.positions,
            qk_norm=self.qk_norm,
            experts=self.experts,
            active_experts=self.active_experts,
            tied_head=self.tied_head,
        )

    def fewest_heads(self, width: int) -> int:
        """Heads of a width that heads of the rule's size, or its heads of keys, divide."""
        multiple = self.kv_heads or 1
        return multiple * math.ceil(width / (self.head_size * multiple))


def _heads(width: int, head_size: int, multiple: int) -> int:
    """Fewest heads, a multiple of `multiple`, of an even size of at most `head_size` that divide `width`."""
    for heads in range(math.ceil(width / head_size), width // 2 + 1):
        if width % (2 * heads) == 0 and heads % multiple == 0:
            return heads
    if multiple > 1:
        raise SpecError(
            f"width {width} has no even head size up to {head_size} with a multiple of {multiple} heads "
            f"(model.kv_heads); expected a width that is a multiple of {2 * multiple}. "
            f"Set model.width_multiple: {2 * multiple}, or fewer model.kv_heads."
        )
    raise SpecError(
        f"width {width} has no even head size up to {head_size}; expected an even width. Use a multiple of 2."
    )


def _widths(rule: ShapeRule) -> Iterator[int]:
    width = rule.width_multiple
    while True:
        yield width
        width += rule.width_multiple * max(1, width // (64 * rule.width_multiple))


def nearest_shape(params: float, rule: ShapeRule, convention: ParamConvention) -> Shape:
    """The shape under `rule` whose N is nearest to `params` by ratio, of widths that heads of about the rule's size divide.

    Raises:
        SpecError: The smallest shape of the rule has more than twice the parameters.
    """
    best: tuple[float, Shape] | None = None
    for width in _widths(rule):
        shape = rule.shape(width)
        if isinstance(shape, Transformer) and shape.heads >= 2 * rule.fewest_heads(width):
            continue  # such as width 296, of which only 37 heads of 8 have an even size up to 64
        realised = count_params(shape).under(convention)
        distance = abs(math.log(realised / params))
        if best is None or distance < best[0]:
            best = (distance, shape)
        elif realised > params:
            break
    assert best is not None
    distance, shape = best
    if distance > math.log(2):
        realised = count_params(shape).under(convention)
        raise SpecError(
            f"no shape has about {params:.4g} parameters: the nearest has {realised:,} (width {shape.width}, "
            f"{shape.layers} "
            "layers); expected one within a factor of 2. Use larger sizes, or a smaller model.width_multiple."
        )
    return shape
