"""A training budget in FLOPs, from exactly one of the ways in which people state it."""

from __future__ import annotations

import numpy as np

from analysis.errors import LawError
from analysis.laws.models import ACCELERATORS

DEFAULT_MFU = 0.4
"""Model FLOPs utilisation (chosen: what well-tuned dense training reaches on current accelerators)."""


def resolve_budget(
    flops: float | None, match_size: float | None, gpu: str | None, gpus: int, days: float | None, mfu: float
) -> float | None:
    """Training FLOPs from exactly one of its descriptions; None for `match_size`."""
    given = [name for name, value in (("flops", flops), ("match_size", match_size), ("gpu", gpu)) if value is not None]
    if len(given) != 1:
        raise LawError(
            f"the budget is given by {given or 'nothing'}: expected one of flops, match_size, or gpu with days."
        )
    for name, value in (("flops", flops), ("match_size", match_size), ("gpus", gpus), ("days", days)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise LawError(f"{name} {value!r}: expected a positive number.")
    if gpu is None:
        return flops
    if gpu not in ACCELERATORS:
        raise LawError(f"gpu {gpu!r} is unknown: expected one of {', '.join(ACCELERATORS)}. Or pass flops.")
    if days is None:
        raise LawError(f"gpu {gpu} without days: expected how long it runs. Pass days=30 (--days 30).")
    if not 0 < mfu <= 1:
        raise LawError(f"mfu {mfu!r}: expected a share of peak between 0 and 1, such as .4.")
    return ACCELERATORS[gpu].flops_per_second * gpus * days * 86400 * mfu
