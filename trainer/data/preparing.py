"""From documents to a corpus of token shards: deduplicated, split, tokenised, and written with a manifest.

A corpus folder holds shards (`train-00000.bin`, ...; with several sources `NAME-train-00000.bin`, ...) in the format of
`trainer.data.shards`, and `manifest.json` with the vocabulary, the hash of every shard, document offsets, bytes of text,
sources, and how the split was made. The manifest is written last, and the folder gets its name once all is on disk.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.manifests import NAME, SHARDS, SPLITS, Manifest, Shard, SourceManifest, Split, shards_hash, to_json
from trainer.data.near_duplicates import near_copies
from trainer.data.shards import Tokens, write_shard
from trainer.data.splitting import DOCUMENT_CAP, FEW_FILES, HELDOUT_SHARE, PIECES, excerpt, pieces, split
from trainer.data.tokenizing import Tokenized, Tokenizer
from trainer.errors import CorpusError

FEWEST_PIECES = 1024
"""Sources with less text than this many pieces are cut into contiguous parts: drawn, a twentieth of them says little."""
CONTIGUOUS_SHARES = {"train": 0.8, "heldout": 0.135, "tuning": 0.065}
"""Parts of a small source, in its own order; chosen: a text of 7 kB then has a dozen held-out windows of 64 bytes."""
CONTIGUOUS_PIECES, CONTIGUOUS_LEAST_PIECE = 400, 256
"""A small source's documents: a 400th of it, between 256 bytes and the usual piece; chosen."""
LEAST_PIECE = 1024
"""Smallest piece, in bytes, that long documents are cut into where there are few; chosen: a context of 256 tokens fits."""
SHARD_TOKENS = 100_000_000
"""Tokens of a full shard, as llm.c's scripts write them."""
ENCODED_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True)
class Document:
    """A piece of text with a name.

    Attributes:
        source: Name of its source; empty where there is only one.
        name: Its name within the source.
        content: Its bytes; for `Tokenized` data its tokens', little-endian.
    """

    source: str
    name: str
    content: bytes


@dataclass(frozen=True, kw_only=True)
class SplitTokens:
    """A split before it is written: its documents' names and tokens, and the bytes of text that they stand for."""

    names: Sequence[str]
    tokens: Iterable[Tokens]
    text_bytes: int | None


def prepare(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    about: str,
    licence: str,
    notes: Mapping[str, Any],
    least_piece: int = LEAST_PIECE,
    shard_tokens: int = SHARD_TOKENS,
) -> Manifest:
    """Write a corpus of shards into `folder`, which must not exist; a killed preparation leaves no such folder.

    The same documents give the same corpus, whatever their order, but for sources too small to be drawn from.

    Args:
        documents: What to prepare; held in memory.
        tokenizer: From text to tokens.
        folder: Where the corpus is to be.
        about: One line about where the text came from.
        licence: Licence of the text.
        notes: What the manifest is to say of the preparation beside what this function finds.
        least_piece: Bytes of the smallest piece that long documents are cut into where a source has few.
        shard_tokens: Tokens of a full shard.

    Raises:
        CorpusError: No text, or text that cannot be split.
    """
    given = [document for document in documents if document.content]
    if not given:
        raise CorpusError(f"{about} holds no text; expected documents to train on. Name files that hold some.")
    unit = 2 if isinstance(tokenizer, Tokenized) else 1
    sizes = Counter[str]()
    for document in given:
        sizes[document.source] += len(document.content)
    small = {name for name, size in sizes.items() if size < FEWEST_PIECES * least_piece}
    cut = _cut([document for document in given if document.source not in small], sizes, least_piece, unit)
    kept, dropped = _without_copies(cut)
    parts = _split(kept, sizes, least_piece, unit)
    for source in sorted(small):
        _add_contiguous(parts, [one for one in given if one.source == source], least_piece, unit)
    remaining = sum(len(one.content) for name in SPLITS for one in parts[name])
    sources = {
        source: {name: _tokens([one for one in parts[name] if one.source == source], tokenizer) for name in SPLITS}
        for source in sorted(sizes)
    }
    found = {
        "documents": len(given),
        "duplicates": dropped["exact"],
        "near_copies": dropped["near"],
        "contiguous": sorted(small),
    }
    return write_corpus(
        folder,
        sources,
        vocab=tokenizer.vocab,
        tokenizer=tokenizer.name,
        about=about,
        licence=licence,
        withdrawn_bytes=sum(sizes.values()) - remaining - dropped["bytes"],
        notes={**notes, **found},
        shard_tokens=shard_tokens,
    )


