"""Which code this process runs, and whether the three packages it imports are ours."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from orchestrator.errors import SweepError

SUBMITTED_BY = "ISOFLOP_SUBMITTED_BY"
"""Environment variable of a submitted job: the code version of the machine that submitted it."""


@functools.cache
def code_version() -> str:
    """Version of the distribution and a hash of the trainer's and worker's sources, which must agree on every node."""
    root = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in sorted([*(root.parent / "trainer").rglob("*.py"), *(root / "execution").rglob("*.py")]):
        digest.update(path.read_bytes())
    return f"{distribution_version()}+{digest.hexdigest()[:8]}"


def distribution_version() -> str:
    """Version of the installed distribution."""
    from importlib import metadata

    try:
        return metadata.version("isoflop")
    except metadata.PackageNotFoundError:
        return "0+source"


def refuse_other_than_submitted() -> None:
    """Refuse to drive, as a submitted job, with other code than the sweep was planned with.

    Raises:
        SweepError: The cluster's isoflop is not the one that submitted.
    """
    expected = os.environ.get(SUBMITTED_BY)
    if expected is not None and expected != code_version():
        raise SweepError(
            f"this cluster runs isoflop {code_version()}, the sweep was submitted with {expected}; expected the same "
            "code. Install the same version on every node, or submit from the project's own checkout, which is sent."
        )


def refuse_shadowed_packages(*, in_workers: bool = False) -> None:
    """Refuse to go on where a module of the user's own hides one of ours.

    Args:
        in_workers: Look at the working folder, too: Ray puts it first on the path of its workers.

    Raises:
        SweepError: `trainer` or `analysis` is, or in a worker would be, imported from elsewhere than `orchestrator`.
    """
    from importlib.util import find_spec

    ours = Path(__file__).resolve().parent.parent
    for name in ("trainer", "analysis", "orchestrator"):
        found = find_spec(name)
        origins = [Path(found.origin)] if found and found.origin else []
        if in_workers:
            origins += [path for path in (Path(f"{name}.py"), Path(name, "__init__.py")) if path.exists()]
        for origin in origins:
            if origin.resolve() != ours / name / "__init__.py":
                raise SweepError(
                    f"{origin.resolve()} hides isoflop's own package {name}; expected {ours / name}. "
                    f"Rename your {name}, or start isoflop from another folder without it on PYTHONPATH."
                )
