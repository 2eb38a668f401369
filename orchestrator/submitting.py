"""`submit`: a sweep as a job of a Ray cluster, so that its driver lives there and this machine may sleep."""

from __future__ import annotations

import hashlib
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import StoreError, SubmissionError
from orchestrator.execution.jobs import Job, JobServer
from orchestrator.packing import Package, choose, write_archive
from orchestrator.sweep import Sweep
from orchestrator.sweep.file import load_sweep, presets
from orchestrator.version import SUBMITTED_BY, code_version, refuse_shadowed_packages


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What is to be submitted.

    Attributes:
        sweep: The sweep, read and checked here.
        command: What the head's shell runs.
        name: Submission id of the sweep's first job on a cluster; later ones get a number.
        package: The files that travel.
        elsewhere: Text that the sweep names by an absolute path outside the folder; it does not travel.
    """

    sweep: Sweep
    command: str
    name: str
    package: Package
    elsewhere: tuple[str, ...]


def prepare(
    sweep: str, store: str, *, settings: Sequence[str] = (), folder: Path, shared: bool = False, take_over: bool = False
) -> Submission:
    """Check a sweep and what it needs, before any cluster is asked.

    Args:
        sweep: A preset, or a sweep file in `folder`.
        store: A bucket, or with `shared` a folder that every node sees.
        settings: Values that replace those of the sweep file.
        folder: The folder that travels.
        shared: Whether `store` may be a folder.
        take_over: Whether the job takes the store from another driver.

    Raises:
        SweepError: The sweep file is wrong.
        StoreError: The nodes of a cluster cannot share the store.
        SubmissionError: The folder is too large, or does not hold what the sweep names.
    """
    wanted = load_sweep(sweep, settings)
    _refuse_unshared(store, shared=shared)
    refuse_shadowed_packages(in_workers=True)
    package = choose(folder)
    words = ["isoflop", "run", _in_package(sweep, package), "--address", "auto", "--store", store, "--yes"]
    words += [word for setting in settings for word in ("--set", setting)]
    words += ["--take-over"] if take_over else []
    elsewhere = _text_elsewhere(wanted, package)
    identity = hashlib.sha256(store.rstrip("/").encode()).hexdigest()[:8]
    return Submission(
        sweep=wanted,
        command=shlex.join(words),
        name=f"isoflop-{wanted.name}-{identity}",
        package=package,
        elsewhere=elsewhere,
    )


def attach(server: JobServer, submission: Submission) -> tuple[str, bool, bool]:
    """The job that runs the sweep, submitted where none does.

    Returns:
        Its submission id, whether it was submitted now, and whether it runs the folder as it is now.
    """
    jobs = server.jobs()
    under_way, number = _latest(jobs, submission.name)
    with tempfile.TemporaryDirectory(prefix="isoflop-submit-") as room:
        archive = Path(room) / "folder.zip"
        write_archive(submission.package, archive)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()[:16]
        metadata = {"isoflop": code_version(), "folder": digest, "command": submission.command}
        if under_way is not None:
            same = all(under_way.metadata.get(key) == value for key, value in metadata.items())
            return under_way.name, False, same
        name = submission.name if number == 1 else f"{submission.name}-{number}"
        server.submit(
            name,
            command=submission.command,
            archive=archive,
            environment={SUBMITTED_BY: code_version()},
            metadata=metadata,
        )
    return name, True, True


def exit_code(job: Job) -> int:
    """What the command ends with: the driver's own exit code where it had one."""
    if job.status == "SUCCEEDED":
        return 0
    if job.status == "STOPPED":
        return 130
    return job.exit_code if job.exit_code and job.exit_code > 0 else 3


def _latest(jobs: Mapping[str, Job], name: str) -> tuple[Job | None, int]:
    """The job of a sweep that is under way, and the number that the next one would have."""
    number = 1
    while (job := jobs.get(name if number == 1 else f"{name}-{number}")) is not None:
        if not job.ended:
            return job, number
        number += 1
    return None, number


def _refuse_unshared(store: str, *, shared: bool) -> None:
    if "://" in store:
        return
    if not shared:
        raise StoreError(
            f"--store is {store}, a folder of one machine; expected a place that every node sees. "
            "Use a bucket (s3://..., gs://...), or say --shared where the folder is a mount on every node."
        )
    if not Path(store).is_absolute():
        raise StoreError(
            f"--store is {store}, relative to a folder that the job does not have; expected an absolute path. "
            "Write it from / on."
        )


def _in_package(sweep: str, package: Package) -> str:
    """The sweep as the job names it: a preset, or a path below its working folder."""
    if sweep in presets():
        return sweep
    path = Path(sweep)
    if not package.holds(path):
        raise SubmissionError(
            f"{sweep} is not among the files that are sent from {package.root}; expected it there, and not ignored. "
            "Start isoflop submit in its folder, or take it out of .gitignore."
        )
    return path.resolve().relative_to(package.root).as_posix()


def _text_elsewhere(sweep: Sweep, package: Package) -> tuple[str, ...]:
    """What the sweep reads by an absolute path outside the folder: the head must have it there.

    Raises:
        SubmissionError: Text that belongs to the folder would stay behind.
    """
    elsewhere = []
    for source in (sweep.data, *sweep.data.mixture.values()):
        for wanted in [*source.files, *([source.path] if source.path else [])]:
            fixed = Path(wanted.partition("*")[0].partition("?")[0].partition("[")[0])
            if package.holds(fixed if fixed.exists() else fixed.parent):
                continue
            if ".." not in fixed.parts and not fixed.is_relative_to(package.root):
                elsewhere.append(wanted)
                continue
            raise SubmissionError(
                f"the sweep's data names {wanted}, which is not among the files that are sent from {package.root}; "
                "expected the text there, and not ignored. Move it below that folder, or take it out of .gitignore."
            )
    return tuple(elsewhere)


def summary(submission: Submission) -> list[str]:
    """What travels, and what never does, for a person."""
    package = submission.package
    lines = [f"sends {len(package.files)} files, {_megabytes(package.size)}, from {package.root}"]
    if package.size > 1e6:
        lines.append("largest: " + ", ".join(f"{name} {_megabytes(size)}" for name, size in package.largest))
    if package.left_out:
        shown = [f"{name} ({why})" for name, why in package.left_out if why != "cache"]
        caches = sum(why == "cache" for _, why in package.left_out)
        shown += [f"{caches} caches"] if caches else []
        lines.append("leaves out " + ", ".join(shown) + ", and what .gitignore names")
    lines += [f"not sent: {path}, which the head must have there" for path in submission.elsewhere]
    return lines


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
