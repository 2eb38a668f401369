"""Which source every training window comes from, as a pure function of (seed, position).

Position p of a run takes the number (key + p·G) mod 2^64 with an odd G near 2^64 / golden ratio (a Weyl sequence), and
the source whose stretch of [0, 2^64), as long as its weight, holds that number. So every stretch of a run has each
source in its share to within a window or two, and how often a source came up before p is a sum of floors, which Euclid's
algorithm gives without going through the run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

SPAN = 1 << 64
GOLDEN = 0x9E3779B97F4A7C15

Indices = np.ndarray[Any, np.dtype[np.int64]]


def assign(weights: Sequence[float], *, seed: int, first: int, count: int) -> tuple[Indices, Indices]:
    """The source of each of `count` positions from `first` on, and how often that source came up before it.

    Args:
        weights: Share of each source; positive, adding up to 1.
        seed: Seed of the run.
        first: First position.
        count: Positions.

    Returns:
        Number of the source, and its rank among the source's own positions, each of shape (count,).
    """
    ends = _ends(weights)
    key = int.from_bytes(hashlib.sha256(f"isoflop mixture {seed}".encode()).digest()[:8], "little")
    numbers = np.arange(first, first + count, dtype=np.uint64) * np.uint64(GOLDEN) + np.uint64(key)
    sources = np.searchsorted(np.array(ends[:-1], np.uint64), numbers, side="right")
    below = [0, *(_count_below(end, key, first) for end in ends)]
    ranks = np.empty(count, np.int64)
    for source in range(len(weights)):
        here = sources == source
        ranks[here] = below[source + 1] - below[source] + np.arange(int(here.sum()))
    return sources, ranks


def _ends(weights: Sequence[float]) -> list[int]:
    """Where each source's stretch ends."""
    total, sums = 0.0, []
    for weight in weights:
        total += weight
        sums.append(total)
    return [*(int(value / total * SPAN) for value in sums[:-1]), SPAN]


def _count_below(end: int, key: int, count: int) -> int:
    """How many of the first `count` numbers lie below `end`."""
    return _floor_sum(count, GOLDEN, key) - _floor_sum(count, GOLDEN, key - end + SPAN) + count


def _floor_sum(count: int, slope: int, offset: int) -> int:
    """Sum over i < count of floor((slope·i + offset) / SPAN), by Euclid's algorithm (Knuth, TAOCP 1, ex. 1.2.4-37)."""
    total, modulus = 0, SPAN
    while True:
        total += count * (count - 1) // 2 * (slope // modulus) + count * (offset // modulus)
        slope, offset = slope % modulus, offset % modulus
        reach = slope * count + offset
        if reach < modulus:
            return total
        count, offset = divmod(reach, modulus)
        slope, modulus = modulus, slope
