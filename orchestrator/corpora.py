"""The sweep's text: an estimate before anything is spent, and one snapshot in the store afterwards.

A snapshot is a copy, so that text which changes afterwards changes no run. Shards above `COPY_BYTES` are not copied:
the store's manifest then names them where they lie, and their hashes tell a change.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import planning
from orchestrator.errors import StoreError, SweepError
from orchestrator.store import ObjectExists, ObjectMissing, Store
from orchestrator.store.local import disk_failure
from orchestrator.sweep.data import SYNTHETIC, Data, TextSource
from trainer import CorpusError
from trainer.data.sources import Package, Source, StandardLibrary, TextFiles, estimate

if TYPE_CHECKING:
    from trainer.data.manifests import Manifest, SourceManifest
    from trainer.data.synthetic import Chain

COPY_BYTES = 1 << 30
"""Shards up to this size are copied into the store (chosen: a second or two on a local disk)."""

TRAIN_SHARE = 0.925
"""Share of a synthetic text that is trained on."""


def source_of(data: TextSource) -> Source:
    """The trainer's source for a section that names text."""
    if data.source == "package":
        return Package(name=str(data.package))
    return TextFiles(paths=tuple(data.files)) if data.source == "text" else StandardLibrary()


def estimated(data: Data) -> planning.Corpus:
    """What planning can know of the text without reading it; of prepared shards everything.

    Raises:
        SweepError: Files or shards are not there, or the sources of a mixture have different vocabularies.
    """
    try:
        if data.source == "shards" and not data.mixture:
            return _described(_manifest_at(data))
        parts: Mapping[str, TextSource] = data.mixture or {"": data}
        sizes = tuple((name, _estimate(name, part)) for name, part in sorted(parts.items()))
        vocab = _one_vocabulary({name: _vocabulary(part) for name, part in parts.items()})
    except CorpusError as error:
        raise SweepError(str(error)) from None
    total = sum(size for _, size in sizes)
    return planning.Corpus(hash="", train_tokens=total, exact=False, vocab=vocab, sizes=sizes if data.mixture else ())


def snapshot(data: Data, store: Store) -> planning.Corpus:
    """The store's snapshot of the text, made now where there is none.

    The first snapshot of a source stays: text that changes afterwards changes no run of this store.

    Raises:
        SweepError: A file is not there, or there is too little text.
    """
    key = _source_key(data)
    content_hash = store.corpus_of(key)
    if content_hash is None:
        content_hash = _make(data, store, key)
    return _read(store, content_hash)


def known(data: Data, store: Store) -> planning.Corpus | None:
    """The store's snapshot of the text, None where there is none."""
    content_hash = store.corpus_of(_source_key(data))
    return None if content_hash is None else _read(store, content_hash)


def _read(store: Store, content_hash: str) -> planning.Corpus:
    from trainer.data.manifests import NAME, read_manifest

    folder = f"corpus/{content_hash}"
    try:
        return _described(read_manifest(store.fetch_folder(folder, only=NAME)))
    except (ObjectMissing, CorpusError):
        raise StoreError(
            f"{store.location}/{folder} has no sound {NAME}; expected the text of this sweep. Restore the folder from "
            "a copy, or use another --store."
        ) from None


def _described(manifest: Manifest) -> planning.Corpus:
    return planning.Corpus(
        hash=manifest.hash,
        train_tokens=manifest.train_tokens,
        exact=True,
        vocab=manifest.vocab,
        sizes=tuple((source.name, source.train.tokens) for source in manifest.sources),
        manifest=manifest,
    )


def _make(data: Data, store: Store, key: str) -> str:
    try:
        folder = store.workspace("corpus")
        content_hash = _write(data, folder)
        store.put_folder(folder, f"corpus/{content_hash}")
    except CorpusError as error:
        raise SweepError(str(error)) from None
    except OSError as error:
        raise disk_failure(store.location, error) from error
    try:
        store.add_corpus(key, content_hash)
    except ObjectExists:
        settled = store.corpus_of(key)
        assert settled is not None
        return settled
    return content_hash


