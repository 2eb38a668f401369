"""From a wanted N to a shape whose heads have about the size that was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from trainer import Transformer
from trainer.shapes import ShapeRule, nearest_shape


@pytest.mark.parametrize("head_size", [16, 64])
def test_automatic_widths_have_heads_of_about_the_rules_size(head_size: int) -> None:
    rule = ShapeRule(layers=1, head_size=head_size)
    for params in np.geomspace(1e4, 1e7, 60):
        shape = nearest_shape(params, rule, "blocks+head")
        assert isinstance(shape, Transformer)
        assert shape.heads < 2 * -(-shape.width // head_size)
    explicit = ShapeRule(layers=1).shape(296)  # what is asked for by its width is given
    assert isinstance(explicit, Transformer)
    assert explicit.heads == 37


def test_heads_that_keys_ask_for_are_not_too_many() -> None:
    rule = ShapeRule(layers=1, head_size=16, kv_heads=4)
    shape = nearest_shape(1e4, rule, "blocks+head")
    assert isinstance(shape, Transformer)
    assert (shape.width, shape.heads) == (24, 4)
