"""What a machine needs to run sweeps, looked at one thing at a time: what was found, and how to put it right."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from orchestrator.doctor import libraries, machine, shards
from orchestrator.doctor.finding import Finding

__all__ = ["Finding", "examine"]


def examine(*, data: str | None = None, store: str | None = None) -> list[Finding]:
    """Look at everything that a sweep on this machine rests on.

    Args:
        data: Folder that `isoflop prepare` made, or text to train on; None looks at the standard library.
        store: Where a store is to be; None for the folder `runs` of the working folder.
    """
    place = store or "runs"
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        machine.machine,
        libraries.dependencies,
        libraries.packages,
        libraries.ray,
        machine.ray_token,
        lambda: machine.disks(place),
        lambda: machine.create_only(place),
        libraries.fonts,
        libraries.gpu,
        lambda: shards.shards(str(data)) if shards.is_prepared(data) else machine.data(data),
    )
    return [finding for check in checks for finding in check()]
