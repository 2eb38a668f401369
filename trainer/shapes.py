"""From a wanted number of parameters to a shape that exists; what is reported is always the N that was realised."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from trainer.counting import ParamConvention, count_params
from trainer.errors import SpecError
from trainer.spec import Activation, Transformer


@dataclass(frozen=True, kw_only=True)
class ShapeRule:
    """How layers, heads and feed-forward width follow the width of a model.

    Attributes:
        layers: Fixed number of blocks; None takes `aspect_ratio`.
        aspect_ratio: Width over layers, where `layers` is None.
        head_size: Largest head size; narrower models have one head.
        width_multiple: Widths are multiples of this.
        ffn_ratio: Feed-forward width over width (for SwiGLU 8/3 keeps the parameters of 4 with GELU).
        activation: Feed-forward non-linearity.
        tied_head: Whether the head is the embedding.
        vocab: Token ids.
        context: Tokens per window.
    """

    layers: int | None = None
    aspect_ratio: float = 64.0
    head_size: int = 64
    width_multiple: int = 8
    ffn_ratio: float = 4.0
    activation: Activation = "gelu"
    tied_head: bool = False
    vocab: int = 256
    context: int = 64

    def shape(self, width: int, layers: int | None = None) -> Transformer:
        """The shape of this width, with the rule's layers unless given."""
        depth = layers or self.layers or max(1, round(width / self.aspect_ratio))
        return Transformer(
            layers=depth,
            width=width,
            heads=_heads(width, self.head_size),
            ffn_width=max(1, round(self.ffn_ratio * width)),
            vocab=self.vocab,
            context=self.context,
            activation=self.activation,
            tied_head=self.tied_head,
        )


def _heads(width: int, head_size: int) -> int:
    """Fewest heads of an even size of at most `head_size` that divide `width`."""
    for heads in range(math.ceil(width / head_size), width // 2 + 1):
        if width % (2 * heads) == 0:
            return heads
    raise SpecError(
        f"width {width} has no even head size up to {head_size}; expected an even width. Use a multiple of 2."
    )


def _widths(rule: ShapeRule) -> Iterator[int]:
    width = rule.width_multiple
    while True:
        yield width
        width += rule.width_multiple * max(1, width // (64 * rule.width_multiple))


def nearest_shape(params: float, rule: ShapeRule, convention: ParamConvention) -> Transformer:
    """The shape under `rule` whose N is nearest to `params` by ratio.

    Raises:
        SpecError: The smallest shape of the rule has more than twice the parameters.
    """
    best: tuple[float, Transformer] | None = None
    for width in _widths(rule):
        shape = rule.shape(width)
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
