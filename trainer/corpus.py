"""Corpus snapshots: raw bytes in three splits that share no near-duplicates, identified by a hash of their content.

A snapshot folder holds `train.bin`, `heldout.bin` (for scores that are reported), `tuning.bin` (for scores that choose
a recipe) and `manifest.json`. Tokens are bytes. Each document ends with one zero byte, which belongs to it.

Two machines with the same files make the same snapshot, wherever the files lie (see `trainer.splitting`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.errors import CorpusError
from trainer.sources import Source, describe, estimate
from trainer.splitting import DOCUMENT_CAP, HELDOUT_SHARE, SPLITS, documents, excerpt, split

if TYPE_CHECKING:
    import numpy as np

    Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]

__all__ = ["SPLITS", "Corpus", "Manifest", "Split", "estimate", "load", "read_manifest", "snapshot"]

FORMAT = 1
VOCAB = 256
LEAST_BYTES = 1 << 17
"""Smallest text: its held-out split then has a hundred windows of 64 tokens."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split of a snapshot.

    Attributes:
        bytes: Size of its file.
        documents: Offsets where documents begin, in order; the first is 0, and each ends where the next begins.
        names: Name within the source of each document.
    """

    bytes: int
    documents: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a snapshot holds.

    Attributes:
        hash: SHA-256 over the splits' bytes and document offsets: the corpus's identity.
        source: One line about where the text came from.
        licence: Licence of the text.
        python: Version of the Python that took the snapshot.
        vocab: Number of token ids.
        bytes_per_token: Bytes of text for each token.
        train: Split that is trained on.
        heldout: Split whose scores are reported.
        tuning: Split whose scores choose a recipe.
        withdrawn_bytes: Bytes in no split: the parts of long held-out documents beyond their cap.
        format: Version of this layout.
    """

    hash: str
    source: str
    licence: str
    python: str
    train: Split
    heldout: Split
    tuning: Split
    withdrawn_bytes: int
    vocab: int = VOCAB
    bytes_per_token: float = 1.0
    format: int = FORMAT


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A snapshot that was opened and checked.

    Attributes:
        manifest: What it holds.
        train: Bytes of the training split, memory-mapped.
        heldout: Bytes of the held-out split.
        tuning: Bytes of the tuning split.
    """

    manifest: Manifest
    train: Bytes
    heldout: Bytes
    tuning: Bytes


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
    train, heldout, tuning = (_describe_split(parts[name]) for name in SPLITS)
    about, licence = describe(source)
    manifest = Manifest(
        hash=_content_hash(
            [(contents[n], part.documents) for n, part in zip(SPLITS, (train, heldout, tuning), strict=True)]
        ),
        source=about,
        licence=licence,
        python=platform.python_version(),
        train=train,
        heldout=heldout,
        tuning=tuning,
        withdrawn_bytes=total - sum(len(text) for name in SPLITS for _, text in parts[name]),
    )
    _write(folder, manifest, contents)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a snapshot, its bytes unchecked.

    Raises:
        CorpusError: There is none, or it is torn or of another format.
    """
    path = Path(folder) / "manifest.json"
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        if values["format"] != FORMAT:
            raise CorpusError(f"{path} has format {values['format']}; expected {FORMAT}. Take the snapshot again.")
        return Manifest(**values | {name: _read_split(values[name]) for name in SPLITS})
    except FileNotFoundError:
        raise CorpusError(f"no corpus in {folder}; expected a manifest.json. Take a snapshot first.") from None
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise CorpusError(
            f"{path} is torn ({error}); expected a manifest. Delete the folder and take the snapshot again."
        ) from None


def load(folder: Path, *, expect: str | None = None) -> Corpus:
    """Open a snapshot and check its bytes against its hash; once per process and state of the files.

    Args:
        folder: Where the snapshot lies.
        expect: Hash that the corpus must have.

    Raises:
        CorpusError: There is no snapshot, it is torn or was changed, or it is not the one expected.
    """
    folder = Path(folder).resolve()
    manifest = read_manifest(folder)
    if expect is not None and manifest.hash != expect:
        raise CorpusError(
            f"the corpus in {folder} has hash {manifest.hash[:12]}; the run expects {expect[:12]}. "
            "Point the run at its own store's corpus, or plan the sweep anew for this text."
        )
    return _open(folder, manifest, tuple(_state(folder / f"{name}.bin") for name in SPLITS))


@lru_cache(maxsize=8)
def _open(folder: Path, manifest: Manifest, states: tuple[tuple[int, int], ...]) -> Corpus:
    import numpy as np

    for name, (size, _) in zip(SPLITS, states, strict=True):
        if size != getattr(manifest, name).bytes:
            raise CorpusError(
                f"{folder / name}.bin has {size:,} bytes; expected {getattr(manifest, name).bytes:,}. "
                "It is torn: delete the folder and take the snapshot again."
            )
    arrays = {name: np.memmap(folder / f"{name}.bin", np.uint8, mode="r") for name in SPLITS}
    found = _content_hash([(arrays[name], getattr(manifest, name).documents) for name in SPLITS])
    if found != manifest.hash:
        raise CorpusError(
            f"the bytes in {folder} have hash {found[:12]}; its manifest says {manifest.hash[:12]}. "
            "They were changed after the snapshot: delete the folder and take it again."
        )
    return Corpus(manifest=manifest, **arrays)


def _state(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except FileNotFoundError:
        raise CorpusError(
            f"{path} is not there; expected a split. Delete the folder and take the snapshot again."
        ) from None
    return state.st_size, state.st_mtime_ns


def _read_split(values: dict[str, Any]) -> Split:
    return Split(bytes=values["bytes"], documents=tuple(values["documents"]), names=tuple(values["names"]))


def _describe_split(parts: Sequence[tuple[str, bytes]]) -> Split:
    offsets = [0]
    for _, text in parts:
        offsets.append(offsets[-1] + len(text) + 1)
    return Split(bytes=offsets[-1], documents=tuple(offsets[:-1]), names=tuple(name for name, _ in parts))


def _content_hash(splits: Sequence[tuple[Any, tuple[int, ...]]]) -> str:
    digest = hashlib.sha256(f"isoflop corpus {FORMAT}".encode())
    for content, offsets in splits:
        digest.update(json.dumps([len(content), offsets]).encode())
        digest.update(content)
    return digest.hexdigest()


def _write(folder: Path, manifest: Manifest, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "manifest.json").exists() and read_manifest(folder).hash != manifest.hash:
        raise CorpusError(f"{folder} holds another corpus; a snapshot never replaces one. Choose another folder.")
    text = json.dumps(dataclasses.asdict(manifest), indent=1, sort_keys=True)
    for name, content in [*((f"{name}.bin", contents[name]) for name in SPLITS), ("manifest.json", text.encode())]:
        temporary = folder / f".{name}.{os.getpid()}"
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / name)
