"""Results that may not exist: a report is written whatever the data, and says why a part of it is missing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from analysis.errors import AnalysisError

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Failed:
    """Why something could not be computed.

    Attributes:
        reason: What is wrong, what was expected, and what to do.
    """

    reason: str


def attempt(compute: Callable[[], Result]) -> Result | Failed:
    """The result, or why there is none; errors that only a bug can cause are not caught."""
    try:
        return compute()
    except AnalysisError as error:
        return Failed(reason=str(error))
    except np.linalg.LinAlgError as error:
        _log.warning("a fit met a singular matrix", exc_info=True)
        return Failed(
            reason=f"the equations have no unique solution ({error}): the runs are too alike. Add sizes or budgets."
        )


def found(result: Result | Failed) -> Result | None:
    """The result, None where it failed."""
    return None if isinstance(result, Failed) else result
