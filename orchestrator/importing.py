"""Runs of another store, brought into this one: what was trained once need not be trained again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.errors import StoreError
from orchestrator.store import Document, ObjectExists, ObjectMissing, Store
from orchestrator.store.lease import acquire


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import did.

    Attributes:
        added: Commits that are new here.
        known: Commits that were here before, with the same loss.
        contradicting: Runs that were here before, with another loss; what is here stands.
        unreadable: Commits of the source that cannot be read.
    """

    added: tuple[str, ...]
    known: int
    contradicting: tuple[str, ...]
    unreadable: tuple[str, ...]


def import_store(source: str, store: str) -> Imported:
    """Copy the committed runs of one store into another, under this store's lease.

    A run is the same run wherever it was made: its id is a hash of everything that decides its result, the text
    included. So a sweep that plans it later finds it done.

    Args:
        source: The store to read; it is not changed.
        store: The store to add to; made where it is not there.

    Raises:
        StoreError: The source is no store, or holds no commit, or is the same store.
        StoreBusy: A driver holds the target.
    """
    origin, target = Store(source), Store(store)
    origin.header()
    if origin.location == target.location:
        raise StoreError(f"{source} is imported into itself; expected two stores. Name another --store.")
    names = origin.objects.names("commits")
    if not names:
        raise StoreError(f"{source} holds no committed run; expected at least one. Run its sweep first.")
    target.initialise()
    lease = acquire(target.objects)
    try:
        return _copy(origin, target, names)
    finally:
        lease.release()


def _copy(origin: Store, target: Store, names: list[str]) -> Imported:
    added: list[str] = []
    contradicting: list[str] = []
    unreadable: list[str] = []
    known = 0
    for run_id, commit in _commits(origin, names, unreadable):
        try:
            target.add_commit(run_id, commit | {"imported_from": origin.location})
            added.append(run_id)
        except ObjectExists:
            here = target.commit(run_id)
            if here is not None and here["row"]["loss"] == commit["row"]["loss"]:
                known += 1
            else:
                contradicting.append(run_id)
    return Imported(added=tuple(added), known=known, contradicting=tuple(contradicting), unreadable=tuple(unreadable))


def _commits(origin: Store, names: list[str], unreadable: list[str]) -> Iterator[tuple[str, Document]]:
    for name in names:
        try:
            yield name.removesuffix(".json"), origin.read(f"commits/{name}")
        except (ValueError, ObjectMissing):
            unreadable.append(f"commits/{name}")