def _write(data: Data, folder: Path) -> str:
    """Make the snapshot in a new folder; gives its hash."""
    from trainer.data.corpus import snapshot as make_snapshot

    if data.mixture:
        return _write_mixture(data, folder)
    if data.source == "shards":
        manifest = _checked(data)
        return _collect(folder, manifest, [(source, Path(str(data.path))) for source in manifest.sources])
    if data.source == "synthetic":
        from trainer.data.synthetic import write

        return write(_chain(data), folder, tokens=data.tokens).hash
    return make_snapshot(source_of(data), folder).hash


def _write_mixture(data: Data, folder: Path) -> str:
    """Every source's shards in one folder. Text is split together, so that near-duplicates are on one side in all."""
    from trainer.data.synthetic import write

    texts = {name: part for name, part in data.mixture.items() if part.source in ("stdlib", "package", "text")}
    made: dict[str, tuple[SourceManifest, Path]] = {}
    scratch = folder.with_name(f"{folder.name}-parts")
    manifests: list[Manifest] = []
    try:
        for name, part in data.mixture.items():
            if part.source == "shards":
                manifests.append(_checked(part))
                made[name] = (_source_named(manifests[-1], name, str(part.path)), Path(str(part.path)))
            elif part.source == "synthetic":
                manifests.append(write(_chain(part), scratch / f"chain-{name}", tokens=part.tokens))
                made[name] = (manifests[-1].sources[0], scratch / f"chain-{name}")
        if texts:
            manifests.append(_prepared(texts, scratch / "texts"))
            made |= {source.name: (source, scratch / "texts") for source in manifests[-1].sources}
        _one_vocabulary({one.source: (one.tokenizer, one.vocab) for one in manifests})
        about = ", ".join(f"{name}: {part.source}" for name, part in sorted(data.mixture.items()))
        sources = [(replace(source, name=name), place) for name, (source, place) in sorted(made.items())]
        mixed = replace(
            manifests[0],
            source=about,
            licence=", ".join(sorted({one.licence for one in manifests})),
            withdrawn_bytes=sum(one.withdrawn_bytes for one in manifests),
            notes=(),
        )
        return _collect(folder, mixed, sources)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _prepared(texts: Mapping[str, TextSource], folder: Path) -> Manifest:
    from trainer.data.preparing import Document, prepare
    from trainer.data.sources import describe, files
    from trainer.data.tokenizing import Bytes

    def documents() -> Iterator[Document]:
        for source, part in texts.items():
            for name, path in files(source_of(part)):
                yield Document(source=source, name=name, content=path.read_bytes())

    try:
        licence = ", ".join(sorted({describe(source_of(part))[1] for part in texts.values()}))
        return prepare(documents(), Bytes(), folder, about=", ".join(texts), licence=licence, notes={})
    except OSError as error:
        raise CorpusError(
            f"cannot read {error.filename}: {error.strerror}. Make it readable, or leave it out."
        ) from None


def _collect(folder: Path, manifest: Manifest, sources: list[tuple[SourceManifest, Path]]) -> str:
    """A corpus folder of shards that lie elsewhere: copied where they are small, else named where they lie."""
    from trainer.data.manifests import NAME, SPLITS, shards_hash, to_json

    folder.mkdir(parents=True)
    total = sum(2 * source.split(name).tokens for source, _ in sources for name in SPLITS)
    copied = total <= COPY_BYTES
    placed = []
    for source, place in sources:
        splits = {}
        for name in SPLITS:
            shards = []
            for number, shard in enumerate(source.split(name).shards):
                prefix = f"{source.name}-" if source.name else ""
                file = f"{prefix}{name}-{number:05d}.bin" if copied else str((place / shard.file).resolve())
                if copied:
                    _copy(place / shard.file, folder / file)
                shards.append(replace(shard, file=file))
            splits[name] = replace(source.split(name), shards=tuple(shards))
        placed.append(replace(source, train=splits["train"], heldout=splits["heldout"], tuning=splits["tuning"]))
    content_hash = shards_hash(manifest.vocab, manifest.tokenizer, tuple(placed))
    made = replace(manifest, sources=tuple(placed), hash=content_hash)
    with (folder / NAME).open("w") as file_of_manifest:
        file_of_manifest.write(to_json(made))
        file_of_manifest.flush()
        os.fsync(file_of_manifest.fileno())
    return content_hash