def write_corpus(
    folder: Path,
    sources: Mapping[str, Mapping[str, SplitTokens]],
    *,
    vocab: int,
    tokenizer: str,
    about: str,
    licence: str,
    withdrawn_bytes: int = 0,
    notes: Mapping[str, Any] | None = None,
    chains: Mapping[str, tuple[tuple[str, float], ...]] | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> Manifest:
    """Write sources that are split and tokenised; see `prepare`."""
    folder = folder.expanduser().resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.parent / f".{folder.name}.partial-{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        written = []
        for source, parts in sources.items():
            prefix = f"{source}-" if source else ""
            train, heldout, tuning = (_write_split(staging, f"{prefix}{n}", parts[n], shard_tokens) for n in SPLITS)
            chain = (chains or {}).get(source)
            written.append(SourceManifest(name=source, train=train, heldout=heldout, tuning=tuning, chain=chain))
        manifest = Manifest(
            hash=shards_hash(vocab, tokenizer, tuple(written)),
            source=about,
            licence=licence,
            python=platform.python_version(),
            sources=tuple(written),
            withdrawn_bytes=withdrawn_bytes,
            vocab=vocab,
            tokenizer=tokenizer,
            format=SHARDS,
            notes=tuple(sorted((notes or {}).items())),
        )
        with (staging / NAME).open("w") as file:
            file.write(to_json(manifest))
            file.flush()
            os.fsync(file.fileno())
        _sync(staging)
        os.rename(staging, folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest


def unfinished(folder: Path) -> list[Path]:
    """What killed preparations of this folder left; those of processes that live are not among them."""
    folder = folder.expanduser().resolve()
    found = folder.parent.glob(f".{folder.name}.partial-*")
    return sorted(path for path in found if not _lives(int(path.name.rpartition("-")[2])))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _cut(documents: list[Document], sizes: Mapping[str, int], least_piece: int, unit: int) -> list[Document]:
    """Documents of sources that have few are cut into pieces, so that a hundred of them can be held out."""
    counts = Counter(document.source for document in documents)
    found = []
    for one in documents:
        limit = max(least_piece, sizes[one.source] // PIECES)
        few = counts[one.source] < FEW_FILES and len(one.content) > limit
        found += _pieces(one, limit, unit) if few else [one]
    return found


def _pieces(document: Document, limit: int, unit: int) -> list[Document]:
    text = document.content
    if unit == 1:
        ends = pieces(text, limit)
    else:
        limit -= limit % unit
        ends = ((start, start + limit) for start in range(0, len(text), limit))
    return [replace(document, name=f"{document.name}:{start}", content=text[start:end]) for start, end in ends]


def _without_copies(documents: Sequence[Document]) -> tuple[list[Document], dict[str, int]]:
    """Distinct documents in the order of their content's hash, and how many were left out."""
    distinct: dict[bytes, Document] = {}
    for one in documents:
        key = hashlib.sha256(one.content).digest()
        first = distinct.setdefault(key, one)
        if (one.source, one.name) < (first.source, first.name):
            distinct[key] = one
    kept = [distinct[digest] for digest in sorted(distinct)]
    copies = near_copies([one.content for one in kept]) if kept else set()
    found = [one for index, one in enumerate(kept) if index not in copies]
    lost = sum(len(one.content) for one in documents) - sum(len(one.content) for one in found)
    return found, {"exact": len(documents) - len(kept), "near": len(copies), "bytes": lost}


def _split(
    documents: Sequence[Document], sizes: Mapping[str, int], least_piece: int, unit: int
) -> dict[str, list[Document]]:
    """Documents by split; long held-out ones are cut to an excerpt."""
    if not documents:
        return {name: [] for name in SPLITS}
    texts, owners = [one.content for one in documents], [one.source for one in documents]
    chosen = split(texts, owners, least_cap=least_piece)
    parts = {name: [documents[index] for index in chosen[name]] for name in SPLITS}
    for name in ("heldout", "tuning"):
        parts[name] = [
            _excerpt(one, max(int(DOCUMENT_CAP * HELDOUT_SHARE * sizes[one.source]), least_piece), unit)
            for one in parts[name]
        ]
    return parts


def _excerpt(document: Document, cap: int, unit: int) -> Document:
    if unit == 1:
        return replace(document, content=excerpt(document.content, cap))
    return replace(document, content=document.content[: cap - cap % unit]) if len(document.content) > cap else document


def _add_contiguous(parts: dict[str, list[Document]], documents: list[Document], least_piece: int, unit: int) -> None:
    """A small source in its own order: its beginning to training, its end held out, each part in small documents."""
    total, position = sum(len(one.content) for one in documents), 0
    limit = max(unit, min(least_piece, max(CONTIGUOUS_LEAST_PIECE, total // CONTIGUOUS_PIECES)))
    bounds = np.cumsum([CONTIGUOUS_SHARES[name] * total for name in SPLITS])
    for document in documents:
        for piece in _pieces(document, limit, unit):
            middle = position + len(piece.content) / 2
            name = SPLITS[min(int(np.searchsorted(bounds, middle)), len(SPLITS) - 1)]
            parts[name].append(piece)
            position += len(piece.content)


def _tokens(documents: list[Document], tokenizer: Tokenizer) -> SplitTokens:
    sizes = [tokenizer.text_bytes(one.content) for one in documents]
    known = [size for size in sizes if size is not None]
    return SplitTokens(
        names=[one.name for one in documents],
        tokens=_encoded(documents, tokenizer),
        text_bytes=sum(known) if len(known) == len(sizes) else None,
    )


def _encoded(documents: list[Document], tokenizer: Tokenizer) -> Iterable[Tokens]:
    for first in range(0, len(documents), ENCODED_AT_ONCE):
        yield from tokenizer.encode([one.content for one in documents[first : first + ENCODED_AT_ONCE]])


def _write_split(folder: Path, name: str, part: SplitTokens, shard_tokens: int) -> Split:
    offsets, waiting, shards, written = [0], list[Tokens](), list[Shard](), 0

    def write() -> None:
        nonlocal written
        written = offsets[-1]
        tokens = np.concatenate([*waiting, np.empty(0, np.uint16)])
        file = f"{name}-{len(shards):05d}.bin"
        shards.append(Shard(file=file, tokens=len(tokens), sha256=write_shard(folder / file, tokens)))
        waiting.clear()

    for tokens in part.tokens:
        waiting.append(tokens)
        offsets.append(offsets[-1] + len(tokens))
        if offsets[-1] - written >= shard_tokens:
            write()
    if waiting or not shards:
        write()
    return Split(
        tokens=offsets[-1],
        documents=tuple(offsets[:-1]),
        names=tuple(part.names),
        text_bytes=part.text_bytes,
        shards=tuple(shards),
    )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
