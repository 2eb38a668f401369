"""`--tracker tensorboard=DIR|wandb=PROJECT`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec

from orchestrator.errors import SweepError
from orchestrator.observing import Observer
from orchestrator.tracking.mirror import Mirror
from orchestrator.tracking.tracker import Tracker

KINDS = ("tensorboard", "wandb")


def tracker_of(choice: str) -> tuple[str, Callable[[], Tracker]]:
    """Name and maker of a tracker.

    Args:
        choice: `KIND=TARGET`.

    Raises:
        SweepError: An unknown kind, no target, or its package is not installed.
    """
    kind, _, target = choice.partition("=")
    if kind not in KINDS or not target:
        raise SweepError(
            f"--tracker {choice}: not known; expected tensorboard=FOLDER or wandb=PROJECT. Correct it, or leave it out."
        )
    found = find_spec(kind)
    if found is None or found.origin is None:  # without an origin it is a folder of that name, such as W&B's own runs
        raise SweepError(
            f"--tracker {choice}: the package {kind} is not installed; expected it beside isoflop. "
            "pip install 'isoflop[trackers]', or leave the option out: the store has everything."
        )
    return kind, partial(_open, kind, target)


@contextmanager
def mirrored(
    shown: AbstractContextManager[Observer], trackers: Iterable[tuple[str, Callable[[], Tracker]]], store: str
) -> Iterator[Observer]:
    """An observer and trackers as one observer, open for as long as the sweep runs.

    Args:
        shown: Who shows the sweep.
        trackers: From `tracker_of`.
        store: Where the curves are.
    """
    with ExitStack() as open_ones:
        observer = open_ones.enter_context(shown)
        for name, make in trackers:
            observer = open_ones.enter_context(Mirror(observer, name, make, store))
        yield observer


def _open(kind: str, target: str) -> Tracker:
    if kind == "tensorboard":
        from orchestrator.tracking.tensorboard import TensorBoard

        return TensorBoard(target)
    from orchestrator.tracking.wandb import WeightsAndBiases

    return WeightsAndBiases(target)
