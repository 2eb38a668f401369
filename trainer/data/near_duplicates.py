"""Groups of near-duplicate documents, so that none is trained on while its twin is held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]

SHINGLE_BYTES = 32
"""Length of a shingle; chosen: about one line of code, longer than an idiom."""
KEEP_ONE_IN = 16
"""Share of hashes that a sketch keeps, the same ones in every document (mod-p sketch, Broder 1997); chosen."""
SHARED = 0.4
"""Share of the smaller document's sketch that two near-duplicates have in common; chosen."""
COPIED = 0.8
"""Share of the larger document's sketch that a near-copy has, so that nothing is lost by leaving it out; chosen."""
LEAST_SKETCH = 8
"""Smallest sketch by which a document is called a near-copy; chosen."""
_NEIGHBOURS = 8
_ODD = 0x9E3779B97F4A7C15


def near_duplicate_groups(documents: Sequence[bytes]) -> list[int]:
    """Label each document with the lowest index in its group of near-duplicates.

    Documents that share at least `SHARED` of the smaller one's sketch are joined, transitively. A shingle that many
    documents have (a licence header) links each only to its next few, so the cost stays linear.

    Args:
        documents: Contents, in an order that does not depend on where they lie.

    Returns:
        One label per document.
    """
    import numpy as np

    first, second, shared, sizes = _alike(documents)
    close = shared >= SHARED * np.minimum(sizes[first], sizes[second])
    return _union(len(documents), zip(first[close].tolist(), second[close].tolist(), strict=True))


def near_copies(documents: Sequence[bytes]) -> set[int]:
    """Documents that may be left out, since one before them in the order has nearly all that they say.

    Two documents are copies that share at least `COPIED` of the larger one's sketch.
    """
    import numpy as np

    first, second, shared, sizes = _alike(documents)
    larger = np.maximum(sizes[first], sizes[second])
    close = (shared >= COPIED * larger) & (larger >= LEAST_SKETCH)
    copies: set[int] = set()
    for one, other in sorted(zip(first[close].tolist(), second[close].tolist(), strict=True)):
        low, high = sorted((one, other))
        if low not in copies:
            copies.add(high)
    return copies


def _alike(documents: Sequence[bytes]) -> tuple[Any, Any, Any, Any]:
    """Pairs of documents with the hashes that they share, and the size of every document's sketch."""
    import numpy as np

    sketches = [_sketch(document) for document in documents]
    sizes = np.array([len(sketch) for sketch in sketches])
    hashes = np.concatenate([*sketches, np.empty(0, np.uint64)])
    owners = np.repeat(np.arange(len(documents)), sizes)
    order = np.argsort(hashes, kind="stable")
    hashes, owners = hashes[order], owners[order]
    pairs = []
    for shift in range(1, _NEIGHBOURS + 1):
        equal = hashes[shift:] == hashes[:-shift]
        pairs.append(owners[:-shift][equal] * len(documents) + owners[shift:][equal])
    codes, shared = np.unique(np.concatenate(pairs), return_counts=True)
    return codes // max(len(documents), 1), codes % max(len(documents), 1), shared, sizes


def _sketch(document: bytes) -> Hashes:
    """Distinct hashes of the document's shingles, those kept that a fixed rule keeps everywhere."""
    import numpy as np

    count = len(document) - SHINGLE_BYTES + 1
    if count < 1:
        return np.empty(0, np.uint64)
    raw = np.frombuffer(document, np.uint8)
    words = np.lib.stride_tricks.as_strided(raw, (len(raw) - 7, 8), (1, 1))
    word = np.ascontiguousarray(words).view("<u8")[:, 0]
    hashed = np.zeros(count, np.uint64)
    for start in range(0, SHINGLE_BYTES, 8):
        hashed = (hashed ^ word[start : start + count]) * np.uint64(_ODD)
        hashed ^= hashed >> np.uint64(29)
    kept: Hashes = np.unique(hashed[hashed % np.uint64(KEEP_ONE_IN) == 0])
    return kept


def _union(count: int, pairs: zip[tuple[int, int]]) -> list[int]:
    """Union-find with the lowest index as root."""
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return [root(node) for node in range(count)]
