"""Training batches as a pure function of (seed, step): the loader has no state to save.

An epoch cuts the text into windows of `context` tokens from a random offset on and visits them in a random order;
both are drawn from a hash of the seed and the epoch's number, by arithmetic that no library version changes.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, cast

import numpy as np

from trainer.errors import CorpusError

Tokens = np.ndarray[Any, np.dtype[np.uint8]]
Indices = np.ndarray[Any, np.dtype[np.int64]]


def windows_per_epoch(tokens: int, context: int) -> int:
    """Windows that fit whatever the epoch's offset.

    Raises:
        CorpusError: Not one.
    """
    windows = (tokens - context) // context
    if windows < 1:
        raise CorpusError(
            f"a context of {context} tokens does not fit into {tokens:,} training tokens; expected at least two "
            "windows. Use a shorter context or more text."
        )
    return windows


def batch(text: Tokens, *, seed: int, step: int, batch_contexts: int, context: int) -> Indices:
    """Tokens of one step, shape (batch_contexts, context + 1): inputs and, one further on, targets."""
    (tokens,) = batches(text, seed=seed, step=step, count=1, batch_contexts=batch_contexts, context=context)
    return cast(Indices, tokens)


def batches(text: Tokens, *, seed: int, step: int, count: int, batch_contexts: int, context: int) -> Indices:
    """Tokens of `count` steps from `step` on, shape (count, batch_contexts, context + 1)."""
    windows = windows_per_epoch(len(text), context)
    positions = np.arange(step * batch_contexts, (step + count) * batch_contexts)
    epochs = positions // windows
    starts = np.empty_like(positions)
    for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
        here = epochs == epoch
        order, offset = _epoch(seed, epoch, windows, context)
        starts[here] = order[positions[here] % windows] * context + offset
    tokens: Indices = text[starts[:, None] + np.arange(context + 1)].astype(np.int64)
    return tokens.reshape(count, batch_contexts, context + 1)


@lru_cache(maxsize=2)
def _epoch(seed: int, epoch: int, windows: int, context: int) -> tuple[Indices, int]:
    """Order of windows and offset of the first: the windows sorted by a keyed hash (SplitMix64's finaliser)."""
    key = hashlib.sha256(f"isoflop batches {seed} {epoch}".encode()).digest()
    mixed = np.arange(windows, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed += np.uint64(int.from_bytes(key[:8], "little"))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    order: Indices = np.argsort(mixed, kind="stable")
    return order, int.from_bytes(key[8:16], "little") % context
