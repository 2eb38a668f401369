"""Which shapes lie on a curve: those of its grid, or all that a sampler may choose among."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from orchestrator.errors import SweepError
from orchestrator.sweep import Budget, Sizes, Sweep
from trainer import Shape, SpecError, count_params
from trainer.shapes import ShapeRule, nearest_shape

CANDIDATES = 61
"""Wanted sizes that a sampler's candidates are looked for at, evenly in log N (chosen: 5 % apart at a reach of 30)."""


def curve_shapes(sweep: Sweep, budget: Budget, vocab: int) -> list[Shape]:
    """Shapes of one curve in order of N, each once; several wanted sizes may fall on one shape.

    Raises:
        SweepError: A listed shape cannot exist, or no shape is near a wanted size.
    """
    sizes = budget.sizes or sweep.sizes
    assert sizes is not None
    rule = shape_rule(sweep, vocab)
    convention = sweep.counting.params
    try:
        if sizes.shapes is not None:
            shapes = [rule.shape(listed.width, listed.layers) for listed in sizes.shapes]
        else:
            shapes = [nearest_shape(params, rule, convention) for params in _wanted_params(sizes, budget.flops)]
    except SpecError as error:
        raise SweepError(f"budget {budget.flops:g}: {error}") from None
    return sorted(dict.fromkeys(shapes), key=lambda shape: (count_params(shape).under(convention), shape.width))


def candidate_shapes(sweep: Sweep, budget: Budget, vocab: int) -> list[Shape]:
    """Shapes that a sampler may choose among on one curve, in order of N.

    Listed shapes are taken as they are; a range is filled with the shapes that exist in it, and so is the neighbourhood
    of an expected optimum, out to `sampling.reach`.

    Raises:
        SweepError: See `curve_shapes`.
    """
    sizes = budget.sizes or sweep.sizes
    assert sizes is not None
    if sizes.shapes is not None:
        return curve_shapes(sweep, budget, vocab)
    if sizes.range is not None:
        low, high = sizes.range.min, sizes.range.max
    else:
        assert sizes.around is not None
        around = sizes.around
        reach = max(sweep.sampling.reach, around.factor)
        centre = around.params * (budget.flops / around.at) ** around.exponent
        low, high = centre / reach, centre * reach
    rule, convention = shape_rule(sweep, vocab), sweep.counting.params
    shapes = set()
    for index in range(CANDIDATES):
        with contextlib.suppress(SpecError):  # below the smallest shape there is
            shapes.add(nearest_shape(low * (high / low) ** (index / (CANDIDATES - 1)), rule, convention))
    return sorted(shapes, key=lambda shape: (count_params(shape).under(convention), shape.width))


def shape_rule(sweep: Sweep, vocab: int) -> ShapeRule:
    """The sweep's rule from N to a shape, for so many token ids."""
    return ShapeRule(vocab=vocab, **sweep.model.model_dump())


def _wanted_params(sizes: Sizes, flops: float) -> Iterator[float]:
    if sizes.range is not None:
        low, high, count = sizes.range.min, sizes.range.max, sizes.range.count
    else:
        around = sizes.around
        assert around is not None
        centre = around.params * (flops / around.at) ** around.exponent
        low, high, count = centre / around.factor, centre * around.factor, around.count
    for index in range(count):
        share = index / (count - 1) if count > 1 else 0.5
        yield low * (high / low) ** share
