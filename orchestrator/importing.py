"""Runs of another store, or of others, brought into this one: what was trained once need not be trained again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from analysis.stores import scan_runs
from orchestrator.errors import StoreError
from orchestrator.foreign.commits import foreign_commits, refuse_other_conventions
from orchestrator.foreign.detecting import read_foreign
from orchestrator.ledger import Ledger
from orchestrator.store import Document, ObjectExists, ObjectMissing, Store
from orchestrator.store.contents import read_contents
from orchestrator.store.lease import acquire
from orchestrator.store.tables import Tables


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import did.

    Attributes:
        added: Commits that are new here.
        known: Commits that were here before, with the same loss.
        contradicting: Runs that were here before, with another loss; what is here stands.
        unreadable: Commits of the source that cannot be read.
        notes: What to know about the numbers, and what was left out.
    """

    added: tuple[str, ...]
    known: int
    contradicting: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


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
    unreadable: list[str] = []
    documents = _commits(origin, names, unreadable)
    done = _import(documents, target, origin.location)
    return replace(done, unreadable=tuple(unreadable))


def import_runs(
    source: str,
    store: str,
    *,
    kind: str | None = None,
    columns: Mapping[str, str] | None = None,
    count: str | None = None,
    convention: str | None = None,
    sweep: str | None = None,
) -> Imported:
    """Bring runs that others made into a store, marked as foreign.

    Args:
        source: A table, or a folder of nanochat's or of Weights & Biases'.
        store: The store to add to; made where it is not there.
        kind: `table`, `wandb` or `nanochat`; None to tell by what is there.
        columns: Source column of canonical ones, such as {"loss": "eval/loss"}.
        count: Count N anew by this convention, from the source's own parts.
        convention: What N counts, where the source does not say.
        sweep: Name of the sweep in their rows.

    Raises:
        SweepError: The source is of no known kind, or counts otherwise than the runs that the store holds.
        AnalysisError: A column is missing, or the runs mix conventions.
        StoreBusy: A driver holds the store.
    """
    read = read_foreign(source, kind)
    documents, left_out = foreign_commits(read, columns=columns or {}, count=count, convention=convention, sweep=sweep)
    target = Store(store)
    if target.exists():
        refuse_other_conventions(documents, scan_runs(target.location).table, store)
    done = _import(((document["run_id"], document) for document in documents), target, read.name)
    return replace(done, notes=(*read.notes, *left_out))


def _import(documents: Iterable[tuple[str, Document]], target: Store, origin: str) -> Imported:
    """Create commits under the store's lease, and bring the tables up to date."""
    target.initialise()
    lease = acquire(target.objects)
    try:
        done = _add(documents, target, origin)
        _write_tables(target, done.added)
        return done
    finally:
        lease.release()


def _write_tables(target: Store, added: Iterable[str]) -> None:
    tables = Tables(target.objects)
    for run_id in added:
        if (commit := target.commit(run_id)) is not None:
            tables.add_curve(commit)
    tables.write(Ledger(read_contents(target)).table())


def _add(documents: Iterable[tuple[str, Document]], target: Store, origin: str) -> Imported:
    added: list[str] = []
    contradicting: list[str] = []
    known = 0
    for run_id, commit in documents:
        try:
            target.add_commit(run_id, commit | {"imported_from": origin})
            added.append(run_id)
        except ObjectExists:
            here = target.commit(run_id)
            if here is not None and here["row"]["loss"] == commit["row"]["loss"]:
                known += 1
            else:
                contradicting.append(run_id)
    return Imported(added=tuple(added), known=known, contradicting=tuple(contradicting))


def _commits(origin: Store, names: list[str], unreadable: list[str]) -> Iterator[tuple[str, Document]]:
    for name in names:
        try:
            yield name.removesuffix(".json"), origin.read(f"commits/{name}")
        except (ValueError, ObjectMissing):
            unreadable.append(f"commits/{name}")
