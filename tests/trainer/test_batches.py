"""The order of the data as a pure function of (seed, step)."""

from __future__ import annotations

import numpy as np
import pytest

from trainer import CorpusError
from trainer.data.batches import batch, batches, windows_per_epoch

TEXT = (np.arange(1013) % 251).astype(np.uint8)
POSITION = np.arange(1013, dtype=np.int64)  # "tokens" that say where they come from


def test_a_batch_does_not_depend_on_how_it_is_reached() -> None:
    whole = batches(TEXT, seed=3, step=0, count=40, batch_contexts=3, context=16)
    assert whole.shape == (40, 3, 17)
    for step in (39, 0, 17):
        assert np.array_equal(whole[step], batch(TEXT, seed=3, step=step, batch_contexts=3, context=16))
    assert not np.array_equal(whole, batches(TEXT, seed=4, step=0, count=40, batch_contexts=3, context=16))


def test_an_epoch_visits_every_window_once_from_a_new_offset() -> None:
    windows = windows_per_epoch(len(POSITION), 16)
    tokens = batches(POSITION, seed=0, step=0, count=3 * windows, batch_contexts=1, context=16)[:, 0]  # type: ignore[arg-type]
    offsets = set()
    for epoch in range(3):
        starts = tokens[epoch * windows : (epoch + 1) * windows, 0]
        assert len(set((starts // 16).tolist())) == windows
        assert len(set((starts % 16).tolist())) == 1
        offsets.add(int(starts[0] % 16))
    assert len(offsets) > 1
    assert np.array_equal(tokens[:, 1:], tokens[:, :-1] + 1)


def test_order_is_fixed_for_ever() -> None:
    """A change here changes every loss: bump RECIPE_VERSION with it."""
    starts = batches(POSITION, seed=7, step=0, count=6, batch_contexts=1, context=16)[:, 0, 0]  # type: ignore[arg-type]
    assert starts.tolist() == FIRST_STARTS


def test_text_shorter_than_two_windows_is_refused() -> None:
    with pytest.raises(CorpusError, match="expected at least two windows"):
        windows_per_epoch(31, 16)


FIRST_STARTS = [263, 407, 967, 583, 39, 375]
