"""States that runs of one trunk leave to longer ones, in the store under the trunk's identity.

They are no truth: where one is missing or torn the run is trained from its first step, with the same result.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.execution.task import Trunk
from orchestrator.store import ObjectMissing, Store

FOLDER = "trunks"


@contextmanager
def shared_folder(trunk: Trunk | None, store: Store) -> Iterator[Path | None]:
    """The folder where a run finds and leaves states of its trunk; for a bucket it is local, and what is new is brought.

    Args:
        trunk: The run's trunk, None where it shares nothing.
        store: The sweep's store.
    """
    if trunk is None:
        yield None
        return
    identity, branch_step = trunk
    name = f"{FOLDER}/{identity}"
    if store.is_folder:
        yield store.folder(name)
        return
    with tempfile.TemporaryDirectory(prefix="isoflop-trunk-") as local:
        folder = Path(local)
        known = _fetch(store, name, branch_step, folder)
        yield folder
        for path in sorted(folder.glob("step-*")):
            if path.name not in known:
                store.objects.replace(f"{name}/{path.name}", path.read_bytes())


def prune(store: Store) -> None:
    """Keep of each trunk the state furthest on, from which a longer run could go on; for the end of a sweep."""
    for trunk in store.objects.names(FOLDER):
        for name in sorted(store.objects.names(f"{FOLDER}/{trunk}"))[:-1]:
            store.objects.delete(f"{FOLDER}/{trunk}/{name}")


def _fetch(store: Store, name: str, branch_step: int, folder: Path) -> set[str]:
    """Bring the latest state that the run can begin at; gives the names of all."""
    names = sorted(store.objects.names(name))
    usable = [each for each in names if _step(each) <= branch_step]
    for each in usable[-1:]:
        try:
            (folder / each).write_bytes(store.objects.read(f"{name}/{each}"))
        except ObjectMissing:
            continue
    return set(names)


def _step(name: str) -> int:
    return int(name.removeprefix("step-").split(".")[0])
