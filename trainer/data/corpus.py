"""Corpus snapshots: raw bytes in three splits that share no near-duplicates, identified by a hash of their content.

A snapshot folder holds `train.bin`, `heldout.bin` (for scores that are reported), `tuning.bin` (for scores that choose
a recipe) and `manifest.json`. Tokens are bytes. Each document ends with one zero byte, which belongs to it.

Two machines with the same files make the same snapshot, wherever the files lie (see `trainer.data.splitting`). `load` opens
such a snapshot, and token shards that `trainer.data.preparing` made.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.data.manifests import (
    BYTES,
    NAME,
    SPLITS,
    Manifest,
    Shard,
    SourceManifest,
    Split,
    read_manifest,
    shards_hash,
    to_json,
)
from trainer.data.sources import Source, describe, estimate
from trainer.data.splitting import DOCUMENT_CAP, HELDOUT_SHARE, documents, excerpt, split
from trainer.errors import CorpusError

if TYPE_CHECKING:
    import numpy as np

    Tokens = np.ndarray[Any, np.dtype[np.uint8] | np.dtype[np.uint16]]

__all__ = ["SPLITS", "Corpus", "Manifest", "OpenSource", "Split", "estimate", "load", "read_manifest", "snapshot"]

LEAST_BYTES = 1 << 17
"""Smallest text: its held-out split then has a hundred windows of 64 tokens."""


@dataclass(frozen=True, kw_only=True)
class OpenSource:
    """The tokens of one source, mapped into memory.

    Attributes:
        manifest: What it holds.
        train: Tokens of the training split.
        heldout: Tokens of the held-out split.
        tuning: Tokens of the tuning split.
    """

    manifest: SourceManifest
    train: Tokens
    heldout: Tokens
    tuning: Tokens

    @property
    def name(self) -> str:
        """Its name; empty for the only source of a plain snapshot."""
        return self.manifest.name

    def tokens(self, split: str) -> Tokens:
        """Tokens of a split by name."""
        found: Tokens = getattr(self, split)
        return found


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus that was opened and checked.

    Attributes:
        manifest: What it holds.
        sources: Its sources, in the order of the manifest.
    """

    manifest: Manifest
    sources: tuple[OpenSource, ...]

    @property
    def train(self) -> Tokens:
        """Training tokens of the first source."""
        return self.sources[0].train

    @property
    def heldout(self) -> Tokens:
        """Held-out tokens of the first source."""
        return self.sources[0].heldout

    @property
    def tuning(self) -> Tokens:
        """Tuning tokens of the first source."""
        return self.sources[0].tuning


def snapshot(source: Source, folder: Path) -> Manifest:
    """Write a snapshot of `source` into `folder`, which must not hold another corpus.

    Safe to repeat after a crash: `manifest.json` is written last, and the same source gives the same bytes.

    Raises:
        CorpusError: A file is missing, there is too little text, or the folder holds a different corpus.
    """
    named = documents(source)
    total = sum(len(text) for _, text in named)
    if total < LEAST_BYTES:
        raise CorpusError(
            f"{describe(source)[0]} holds {total:,} bytes of distinct text; expected at least {LEAST_BYTES:,}, "
            "so that a twentieth of it is enough to evaluate on. Add files."
        )
    chosen = split([text for _, text in named])
    cap = int(DOCUMENT_CAP * HELDOUT_SHARE * total)
    parts = {name: [named[i] for i in chosen[name]] for name in SPLITS}
    for name in ("heldout", "tuning"):
        parts[name] = [(document, excerpt(text, cap)) for document, text in parts[name]]
    contents = {name: b"".join(text + b"\0" for _, text in parts[name]) for name in SPLITS}
    train, heldout, tuning = (_describe_split(name, parts[name]) for name in SPLITS)
    about, licence = describe(source)
    manifest = Manifest(
        hash=_content_hash(
            [(contents[n], part.documents) for n, part in zip(SPLITS, (train, heldout, tuning), strict=True)]
        ),
        source=about,
        licence=licence,
        python=platform.python_version(),
        sources=(SourceManifest(name="", train=train, heldout=heldout, tuning=tuning),),
        withdrawn_bytes=total - sum(len(text) for name in SPLITS for _, text in parts[name]),
    )
    _write(folder, manifest, contents)
    return manifest


def load(folder: Path, *, expect: str | None = None) -> Corpus:
    """Open a corpus and check its tokens against its hash; once per process and state of the files.

    Args:
        folder: Where the corpus lies.
        expect: Hash that the corpus must have.

    Raises:
        CorpusError: There is no corpus, it is torn or was changed, or it is not the one expected.
    """
    folder = Path(folder).resolve()
    manifest = read_manifest(folder)
    if expect is not None and manifest.hash != expect:
        raise CorpusError(
            f"the corpus in {folder} has hash {manifest.hash[:12]}; the run expects {expect[:12]}. "
            "Point the run at its own store's corpus, or plan the sweep anew for this text."
        )
    return _open(folder, manifest.hash, tuple(_state(folder / shard.file) for shard in _shards(manifest)))


