"""The fault matrix: what happens to whom, at which step of the way from a plan to a finished sweep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

DRIVER_STEPS = {
    "snapshot": ("store.json.after_write", "store.json.after_link", "corpora.after_write", "corpora.after_link"),
    "plan": ("sweeps.after_write", "sweeps.after_link", "driver.after_link", "driver.begun"),
    "propose": (
        "propose.before",
        "proposals.before_write",
        "proposals.after_write",
        "proposals.after_link",
        "proposals.after_sync",
        "propose.after",
    ),
    "dispatch": ("dispatch.before", "dispatch.after"),
    "outcome": ("outcome.before",),
    "event": ("event.before", "event.middle"),
    "compaction": ("tables.before", "tables.before_write", "tables.after_write", "tables.after_rename"),
    "end": ("driver.ended",),
}
"""Failpoints that the driver passes, by step."""

WORKER_STEPS = {
    "start": ("attempt.start",),
    "training": ("train.step",),
    "checkpoint": ("checkpoint.middle", "checkpoint.after"),
    "before commit": ("attempt.before_commit", "commits.before_write"),
    "temporary file": ("commits.after_write",),
    "after link": ("commits.after_link", "commits.after_sync"),
    "tidying": ("attempt.before_tidying",),
}
"""Failpoints that a worker passes, by step."""

COUNTS = {
    "train.step": (1, 6, 17, 40),
    "checkpoint.middle": (1, 3, 6),
    "proposals.after_write": (1, 4),
    "proposals.after_link": (1, 4, 6),
    "propose.before": (1,),
    "propose.after": (1,),
    "event.middle": (1, 6, 12),
    "commits.after_write": (1, 3, 6),
    "commits.after_link": (1, 3, 6),
    "tables.before": (1,),
    "driver.ended": (1,),
}
"""Passes at which a failpoint strikes, where not the first and the third, or at steps that come once the first."""

ONCE = ("snapshot", "plan")
"""Steps that come once."""

WRITES = (
    ("propose", "proposals.before_write"),
    ("propose", "proposals.after_write"),
    ("checkpoint", "checkpoint.middle"),
    ("before commit", "commits.before_write"),
    ("temporary file", "commits.after_write"),
    ("event", "event.write"),
    ("compaction", "tables.before_write"),
    ("compaction", "tables.after_write"),
)
"""Where a disk may refuse."""

SYNCS = (1, 2, 3, 5, 8, 9, 10, 11, 13, 14)
"""Syncs, counted through a whole sweep, that fail."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One fault at one step.

    Attributes:
        step: Step of the way.
        fault: What happens.
        driver: Failpoints armed in the first driver.
        workers: Failpoints by number of task; None trains in the driver's process.
        again: Failpoints armed in the second driver.
        code: How the first driver may end: exit codes, or signals' negative numbers.
        faults: Faults that may each cost one checkpoint interval of each worker.
    """

    step: str
    fault: str
    driver: str = ""
    workers: dict[int, str] | None = None
    again: str = ""
    code: tuple[int, ...] = (0,)
    faults: int = 1
    options: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of its test."""
        worker = "".join(f" worker{number}:{armed}" for number, armed in (self.workers or {}).items())
        return f"{self.step}-{self.fault}-{self.driver}{worker}{' then ' + self.again if self.again else ''}"


def cells() -> list[Cell]:
    """Every cell that needs neither Ray nor a bucket."""
    return [
        *_signals(),
        *_disk(),
        *_clock(),
        *_two_faults(),
        *_workers(),
    ]


def _signals() -> Iterator[Cell]:
    """The process that holds driver and worker is killed, or told to end, at every step."""
    for step, failpoints in (DRIVER_STEPS | WORKER_STEPS).items():
        for failpoint in failpoints:
            for count in COUNTS.get(failpoint, (1,) if step in ONCE else (1, 3)):
                yield Cell(step=step, fault="kill -9", driver=f"{failpoint}=kill@{count}", code=(-9,))
            ended = (0,) if step == "end" or failpoint == "tables.before" else (130, -15)
            yield Cell(step=step, fault="SIGTERM", driver=f"{failpoint}=terminate", code=ended)
            if step in ("dispatch", "training", "after link"):
                yield Cell(step=step, fault="Ctrl-C", driver=f"{failpoint}=interrupt", code=(130,))


