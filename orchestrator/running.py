"""`run`: everything around the driver, from a checked sweep to the fits at the end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator import corpora, cost, ladder, sharing, watching
from orchestrator.driving import Driver
from orchestrator.errors import StoreError, SweepError
from orchestrator.execution.inline import InlineLauncher
from orchestrator.execution.launcher import Launcher
from orchestrator.execution.trainers import trainer_of
from orchestrator.ledger import Ledger
from orchestrator.observing import Observer, Result, Snapshot
from orchestrator.planning import Plan, Point, plan
from orchestrator.provenance import made_with
from orchestrator.status import failed_count
from orchestrator.store import Document, ObjectExists, Store
from orchestrator.store.contents import Contents, read_contents
from orchestrator.store.lease import acquire
from orchestrator.sweep import Resources, Sweep
from orchestrator.version import refuse_shadowed_packages
from trainer import RECIPE_VERSION

DEFAULT_MAX_HOURS = 12.0
"""Longest predicted wall time that starts unasked (chosen: a night)."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What a changed sweep file changes in a store.

    Attributes:
        kept: Runs of the plan that the store has proposed before.
        added: Runs of the plan that are new.
        unwanted: Runs in the store, not committed, that the plan has no more.
    """

    kept: int
    added: int
    unwanted: int


class Silent:
    """An observer that shows nothing."""

    def update(self, snapshot: Snapshot) -> None:
        """See `Observer.update`."""

    def finished(self, row: dict[str, object]) -> None:
        """See `Observer.finished`."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where and how a sweep is run; nothing here is part of what is trained.

    Attributes:
        address: Ray cluster to use; None starts an embedded Ray.
        inline: Train in this process, without Ray.
        launcher: Execute attempts with this one, in place of Ray; it is closed at the end.
        max_hours: Predicted wall time beyond which `confirm` is asked.
        take_over: Take the store from another driver.
        stuck_seconds: An attempt that makes no step for so long, or for five of its usual steps, is killed.
        confirm: Asked before something that may not be wanted; returns whether to go on.
        announce: Told, before anything is spent, the plan, its points that are left, and how many fit at once.
        observer: Watches the sweep.
    """

    address: str | None = None
    inline: bool = False
    launcher: Launcher | None = None
    max_hours: float = DEFAULT_MAX_HOURS
    take_over: bool = False
    stuck_seconds: float = watching.LEAST_SECONDS
    confirm: Callable[[str], bool] = lambda question: False
    announce: Callable[[Plan, Sequence[Point], int], None] = lambda plan, left, workers: None
    observer: Observer = field(default_factory=Silent)


def run(sweep: Sweep, store: str | Path, options: Options | None = None) -> Result:
    """Run a sweep, or continue it: what the plan has and the store has not.

    Args:
        sweep: What is to be trained, from `load_sweep`.
        store: Folder that holds the sweep; made where it is not there.
        options: Where and how.

    Raises:
        OrchestratorError: See `orchestrator.errors`.
    """
    options = options or Options()
    refuse_shadowed_packages(in_workers=not options.inline)
    if options.address is None:
        for name in dict.fromkeys(variant.sweep.trainer_name for variant in sweep.variants()):
            trainer_of(name)  # a mistake in its name costs nothing here
    guess = cost.first_guess(sweep)
    place = Store(store)
    _refuse_other_sweep(sweep, place)
    known = corpora.known(sweep.data, place) if place.exists() else None
    made = plan(sweep, known or corpora.estimated(sweep.data), guess)
    _ask_about_time(made, options)
    nothing_left = known is not None and not _left(made, place)  # then no worker is needed
    launcher = InlineLauncher(Resources()) if nothing_left else _launcher(sweep.resources, options)
    try:
        place.initialise()
        lease = acquire(place.objects, take_over=options.take_over)
        try:
            if known is None:
                made = plan(sweep, corpora.snapshot(sweep.data, place), guess)
            contents = _ask_about_changes(made, place, options)
            place.withdraw()
            left = _left(made, place)
            gpu_memory = sharing.prepare(sweep.resources, launcher, [point.spec for point in left])
            options.announce(made, left, launcher.slots())
            with _interrupts() as asked_to_stop:

                def drive(stage: Plan, contents: Contents | None = None) -> Result:
                    return Driver(
                        plan=stage,
                        store=place,
                        lease=lease,
                        launcher=launcher,
                        observer=options.observer,
                        guess=guess,
                        grows=options.address is not None,
                        gpu_memory=gpu_memory,
                        watch=watching.Watch(place, least=options.stuck_seconds),
                        asked_to_stop=asked_to_stop,
                        contents=contents,
                    ).run()

                if sweep.ladder is None:
                    return drive(made, contents)
                first = drive(ladder.first_stage(made), contents)
                if first.stopped is not None or failed_count(first.counts):
                    return first
                return drive(ladder.with_predictions(made, place))
        finally:
            lease.release()
    finally:
        launcher.close()


def difference(made: Plan, contents: Contents) -> Difference:
    """What the plan changes in a store that holds `contents`."""
    ledger = Ledger(contents)
    opened, wanted = set(ledger.open_runs()), {point.run_id for point in made.points}
    known = {run_id for run_id in wanted if run_id in opened or ledger.is_committed(run_id)}
    return Difference(kept=len(known), added=len(wanted - known), unwanted=len(opened - wanted))


def _left(made: Plan, store: Store) -> list[Point]:
    """Points that are not committed."""
    committed = set(store.objects.names("commits"))
    return [point for point in made.points if f"{point.run_id}.json" not in committed]


def _refuse_other_sweep(sweep: Sweep, store: Store) -> None:
    if not store.exists():
        return
    revisions = store.sweeps()
    if revisions and revisions[-1]["sweep"]["name"] != sweep.name:
        held = revisions[-1]
        raise StoreError(
            f'{store.location} holds sweep "{held["sweep"]["name"]}" (hash {held["hash"][:8]}), this file is '
            f'"{sweep.name}" '
            f"(hash {sweep.content_hash[:8]}); expected the same sweep. Use another --store."
        )


def _ask_about_time(made: Plan, options: Options) -> None:
    workers = 1 if options.inline else (os.cpu_count() or 1) / made.sweep.resources.cpus
    if options.address is not None:
        return  # a cluster's size is not known yet, and it may grow
    hours = made.seconds / max(workers, 1) / 3600
    if hours <= options.max_hours:
        return
    largest = max(point.budget for point in made.points)
    length = f"{hours / 24:.0f} days" if hours > 48 else f"{hours:.0f} hours"
    message = f"budgets up to {largest:.3g} FLOPs on {max(workers, 1):g} CPU workers: about {length}"
    if not options.confirm(f"{message}. Start?"):
        raise SweepError(
            f"{message}; without a question at most {options.max_hours:g} hours are started. "
            "Use smaller budgets, --max-hours, --yes, or a cluster (--address)."
        )


def _ask_about_changes(made: Plan, store: Store, options: Options) -> Contents | None:
    """Show what a changed sweep file or recipe means, and keep it; returns what had to be read for that."""
    revisions = store.sweeps()
    older = _other_recipe(made.sweep, revisions)
    if revisions and revisions[-1]["hash"] == made.sweep.content_hash and older is None:
        return None
    contents = read_contents(store) if revisions else None
    if contents is not None:
        change = difference(made, contents)
        if older is not None:
            message = (
                f"this version trains recipe {RECIPE_VERSION}, and the store's runs are of recipe {older}, with other losses: "
                f"{change.added} runs to make, {change.kept} kept"
            )
            if not options.confirm(f"{message}. Go on?"):
                raise SweepError(
                    f"{message}; expected consent. Finish with the version that began, use another --store, or repeat "
                    "with --yes to make them here."
                )
        else:
            message = (
                f"the sweep file changed: {change.kept} runs kept, {change.added} to add, "
                f"{change.unwanted} no longer wanted"
            )
            if change.unwanted and not options.confirm(f"{message}. Go on?"):
                raise SweepError(f"{message}; expected consent to leave runs out. Repeat with --yes to go on.")
    try:
        store.add_sweep(made.sweep, made_with())
    except ObjectExists:
        raise StoreError(f"{store.location}: another driver changed the sweep just now. Repeat the command.") from None
    return contents


def _other_recipe(sweep: Sweep, revisions: Sequence[Document]) -> int | None:
    """The recipe that a store was last driven with, where it is not this version's and decides the sweep's losses."""
    if not revisions or all(variant.sweep.trainer_name is not None for variant in sweep.variants()):
        return None
    held = int(revisions[-1].get("made_with", {}).get("recipe", 1))  # not written before recipe 2
    return held if held != RECIPE_VERSION else None


def _launcher(resources: Resources, options: Options) -> Launcher:
    if options.launcher is not None:
        return options.launcher
    if options.inline:
        return InlineLauncher(resources)
    from orchestrator.execution.ray import RayLauncher

    return RayLauncher(resources, options.address)


@contextmanager
def _interrupts() -> Iterator[Callable[[], str | None]]:
    """Ctrl-C or SIGTERM once asks the sweep to stop after checkpoints; twice ends at once."""
    asked: list[str] = []

    def note(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append("interrupted" if number == signal.SIGINT else "terminated")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked[0] if asked else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
