"""A sweep's store: its objects by meaning, and what can be derived from them."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import InfrastructureError, StoreError
from orchestrator.store import folders
from orchestrator.store.local import LocalObjects
from orchestrator.store.objects import ObjectExists, ObjectMissing, Objects, open_objects
from orchestrator.sweep import Sweep

FORMAT = 1
"""Version of the objects' layout."""

Document = dict[str, Any]


class Store:
    """The folder that holds a sweep. Every write of truth goes through `Objects.create`."""

    def __init__(self, location: str | Path, objects: Objects | None = None) -> None:
        self.objects = objects or open_objects(location)
        self.location = self.objects.location

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

    def add_sweep(self, sweep: Sweep, made_with: Document | None = None) -> None:
        """Keep a new revision of the sweep file, with the code that runs it."""
        said = {"hash": sweep.content_hash, "sweep": sweep.model_dump(mode="json")}
        document = {"format": FORMAT, "made_with": made_with or {}} | said
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

    def add_proposals(self, documents: Mapping[int, Document]) -> None:
        """Keep proposals, by sequence number, before any of them is dispatched."""
        bodies = {
            f"proposals/{seq:08d}.json": _encode({"format": FORMAT, "seq": seq} | document)
            for seq, document in documents.items()
        }
        self.objects.create_all(bodies)

    def add_attempt(self, run_id: str, number: int, document: Document) -> None:
        """Keep an attempt that ended without a result, under its number or the next one that is free."""
        while True:
            try:
                self._create(f"attempts/{run_id}/{number:04d}.json", {"run_id": run_id, "attempt": number} | document)
                return
            except ObjectExists:
                number += 1

    def add_commit(self, run_id: str, document: Document) -> None:
        """Keep a result.

        Raises:
            ObjectExists: The run was committed before.
        """
        self._create(f"commits/{run_id}.json", {"run_id": run_id} | document)

    def predictions(self) -> dict[str, Document]:
        """Predictions of runs, by the hash that names them.

        Raises:
            ValueError: One of them is torn.
        """
        names = self.objects.names("predictions")
        return {name.removesuffix(".json"): self.read(f"predictions/{name}") for name in names}

    def add_predictions(self, name: str, document: Document) -> None:
        """Keep predictions, before the first run that they are of.

        Raises:
            ObjectExists: These were written before.
        """
        self._create(f"predictions/{name}.json", document)

    def add_contradiction(self, run_id: str, document: Document) -> str:
        """Keep a second copy's result that differs from the commit; gives its name."""
        key = f"nondeterminism/{run_id}-{secrets.token_hex(4)}.json"
        self._create(key, {"run_id": run_id} | document)
        return key

    def commit(self, run_id: str) -> Document | None:
        """A run's result, None where there is none.

        Raises:
            ValueError: It is torn.
        """
        try:
            return self.read(f"commits/{run_id}.json")
        except ObjectMissing:
            return None

    def read(self, key: str) -> Document:
        """Any object of the store.

        Raises:
            ObjectMissing: There is none of this name.
            ValueError: It is torn, or no object of a store.
        """
        return _decode(self.objects.read(key))

    def _create(self, key: str, document: Document) -> None:
        self.objects.create(key, _encode({"format": FORMAT} | document))

    # --- what was found unreadable

    def set_aside(self, key: str) -> str:
        """Move an unreadable object out of the way, so that its run is made again; nothing is thrown away.

        Returns:
            Its name in `quarantine`.
        """
        name = key.replace("/", "-")
        data = self.objects.read(key)
        for number in range(1000):
            try:
                moved = f"quarantine/{name}.{number}"
                self.objects.create(moved, data)
                break
            except ObjectExists:
                continue
        self.objects.delete(key)
        return moved

    def quarantined(self) -> list[str]:
        """Names of objects that were set aside."""
        return self.objects.names("quarantine")

    # --- progress of attempts under way

    def note_progress(self, run_id: str, document: Document) -> None:
        """Write how far an attempt is; lost in a power cut, and that does not matter."""
        self.objects.replace(f"progress/{run_id}.json", _encode({"format": FORMAT} | document), durable=False)

    def progress(self, run_id: str) -> Document | None:
        """How far a run's attempt was when it wrote last, None before its first word."""
        try:
            return self.read(f"progress/{run_id}.json")
        except (ObjectMissing, ValueError):
            return None

    def under_way(self) -> set[str]:
        """Runs that have an attempt which wrote its progress and did not end."""
        return {name.removesuffix(".json") for name in self.objects.names("progress")}

    def forget_progress(self, run_id: str) -> None:
        """Remove what an attempt wrote about its progress."""
        self.objects.delete(f"progress/{run_id}.json")

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

    def sweep_out(self) -> None:
        """Remove what dead processes left: files without a name, progress, requests to drivers of old.

        For the holder of the lease, before its first attempt and after its last.
        """
        self.objects.delete_folder("tmp")
        self.objects.delete_folder("progress")
        self.withdraw(name for name in self.objects.names("requests") if name.startswith("stop-"))

    # --- folders that are files on purpose

    def workspace(self, name: str) -> Path:
        """A new folder on this machine for what is made before it is put into the store."""
        return folders.workspace(self.objects, name)

    def put_folder(self, folder: Path, name: str) -> None:
        """Move a finished folder into the store."""
        folders.put(self.objects, folder, name)

    def fetch_folder(self, name: str, *, only: str | None = None) -> Path:
        """A folder of the store as files on this machine, brought from a bucket once; whole, or one file of it."""
        return folders.fetch(self.objects, name, only=only)

    @property
    def is_folder(self) -> bool:
        """Whether the store is a folder that every node sees, not a bucket."""
        return isinstance(self.objects, LocalObjects)

    def folder(self, name: str) -> Path:
        """A folder of files below the store, for what is not an object: the corpus, checkpoints, logs.

        Raises:
            InfrastructureError: The store is not a folder.
        """
        if not isinstance(self.objects, LocalObjects):
            raise InfrastructureError(f"{self.location} has no folders; expected a path. Use a shared mount.")
        return self.objects.root / name


def _encode(document: Document) -> bytes:
    return json.dumps(document, sort_keys=True, allow_nan=False).encode()


def _decode(data: bytes) -> Document:
    document = json.loads(data)
    if not isinstance(document, dict) or "format" not in document:
        raise ValueError("not an object of a store")
    return document
