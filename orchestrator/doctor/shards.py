"""Checks of prepared data: its shards, one thing at a time, each with what puts it right."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.doctor.finding import Finding

if TYPE_CHECKING:
    from trainer.data.manifests import Manifest, SourceManifest, Split

FEW_DOCUMENTS = 20
"""Held-out documents below which a standard error over them is itself a guess (Cameron & Miller 2015, section VI)."""

FEW_TOKENS = 16_384
"""Held-out tokens below which seeds' differences drown (chosen: the `smoke` preset reads as many)."""

AGAIN = "Prepare it again into a new folder: isoflop prepare ... --out DIR."


def is_prepared(folder: str | None) -> bool:
    """Whether a folder holds prepared data, or shards without what `isoflop prepare` says of them."""
    if folder is None or not Path(folder).is_dir():
        return False
    return (Path(folder) / "manifest.json").exists() or any(Path(folder).glob("*.bin"))


def shards(folder: str) -> Iterator[Finding]:
    """Everything that a sweep on prepared data rests on."""
    from trainer import CorpusError
    from trainer.data.manifests import read_manifest

    place = Path(folder)
    if not (place / "manifest.json").exists():
        names = ", ".join(sorted(path.name for path in place.glob("*.bin"))[:3])
        fix = f"Prepare them: isoflop prepare --tokens '{place}/*.bin' --vocab N --out DIR."
        found = f"{place} has shards ({names}) and no manifest.json that says vocabulary, documents and splits"
        yield Finding(name="manifest", severity="error", found=found, fix=fix)
        return
    try:
        manifest = read_manifest(place)
    except CorpusError as error:
        yield Finding(name="manifest", severity="error", found=str(error), fix=AGAIN)
        return
    tokenizer = manifest.tokenizer if len(manifest.tokenizer) < 20 else f"tokenizer {manifest.tokenizer[:12]}"
    found = (
        f"{manifest.source}: {manifest.train_tokens:,} training tokens, {len(manifest.sources)} source(s), vocabulary "
        f"{manifest.vocab:,} ({tokenizer}), hash {manifest.hash[:12]}"
    )
    yield Finding(name="manifest", severity="ok", found=found)
    files = list(_files(place, manifest))
    yield from files
    if all(finding.severity == "ok" for finding in files):
        yield from _contents(place, manifest)
    for source in manifest.sources:
        yield from _documents(source)
        yield from _heldout(source)


def _files(place: Path, manifest: Manifest) -> Iterator[Finding]:
    """Header, size and byte order of every shard."""
    from trainer import CorpusError
    from trainer.data.manifests import BYTES
    from trainer.data.shards import read_shard

    if manifest.format == BYTES:
        return
    names = [shard.file for source in manifest.sources for split in _splits(source) for shard in split.shards]
    wrong = 0
    for name in names:
        try:
            read_shard(place / name)
        except CorpusError as error:
            wrong += 1
            yield Finding(name="shard", severity="error", found=str(error), fix=AGAIN)
    if not wrong:
        found = f"{len(names)} with sound headers, little-endian, whole"
        yield Finding(name="shards", severity="ok", found=found)


def _contents(place: Path, manifest: Manifest) -> Iterator[Finding]:
    """Hashes, and tokens against the vocabulary."""
    from trainer import CorpusError
    from trainer.data.corpus import check_tokens, load

    try:
        corpus = load(place)
    except CorpusError as error:
        yield Finding(name="hash", severity="error", found=str(error), fix=AGAIN)
        return
    yield Finding(name="hash", severity="ok", found="every token is as it was prepared")
    try:
        check_tokens(corpus)
    except CorpusError as error:
        fix = "Give --vocab of the tokenizer that made the tokens, and prepare them again."
        yield Finding(name="vocabulary", severity="error", found=str(error), fix=fix)
        return
    yield Finding(name="vocabulary", severity="ok", found=f"every token is below {manifest.vocab:,}")


def _documents(source: SourceManifest) -> Iterator[Finding]:
    """Whether offsets rise from 0 and stay within their split."""
    name = _named("documents", source)
    for label, split in zip(("train", "heldout", "tuning"), _splits(source), strict=True):
        ends = (*split.documents, split.tokens)
        rising = all(begin < end for begin, end in itertools.pairwise(ends))
        if not split.documents or split.documents[0] != 0 or not rising:
            found = f"{label}: {len(split.documents)} offsets do not rise from 0 to {split.tokens:,} tokens"
            yield Finding(name=name, severity="error", found=found, fix=AGAIN)
            return
    counts = ", ".join(f"{len(split.documents):,}" for split in _splits(source))
    longest = source.heldout.longest_document
    found = f"{counts} to train on, held out and for tuning; the longest held out has {longest:,} tokens"
    yield Finding(name=name, severity="ok", found=found)


def _heldout(source: SourceManifest) -> Iterator[Finding]:
    split, name = source.heldout, _named("held out", source)
    found = f"{split.tokens:,} tokens in {len(split.documents):,} documents"
    if len(split.documents) < 2:
        fix = "Add text: a standard error takes 2 documents at least."
        yield Finding(name=name, severity="error", found=f"{found}: too few for a standard error", fix=fix)
    elif len(split.documents) < FEW_DOCUMENTS or split.tokens < FEW_TOKENS:
        fix = f"Fine for a try. Add text until there are {FEW_DOCUMENTS} documents and {FEW_TOKENS:,} tokens held out."
        yield Finding(name=name, severity="warning", found=f"{found}: its standard error is a guess", fix=fix)
    else:
        yield Finding(name=name, severity="ok", found=found)


def _splits(source: SourceManifest) -> tuple[Split, Split, Split]:
    return source.train, source.heldout, source.tuning


def _named(what: str, source: SourceManifest) -> str:
    return f"{what} {source.name}".strip()
