"""Which documents a corpus has, and which of them are held out.

Content alone decides: documents are ordered by their hash and gathered in groups of near-duplicates, and whole groups
go to the held-out split until it has its share, then to the tuning split, the rest to training.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from trainer.data.manifests import SPLITS
from trainer.data.near_duplicates import near_duplicate_groups
from trainer.data.sources import Source, TextFiles, files
from trainer.errors import CorpusError

HELDOUT_SHARE = 0.05
TUNING_SHARE = 0.025
DOCUMENT_CAP = 0.01
"""Largest share of the held-out bytes that one document may have; a longer one is cut to an excerpt."""
GROUP_CAP = 0.1
"""A group above this share of the held-out bytes is trained on: held out, most of it would be withdrawn by the cap."""
PIECES = 2000
"""With few files, each is cut into pieces of 1/2000 of the text, so that a hundred of them are held out."""
FEW_FILES = 500


def documents(source: Source) -> list[tuple[str, bytes]]:
    """Distinct documents, each with its name, in the order of their content's hash.

    Raises:
        CorpusError: A file is missing or cannot be read.
    """
    try:
        texts = [(name, path.read_bytes()) for name, path in files(source)]
    except OSError as error:
        raise CorpusError(
            f"cannot read {error.filename}: {error.strerror}. Make it readable, or leave it out."
        ) from None
    if isinstance(source, TextFiles) and len(texts) < FEW_FILES:
        limit = max(1, sum(len(text) for _, text in texts) // PIECES)
        texts = [(f"{name}:{start}", text[start:end]) for name, text in texts for start, end in pieces(text, limit)]
    distinct: dict[bytes, tuple[str, bytes]] = {}
    for name, text in texts:
        if text:
            distinct.setdefault(hashlib.sha256(text).digest(), (name, text))
    return [distinct[digest] for digest in sorted(distinct)]


def pieces(text: bytes, limit: int) -> Iterable[tuple[int, int]]:
    """Cut at the last line end before `limit` bytes where there is one, and at `limit` where there is none."""
    start = 0
    while start < len(text):
        end = min(start + limit, len(text))
        if end < len(text):
            end = text.rfind(b"\n", start, end) + 1 or end
        yield start, end
        start = end


def split(texts: Sequence[bytes], owners: Sequence[str] | None = None, *, least_cap: int = 0) -> dict[str, list[int]]:
    """Which documents go to which split, by whole groups of near-duplicates.

    Args:
        texts: Documents.
        owners: Source of each; every source then has its own held-out share, and a group that several sources have a
            part in is on one side in all of them.
        least_cap: Bytes that a held-out document may have whatever its share.

    Raises:
        CorpusError: The groups are too few or too large to hold any out.
    """
    owners = owners or [""] * len(texts)
    totals: Counter[str] = Counter()
    for owner, text in zip(owners, texts, strict=True):
        totals[owner] += len(text)
    groups: dict[int, list[int]] = {}
    for index, label in enumerate(near_duplicate_groups(texts)):
        groups.setdefault(label, []).append(index)
    chosen: dict[str, list[int]] = {name: [] for name in SPLITS}
    wanted = {
        "heldout": {owner: HELDOUT_SHARE * total for owner, total in totals.items()},
        "tuning": {owner: TUNING_SHARE * total for owner, total in totals.items()},
    }
    for group in groups.values():
        sizes: Counter[str] = Counter()
        for i in group:
            sizes[owners[i]] += len(texts[i])
        small = all(size <= GROUP_CAP * HELDOUT_SHARE * totals[owner] for owner, size in sizes.items())
        name = next((name for name in wanted if small and all(wanted[name][owner] > 0 for owner in sizes)), "train")
        chosen[name] += group
        if name in wanted:
            for i in group:
                cap = max(DOCUMENT_CAP * HELDOUT_SHARE * totals[owners[i]], least_cap)
                wanted[name][owners[i]] -= min(len(texts[i]), cap)
    trained = {owners[i] for i in chosen["train"]}
    for owner, total in totals.items():
        if max(wanted["heldout"][owner], wanted["tuning"][owner]) > 0 or owner not in trained:
            of_source = f" of source {owner}" if owner else ""
            raise CorpusError(
                f"{len(groups):,} groups of near-duplicate documents in {total:,} bytes{of_source} are too few or too "
                f"large; expected {HELDOUT_SHARE:.0%} of the bytes to hold out, no document above {DOCUMENT_CAP:.0%} "
                "of that. Add text, or remove what repeats."
            )
    return {name: sorted(indices) for name, indices in chosen.items()}


def excerpt(document: bytes, cap: int) -> bytes:
    """At most `cap` bytes from a place that the content's hash decides, from the start of a line where one is near."""
    if len(document) <= cap:
        return document
    start = int.from_bytes(hashlib.sha256(document).digest()[:8], "big") % (len(document) - cap + 1)
    line = document.rfind(b"\n", max(0, start - 200), start) + 1
    return document[line or start : (line or start) + cap]
