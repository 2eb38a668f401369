"""The sweep's text: an estimate before anything is spent, and one snapshot in the store afterwards."""

from __future__ import annotations

import hashlib
import json

from orchestrator import planning, sweep
from orchestrator.errors import SweepError
from orchestrator.store import ObjectExists, Store
from trainer import CorpusError
from trainer.sources import Source, StandardLibrary, TextFiles, estimate


def source_of(data: sweep.Data) -> Source:
    """The trainer's source for a sweep's `data` section."""
    return TextFiles(paths=tuple(data.files)) if data.source == "text" else StandardLibrary()


def estimated(data: sweep.Data) -> planning.Corpus:
    """What planning can know of the text without reading it.

    Raises:
        SweepError: A file is not there.
    """
    try:
        size = estimate(source_of(data))
    except CorpusError as error:
        raise SweepError(str(error)) from None
    return planning.Corpus(hash="", train_tokens=size, exact=False)


def snapshot(data: sweep.Data, store: Store) -> planning.Corpus:
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


def known(data: sweep.Data, store: Store) -> planning.Corpus | None:
    """The store's snapshot of the text, None where there is none."""
    content_hash = store.corpus_of(_source_key(data))
    return None if content_hash is None else _read(store, content_hash)


def _read(store: Store, content_hash: str) -> planning.Corpus:
    from trainer.corpus import read_manifest

    manifest = read_manifest(store.fetch_folder(f"corpus/{content_hash}"))
    return planning.Corpus(hash=content_hash, train_tokens=manifest.train_tokens, exact=True)


def _make(data: sweep.Data, store: Store, key: str) -> str:
    from trainer.corpus import snapshot as make_snapshot

    folder = store.workspace("corpus")
    try:
        content_hash = make_snapshot(source_of(data), folder).hash
    except CorpusError as error:
        raise SweepError(str(error)) from None
    store.put_folder(folder, f"corpus/{content_hash}")
    try:
        store.add_corpus(key, content_hash)
    except ObjectExists:
        settled = store.corpus_of(key)
        assert settled is not None
        return settled
    return content_hash


def _source_key(data: sweep.Data) -> str:
    text = json.dumps({"source": data.source, "files": data.files}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
