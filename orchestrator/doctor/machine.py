"""Checks of the machine: cores and memory, disks, the place of the store, Ray's token, text to train on."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from orchestrator.doctor.finding import Finding, Severity
from orchestrator.errors import OrchestratorError
from orchestrator.version import distribution_version

LOW_MEMORY_BYTES = 2e9
"""Free memory below which Ray and two workers with torch do not fit (chosen)."""

LOW_DISK_BYTES = 5e9
"""Free space below which a sweep with checkpoints may fill a disk (chosen); with a tenth of it none can start."""

RAY_FULL_SHARE = 0.95
"""Share of a used disk from which Ray stops to place objects there (its `local_fs_capacity_threshold`)."""

LEAST_TEXT_BYTES = 1_000_000
"""Text below which even the smallest curves repeat it (chosen: the `quickstart` preset reads some ten times this)."""


def machine() -> Iterator[Finding]:
    """Versions, cores and memory."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = psutil.virtual_memory()
    found = (
        f"isoflop {distribution_version()}, Python {platform.python_version()}, {platform.system()} "
        f"{platform.machine()}, {cores} CPU cores, {memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB memory free"
    )
    if memory.available < LOW_MEMORY_BYTES:
        yield Finding(
            name="machine",
            severity="warning",
            found=found,
            fix="Ray and two workers with torch take about 2 GB: end something else, or use --inline.",
        )
    else:
        yield Finding(name="machine", severity="ok", found=found)


def ray_token() -> Iterator[Finding]:
    """Ray's authentication: after the first local start every cluster of this machine wants a token."""
    mode = os.environ.get("RAY_AUTH_MODE")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    has_token = "RAY_AUTH_TOKEN" in os.environ or path.exists()
    if mode == "token" and not has_token:
        yield Finding(
            name="ray token",
            severity="error",
            found=f"RAY_AUTH_MODE is token, and {path} is not there",
            fix="ray get-auth-token --generate, or copy the cluster's token there (docs/running.md#authentication).",
        )
    elif path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        fix = f"chmod 600 {path}"
        found = f"{path} can be read by others ({stat.filemode(path.stat().st_mode)})"
        yield Finding(name="ray token", severity="warning", found=found, fix=fix)
    elif has_token and mode is None:
        found = "there is a token; isoflop uses it for clusters (--address)"
        fix = "For Ray's own commands: export RAY_AUTH_MODE=token"
        yield Finding(name="ray token", severity="ok", found=found, fix=fix)
    else:
        found = f"RAY_AUTH_MODE is {mode or 'not set'}, {'a' if has_token else 'no'} token"
        yield Finding(name="ray token", severity="ok", found=found)


def disks(place: str) -> Iterator[Finding]:
    """Free space where the store is to be, and in the temporary folder, where Ray keeps its session."""
    folders = [] if "://" in place else [("disk of the store", _existing(Path(place)))]
    for name, folder in [*folders, ("temporary disk", Path(tempfile.gettempdir()))]:
        usage = shutil.disk_usage(folder)
        found = f"{folder}: {usage.free / 1e9:.1f} GB free of {usage.total / 1e9:.1f}"
        if usage.free < LOW_DISK_BYTES / 10:
            severity: Severity = "error"
        else:
            full = usage.used / usage.total > RAY_FULL_SHARE
            severity = "warning" if full or usage.free < LOW_DISK_BYTES else "ok"
        elsewhere = "TMPDIR" if name == "temporary disk" else "--store"
        fix = f"Free some space, or go elsewhere with {elsewhere}." if severity != "ok" else ""
        yield Finding(name=name, severity=severity, found=found, fix=fix)


def create_only(place: str) -> Iterator[Finding]:
    """Whether a second create of one name fails here, which everything that is committed rests on."""
    root = place if "://" in place else str(_existing(Path(place)))
    try:
        overwrites = _overwrites(root)
    except (OrchestratorError, OSError) as error:
        found, overwrites = f"{root} cannot be written: {error}", True
    else:
        found = f"{root} overwrites an object that exists" if overwrites else f"{root} refuses to overwrite"
    if overwrites:
        fix = "Name another place with --store: a local disk, NFS, or a bucket with conditional writes."
        yield Finding(name="store", severity="error", found=found, fix=fix)
    else:
        yield Finding(name="store", severity="ok", found=f"{found}, so it can hold a store")


def _overwrites(root: str) -> bool:
    """Try it, and leave nothing behind."""
    from orchestrator.store.objects import ObjectExists, open_objects

    folder = f".isoflop-doctor-{secrets.token_hex(8)}"
    objects = open_objects(f"{root.rstrip('/')}/{folder}")
    try:
        objects.create("probe", b"first")
        objects.create("probe", b"second")
    except ObjectExists:
        return False
    finally:
        if "://" in root:
            objects.delete("probe")
        else:
            shutil.rmtree(Path(root, folder), ignore_errors=True)
    return True


def _existing(path: Path) -> Path:
    """The path, or its nearest parent that is there."""
    path = path.expanduser().resolve()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def data(folder: str | None) -> Iterator[Finding]:
    """Whether there is text to train on, and how much."""
    from trainer import CorpusError
    from trainer.data.sources import StandardLibrary, TextFiles, describe, estimate

    source = StandardLibrary() if folder is None else TextFiles(paths=(folder,))
    try:
        size = estimate(source)
    except CorpusError as error:
        fix = "Name text with --data, and in the sweep file: data: {source: text, files: [...]}."
        yield Finding(name="data", severity="error", found=str(error), fix=fix)
        return
    found = f"{describe(source)[0]}: about {size / 1e6:.1f} MB of training text"
    if size < LEAST_TEXT_BYTES:
        fix = "Add text: runs would read it several times (data.allow_epochs)."
        yield Finding(name="data", severity="warning", found=found, fix=fix)
    else:
        yield Finding(name="data", severity="ok", found=found)
