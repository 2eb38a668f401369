"""What a corpus folder says of itself: its `manifest.json`, of either format. Standard library only.

Format 1 is a snapshot of plain text as bytes, one file a split (see `trainer.data.corpus`). Format 2 is token shards of one
or several named sources (see `trainer.data.preparing`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from trainer.errors import CorpusError

SPLITS = ("train", "heldout", "tuning")
BYTES, SHARDS = 1, 2
"""The two formats."""
BYTES_VOCAB = 256
NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of tokens.

    Attributes:
        file: Its name within the folder.
        tokens: Tokens in it.
        sha256: Hash of its tokens; empty in format 1, where the corpus's own hash covers them.
    """

    file: str
    tokens: int
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split of a source.

    Attributes:
        tokens: Its size.
        documents: Offsets in tokens where documents begin, in order; the first is 0, and each ends where the next begins.
        names: Name within the source of each document.
        text_bytes: Bytes of text that the tokens stand for; None where that is not known.
        shards: Files that hold it, in order.
    """

    tokens: int
    documents: tuple[int, ...]
    names: tuple[str, ...]
    text_bytes: int | None
    shards: tuple[Shard, ...] = ()

    @property
    def bytes_per_token(self) -> float | None:
        """Bytes of text for each token, None where they are not known."""
        return None if self.text_bytes is None or not self.tokens else self.text_bytes / self.tokens

    @property
    def longest_document(self) -> int:
        """Tokens of the longest document."""
        ends = (*self.documents[1:], self.tokens)
        return max((end - begin for begin, end in zip(self.documents, ends, strict=True)), default=0)


@dataclass(frozen=True, kw_only=True)
class SourceManifest:
    """One source of a corpus: a kind of text that a mixture weighs, and whose loss is reported apart.

    Attributes:
        name: Its name; empty for the only source of a plain snapshot.
        train: Split that is trained on.
        heldout: Split whose scores are reported.
        tuning: Split whose scores choose a recipe.
        chain: Numbers of the Markov chain that a synthetic source was drawn from (see `trainer.data.synthetic`).
    """

    name: str
    train: Split
    heldout: Split
    tuning: Split
    chain: tuple[tuple[str, float], ...] | None = None

    def split(self, name: str) -> Split:
        """A split by name."""
        found: Split = getattr(self, name)
        return found


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a corpus folder holds.

    Attributes:
        hash: SHA-256 over the tokens and document offsets of all splits: the corpus's identity.
        source: One line about where the text came from.
        licence: Licence of the text.
        python: Version of the Python that made it.
        sources: Its sources, at least one.
        withdrawn_bytes: Bytes in no split: the parts of long held-out documents beyond their cap.
        vocab: Number of token ids.
        tokenizer: `bytes`, the SHA-256 of a tokenizer file, or another name that tells vocabularies apart.
        format: Version of the layout.
        notes: What else the preparation said: inputs, duplicates, how the split was made.
    """

    hash: str
    source: str
    licence: str
    python: str
    sources: tuple[SourceManifest, ...]
    withdrawn_bytes: int
    vocab: int = BYTES_VOCAB
    tokenizer: str = "bytes"
    format: int = BYTES
    notes: tuple[tuple[str, Any], ...] = ()

    @property
    def train(self) -> Split:
        """Training split of the first source."""
        return self.sources[0].train

    @property
    def heldout(self) -> Split:
        """Held-out split of the first source."""
        return self.sources[0].heldout

    @property
    def tuning(self) -> Split:
        """Tuning split of the first source."""
        return self.sources[0].tuning

    @property
    def bytes_per_token(self) -> float | None:
        """Bytes of text for each held-out token over all sources, None where they are not known."""
        parts = [source.heldout for source in self.sources]
        if any(part.text_bytes is None for part in parts) or not sum(part.tokens for part in parts):
            return None
        return sum(part.text_bytes or 0 for part in parts) / sum(part.tokens for part in parts)

    @property
    def train_tokens(self) -> int:
        """Training tokens of all sources."""
        return sum(source.train.tokens for source in self.sources)