def _disk() -> Iterator[Cell]:
    """The disk is full, or fails, from some write or sync on."""
    for step, failpoint in WRITES:
        for action, fault in (("full", "disk full"), ("broken", "I/O error")):
            yield Cell(step=step, fault=fault, driver=f"{failpoint}={action}@2", code=(3,))
    for count in SYNCS:
        yield Cell(step="any sync", fault="I/O error", driver=f"disk.sync=broken@{count}", code=(3,))
        yield Cell(step="any sync", fault="disk full", driver=f"disk.sync=full@{count}", code=(3,))


def _clock() -> Iterator[Cell]:
    """The wall clock of the second driver is minutes behind or ahead of the first's."""
    for step, failpoint in (
        ("propose", "proposals.after_link"),
        ("training", "train.step"),
        ("after link", "commits.after_link"),
    ):
        for first, second in ((120, -120), (-120, 120)):
            yield Cell(
                step=step,
                fault="clock ±120 s",
                driver=f"clock={first};{failpoint}=kill@2",
                again=f"clock={second}",
                code=(-9,),
            )


def _two_faults() -> Iterator[Cell]:
    """The driver that continues is killed, too."""
    for step, first, second in (
        ("propose", "proposals.after_link=kill@3", "proposals.after_link=kill@2"),
        ("training", "train.step=kill@9", "train.step=kill@7"),
        ("checkpoint", "checkpoint.middle=kill@2", "checkpoint.middle=kill"),
        ("after link", "commits.after_link=kill", "commits.after_link=kill"),
        ("event", "event.middle=kill@4", "event.middle=kill"),
        ("compaction", "tables.after_write=kill", "tables.after_write=kill@2"),
        ("tidying", "attempt.before_tidying=kill", "driver.begun=kill"),
    ):
        yield Cell(step=step, fault="kill -9 twice", driver=first, again=second, code=(-9,), faults=2)


def _workers() -> Iterator[Cell]:
    """One of two worker processes is killed or told to end while the driver lives, and the driver carries on."""
    for step, failpoints in WORKER_STEPS.items():
        for failpoint in failpoints:
            for number in (0, 3):
                yield Cell(step=step, fault="kill -9 worker", workers={number: f"{failpoint}=kill"})
    for number, count in ((0, 2), (1, 7), (4, 12)):
        yield Cell(step="training", fault="SIGTERM worker", workers={number: f"train.step=terminate@{count}"})
    yield Cell(
        step="training",
        fault="kill -9 every worker once",
        workers=dict.fromkeys(range(6), "train.step=kill@9"),
        faults=6,
    )
    yield Cell(
        step="start", fault="kill -9 every worker once", workers=dict.fromkeys(range(6), "attempt.start=kill"), faults=6
    )
    for step, failpoint in (("training", "train.step@9"), ("checkpoint", "checkpoint.middle@2")):
        name, _, count = failpoint.partition("@")
        yield Cell(
            step=step,
            fault="frozen worker",
            workers={1: f"{name}=freeze@{count}"},
            options={"stuck_seconds": 0.2},
        )
    for step, failpoint in (("before commit", "commits.before_write"), ("temporary file", "commits.after_write")):
        yield Cell(step=step, fault="disk full at worker", workers={1: f"{failpoint}=full"}, code=(3,), faults=2)
    for step, failpoint in (("training", "outcome.before"), ("dispatch", "dispatch.after"), ("event", "event.middle")):
        for count in (1, 4):
            yield Cell(
                step=step, fault="kill -9 driver", driver=f"{failpoint}=kill@{count}", workers={}, code=(-9,), faults=2
            )