def _copy(source: Path, target: Path) -> None:
    """A copy that is on disk before the store names it."""
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _manifest_at(data: TextSource) -> Manifest:
    """What a folder of prepared shards says of itself.

    Raises:
        CorpusError: It is no such folder.
    """
    from trainer.data.manifests import SHARDS, read_manifest

    manifest = read_manifest(Path(str(data.path)))
    if manifest.format != SHARDS:
        raise CorpusError(
            f"{data.path} holds a snapshot of plain text; expected shards. Prepare them: isoflop prepare --text FILES "
            f"--out DIR."
        )
    return manifest


def _checked(data: TextSource) -> Manifest:
    """What a folder of shards says of itself, once all of its tokens agree.

    Raises:
        CorpusError: Shards are missing, torn, of another byte order, changed, or hold tokens beyond the vocabulary.
    """
    from trainer.data.corpus import check_tokens, load

    corpus = load(Path(str(data.path)))
    check_tokens(corpus)
    return corpus.manifest


def _source_named(manifest: Manifest, name: str, path: str) -> SourceManifest:
    found = {source.name: source for source in manifest.sources}
    if name in found:
        return found[name]
    if len(found) == 1:
        return manifest.sources[0]
    raise CorpusError(
        f"{path} has the sources {', '.join(found)}; the mixture asks for {name}. Expected a name that it has: "
        f"rename the mixture's source."
    )


def _chain(data: TextSource) -> Chain:
    from trainer.data.synthetic import Chain

    return Chain(order=data.order, symbols=data.symbols, zipf=data.zipf, seed=data.chain_seed)


def _estimate(name: str, data: TextSource) -> int:
    if data.source == "synthetic":
        return int(TRAIN_SHARE * data.tokens)
    if data.source == "shards":
        return _source_named(_manifest_at(data), name, str(data.path)).train.tokens
    return estimate(source_of(data))


def _vocabulary(data: TextSource) -> tuple[str, int]:
    if data.source == "synthetic":
        return f"{data.symbols} symbols", data.symbols
    if data.source == "shards":
        manifest = _manifest_at(data)
        return manifest.tokenizer, manifest.vocab
    return "bytes", 256


def _one_vocabulary(vocabularies: Mapping[str, tuple[str, int]]) -> int:
    """The vocabulary that all sources have.

    Raises:
        CorpusError: They have several.
    """
    different = set(vocabularies.values())
    if len(different) > 1:
        listed = ", ".join(
            f"{name}: {tokenizer[:12]} with {vocab:,} ids" for name, (tokenizer, vocab) in vocabularies.items()
        )
        raise CorpusError(
            f"the mixture's sources have different vocabularies ({listed}); expected one. Prepare them with the same "
            "tokenizer: isoflop prepare --tokenizer."
        )
    return different.pop()[1]


def _source_key(data: Data) -> str:
    parts = {name: _named(part) for name, part in data.mixture.items()} if data.mixture else _named(data)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _named(data: TextSource) -> dict[str, object]:
    """What decides which text a section names."""
    if data.source == "shards":
        return {"source": data.source, "path": data.path}
    if data.source == "synthetic":
        return {"source": data.source} | {key: getattr(data, key) for key in SYNTHETIC}
    if data.source == "package":
        return {"source": data.source, "package": data.package}
    return {"source": data.source, "files": data.files}
