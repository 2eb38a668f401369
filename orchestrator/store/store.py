"""A sweep's store: its objects by meaning, and what can be derived from them."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import InfrastructureError, StoreError
from orchestrator.store.objects import ObjectExists, ObjectMissing, Objects, open_objects
from orchestrator.sweep import Sweep

FORMAT = 1
"""Version of the objects' layout."""

Document = dict[str, Any]


@dataclass
class Contents:
    """Everything that is true of a sweep, read once.

    Attributes:
        proposals: By sequence number, in order.
        commits: By run.
        attempts: Those that ended without a result, by run, in order.
        unreadable: Keys of objects that are torn or of another format.
    """

    proposals: dict[int, Document] = field(default_factory=dict)
    commits: dict[str, Document] = field(default_factory=dict)
    attempts: dict[str, list[Document]] = field(default_factory=lambda: defaultdict(list))
    unreadable: list[str] = field(default_factory=list)


class Store:
    """The folder that holds a sweep. Every write of truth goes through `Objects.create`."""

    def __init__(self, location: str | Path, objects: Objects | None = None) -> None:
        self.objects = objects or open_objects(location)
        self.location = str(getattr(self.objects, "root", location))

    # --- what the store is

    def exists(self) -> bool:
        """Whether there is a sweep here."""
        return self.objects.exists("store.json")

    def initialise(self) -> None:
        """Make this an isoflop store, after proving that the place refuses a second create.

        Raises:
            StoreError: The place overwrites silently, or holds a store of another format.
        """
        header = {"format": FORMAT, "nonce": secrets.token_hex(16)}
        if not self.exists():
            self._prove_create_only()
            with contextlib.suppress(ObjectExists):  # another driver was first; the lease decides between us
                self.objects.create("store.json", _encode(header))
        if self.header()["format"] != FORMAT:
            raise StoreError(
                f"{self.location} has format {self.header()['format']}; this version reads {FORMAT}. Use a matching "
                "version."
            )

    def header(self) -> Document:
        """Format and nonce: a worker that reads another nonce does not see the same store."""
        try:
            return _decode(self.objects.read("store.json"))
        except ObjectMissing:
            raise StoreError(f"{self.location}: not a store; expected the folder of a sweep. Check the path.") from None
        except ValueError:
            raise StoreError(f"{self.location}/store.json is torn; expected JSON. Restore it from a copy.") from None

    def _prove_create_only(self) -> None:
        key = f"tmp/probe-{secrets.token_hex(8)}"
        self.objects.create(key, b"first")
        try:
            self.objects.create(key, b"second")
        except ObjectExists:
            return
        finally:
            self.objects.delete(key)
        raise StoreError(
            f"{self.location} overwrote an object that existed; expected a place where a second create fails. "
            "Use a local disk, NFS, or a bucket with conditional writes."
        )

    # --- the sweep and its revisions

    def sweeps(self) -> list[Document]:
        """Every revision of the sweep file that was run here, oldest first."""
        names = self.objects.names("sweeps")
        return [_decode(self.objects.read(f"sweeps/{name}")) for name in names if name.endswith(".json")]

    def sweep(self) -> Sweep:
        """The newest revision.

        Raises:
            StoreError: There is none.
        """
        revisions = self.sweeps()
        if not revisions:
            raise StoreError(
                f"{self.location} holds no sweep yet; expected one that was run. Start it with isoflop run."
            )
        return Sweep.model_validate(revisions[-1]["sweep"])

    def add_sweep(self, sweep: Sweep) -> None:
        """Keep a new revision of the sweep file."""
        document = {"format": FORMAT, "hash": sweep.content_hash, "sweep": sweep.model_dump(mode="json")}
        self.objects.create(f"sweeps/{len(self.sweeps()):06d}.json", _encode(document))

    # --- the corpus

    def corpus_of(self, source: str) -> str | None:
        """Content hash of the snapshot made of a source, None where there is none."""
        try:
            return str(_decode(self.objects.read(f"corpora/{source}.json"))["hash"])
        except ObjectMissing:
            return None

    def add_corpus(self, source: str, content_hash: str) -> None:
        """Settle which snapshot stands for a source, for as long as the store lives."""
        self.objects.create(f"corpora/{source}.json", _encode({"format": FORMAT, "hash": content_hash}))

    # --- truth

    def add_proposal(self, seq: int, document: Document) -> None:
        """Keep a proposal before it is dispatched."""
        self.objects.create(f"proposals/{seq:08d}.json", _encode({"format": FORMAT, "seq": seq} | document))

    def add_attempt(self, run_id: str, number: int, document: Document) -> None:
        """Keep an attempt that ended without a result, under its number or the next one that is free."""
        while True:
            key = f"attempts/{run_id}/{number:04d}.json"
            try:
                self.objects.create(key, _encode({"format": FORMAT, "run_id": run_id, "attempt": number} | document))
                return
            except ObjectExists:
                number += 1

    def add_commit(self, run_id: str, document: Document) -> None:
        """Keep a result.

        Raises:
            ObjectExists: The run was committed before.
        """
        self.objects.create(f"commits/{run_id}.json", _encode({"format": FORMAT, "run_id": run_id} | document))

    def commit(self, run_id: str) -> Document | None:
        """A run's result, None where there is none."""
        try:
            return _decode(self.objects.read(f"commits/{run_id}.json"))
        except ObjectMissing:
            return None

    def contents(self) -> Contents:
        """Read all that is true; unreadable objects are named, not fatal."""
        found = Contents()
        for name, document in self._documents("proposals", found.unreadable):
            found.proposals[int(name.removesuffix(".json"))] = document
        for name, document in self._documents("commits", found.unreadable):
            found.commits[name.removesuffix(".json")] = document
        for run_id in self.objects.names("attempts"):
            for _, document in self._documents(f"attempts/{run_id}", found.unreadable):
                found.attempts[run_id].append(document)
        return found

    def _documents(self, folder: str, unreadable: list[str]) -> Iterator[tuple[str, Document]]:
        for name in self.objects.names(folder):
            if not name.endswith(".json"):
                continue
            try:
                document = _decode(self.objects.read(f"{folder}/{name}"))
            except (ValueError, ObjectMissing):
                unreadable.append(f"{folder}/{name}")
                continue
            yield name, document

    # --- requests from outside the driver

    def request(self, name: str) -> None:
        """Leave a request (`cancel`, `stop`) that the driver and its workers poll."""
        self.objects.replace(f"requests/{name}", b"")

    def requested(self, name: str) -> bool:
        """Whether a request is there."""
        return self.objects.exists(f"requests/{name}")

    def withdraw(self, names: Iterable[str] | None = None) -> None:
        """Remove requests, all by default."""
        for name in names if names is not None else self.objects.names("requests"):
            self.objects.delete(f"requests/{name}")

    # --- folders that are files on purpose

    def folder(self, name: str) -> Path:
        """A folder of files below the store, for what is not an object: the corpus, checkpoints, logs.

        Raises:
            InfrastructureError: The store is not a folder.
        """
        root = getattr(self.objects, "root", None)
        if root is None:
            raise InfrastructureError(f"{self.location} has no folders; expected a path. Use a shared mount.")
        return Path(root) / name


def _encode(document: Document) -> bytes:
    return json.dumps(document, sort_keys=True, allow_nan=False).encode()


def _decode(data: bytes) -> Document:
    document = json.loads(data)
    if not isinstance(document, dict) or "format" not in document:
        raise ValueError("not an object of a store")
    return document