def check_tokens(corpus: Corpus) -> None:
    """Refuse tokens that the vocabulary does not have.

    Raises:
        CorpusError: A split has one.
    """
    from trainer.data.shards import largest_token

    for source in corpus.sources:
        for name in SPLITS:
            largest = largest_token(source.tokens(name))
            if largest >= corpus.manifest.vocab:
                at = f" of source {source.name}" if source.name else ""
                raise CorpusError(
                    f"the {name} split{at} has token {largest:,}; the vocabulary says {corpus.manifest.vocab:,} ids; "
                    "expected every token below that. Prepare the data again with the tokenizer's own vocabulary."
                )


def _shards(manifest: Manifest) -> list[Shard]:
    return [shard for source in manifest.sources for name in SPLITS for shard in source.split(name).shards]


@lru_cache(maxsize=8)
def _open(folder: Path, content_hash: str, states: tuple[tuple[int, int], ...]) -> Corpus:
    manifest = read_manifest(folder)
    return _open_bytes(folder, manifest) if manifest.format == BYTES else _open_shards(folder, manifest)


def _open_bytes(folder: Path, manifest: Manifest) -> Corpus:
    import numpy as np

    for name in SPLITS:
        size = (folder / f"{name}.bin").stat().st_size
        if size != manifest.sources[0].split(name).tokens:
            raise CorpusError(
                f"{folder / name}.bin has {size:,} bytes; expected {manifest.sources[0].split(name).tokens:,}. "
                "It is torn: delete the folder and take the snapshot again."
            )
    arrays = {name: np.memmap(folder / f"{name}.bin", np.uint8, mode="r") for name in SPLITS}
    found = _content_hash([(arrays[name], manifest.sources[0].split(name).documents) for name in SPLITS])
    if found != manifest.hash:
        raise _changed(folder, found, manifest.hash)
    return Corpus(manifest=manifest, sources=(OpenSource(manifest=manifest.sources[0], **arrays),))


def _open_shards(folder: Path, manifest: Manifest) -> Corpus:
    from trainer.data.shards import joined, read_shard

    found = shards_hash(manifest.vocab, manifest.tokenizer, manifest.sources)
    if found != manifest.hash:
        raise _changed(folder, found, manifest.hash)
    sources = []
    for source in manifest.sources:
        arrays = {}
        for name in SPLITS:
            shards = []
            for shard in source.split(name).shards:
                tokens = read_shard(folder / shard.file)
                digest = hashlib.sha256(tokens.data).hexdigest() if len(tokens) else shard.sha256
                if digest != shard.sha256 or len(tokens) != shard.tokens:
                    raise _changed(folder / shard.file, digest, shard.sha256)
                shards.append(tokens)
            arrays[name] = joined(shards)
        sources.append(OpenSource(manifest=source, **arrays))
    return Corpus(manifest=manifest, sources=tuple(sources))


def _changed(place: Path, found: str, expected: str) -> CorpusError:
    return CorpusError(
        f"the bytes in {place} have hash {found[:12]}; its manifest says {expected[:12]}. "
        "They were changed after the snapshot: delete the folder and take it again."
    )


def _state(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except FileNotFoundError:
        raise CorpusError(
            f"{path} is not there; expected a split. Delete the folder and take the snapshot again."
        ) from None
    return state.st_size, state.st_mtime_ns


def _describe_split(name: str, parts: Sequence[tuple[str, bytes]]) -> Split:
    offsets = [0]
    for _, text in parts:
        offsets.append(offsets[-1] + len(text) + 1)
    return Split(
        tokens=offsets[-1],
        documents=tuple(offsets[:-1]),
        names=tuple(name for name, _ in parts),
        text_bytes=offsets[-1],
        shards=(Shard(file=f"{name}.bin", tokens=offsets[-1]),),
    )


def _content_hash(splits: Sequence[tuple[Any, tuple[int, ...]]]) -> str:
    digest = hashlib.sha256(f"isoflop corpus {BYTES}".encode())
    for content, offsets in splits:
        digest.update(json.dumps([len(content), offsets]).encode())
        digest.update(content)
    return digest.hexdigest()


def _write(folder: Path, manifest: Manifest, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / NAME).exists() and read_manifest(folder).hash != manifest.hash:
        raise CorpusError(f"{folder} holds another corpus; a snapshot never replaces one. Choose another folder.")
    text = to_json(manifest)
    for name, content in [*((f"{name}.bin", contents[name]) for name in SPLITS), (NAME, text.encode())]:
        temporary = folder / f".{name}.{os.getpid()}"
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / name)