def to_json(manifest: Manifest) -> str:
    """The text of `manifest.json`."""
    return json.dumps(_format1(manifest) if manifest.format == BYTES else _format2(manifest), indent=1, sort_keys=True)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a corpus folder, its tokens unchecked.

    Raises:
        CorpusError: There is none, or it is torn or of another format.
    """
    path = Path(folder).resolve() / NAME
    try:
        state = path.stat()
        return _read(path, state.st_mtime_ns, state.st_size)
    except (FileNotFoundError, NotADirectoryError):
        raise CorpusError(
            f"no corpus in {folder}; expected a manifest.json. Take a snapshot first, or prepare shards: isoflop prepare."
        ) from None


@lru_cache(maxsize=8)
def _read(path: Path, mtime: int, size: int) -> Manifest:
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        if values["format"] not in (BYTES, SHARDS):
            raise CorpusError(
                f"{path} has format {values['format']}; expected {BYTES} or {SHARDS}. Take the snapshot again."
            )
        return _from_format1(values) if values["format"] == BYTES else _from_format2(values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorpusError(
            f"{path} is torn ({error}); expected a manifest. Delete the folder and take the snapshot again."
        ) from None


def shards_hash(vocab: int, tokenizer: str, sources: tuple[SourceManifest, ...]) -> str:
    """Identity of a corpus of shards: what is in them, document offsets, and the vocabulary, but not where text came from."""
    content = [
        [
            source.name,
            source.chain,
            *(
                [part.tokens, part.documents, part.text_bytes, [[shard.tokens, shard.sha256] for shard in part.shards]]
                for part in (source.train, source.heldout, source.tuning)
            ),
        ]
        for source in sources
    ]
    text = json.dumps(["isoflop corpus", SHARDS, vocab, tokenizer, content], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _format1(manifest: Manifest) -> dict[str, Any]:
    (source,) = manifest.sources
    parts = {
        name: {"bytes": part.tokens, "documents": part.documents, "names": part.names}
        for name, part in ((name, source.split(name)) for name in SPLITS)
    }
    about = {name: getattr(manifest, name) for name in ("hash", "source", "licence", "python", "withdrawn_bytes")}
    return about | parts | {"vocab": manifest.vocab, "bytes_per_token": 1.0, "format": BYTES}


def _from_format1(values: Mapping[str, Any]) -> Manifest:
    train, heldout, tuning = (
        Split(
            tokens=values[name]["bytes"],
            documents=tuple(values[name]["documents"]),
            names=tuple(values[name]["names"]),
            text_bytes=values[name]["bytes"],
            shards=(Shard(file=f"{name}.bin", tokens=values[name]["bytes"]),),
        )
        for name in SPLITS
    )
    about = {name: values[name] for name in ("hash", "source", "licence", "python", "withdrawn_bytes", "vocab")}
    return Manifest(sources=(SourceManifest(name="", train=train, heldout=heldout, tuning=tuning),), **about)


def _format2(manifest: Manifest) -> dict[str, Any]:
    values = dataclasses.asdict(manifest)
    return values | {"notes": dict(manifest.notes)}


def _from_format2(values: Mapping[str, Any]) -> Manifest:
    sources = tuple(_source(source) for source in values["sources"])
    return Manifest(**{**values, "sources": sources, "notes": tuple(sorted(values["notes"].items()))})


def _source(values: Mapping[str, Any]) -> SourceManifest:
    chain = values["chain"]
    return SourceManifest(
        name=values["name"],
        chain=None if chain is None else tuple((name, value) for name, value in chain),
        train=_split(values["train"]),
        heldout=_split(values["heldout"]),
        tuning=_split(values["tuning"]),
    )


def _split(values: Mapping[str, Any]) -> Split:
    return Split(
        tokens=values["tokens"],
        documents=tuple(values["documents"]),
        names=tuple(values["names"]),
        text_bytes=values["text_bytes"],
        shards=tuple(Shard(**shard) for shard in values["shards"]),
    )
