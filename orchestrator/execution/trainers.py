"""Which function trains: ours, one of the user's own, named `module:function` in the sweep file, or a command."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import trainer
from orchestrator.errors import SweepError
from orchestrator.execution import command
from trainer import RunRecord, RunSpec
from trainer.execution import Execution

Train = Callable[[RunSpec, Execution], RunRecord]


def trainer_of(name: str | Sequence[str] | None) -> Train:
    """The function that trains a spec.

    Args:
        name: `module:function`, the words of a command, or None for ours. A function is called with the spec, and with
            an `Execution` where it takes two arguments.

    Raises:
        SweepError: It cannot be imported or started here, or is no function of a spec.
    """
    if name is None:
        return trainer.train
    if not isinstance(name, str):
        command.check(name)
        return command.train_by(name)
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), attribute)
        arguments = len(inspect.signature(found).parameters)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise SweepError(
            f"trainer {name}: {error}; expected module:function that every node can import. Put it on PYTHONPATH, or "
            "install it."
        ) from None

    def train(spec: RunSpec, execution: Execution) -> RunRecord:
        return _checked(name, found(spec) if arguments == 1 else found(spec, execution))

    return train


def _checked(name: str, record: Any) -> RunRecord:
    if not isinstance(record, RunRecord):
        raise SweepError(
            f"trainer {name} returned {type(record).__name__}; expected a trainer.RunRecord. Return one, or raise."
        )
    return record
