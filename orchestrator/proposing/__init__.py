"""Who proposes points: the planned grid, the law-informed sampler, or one of Optuna's. Optuna is imported here alone.

`Proposer` loads at first use: the mathematics beside it needs no Optuna.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.proposing.proposer import Proposer

__all__ = ["Proposer"]


def __getattr__(name: str) -> Any:
    if name != "Proposer":
        raise AttributeError(f"module 'orchestrator.proposing' has no attribute {name!r}")
    from orchestrator.proposing.proposer import Proposer

    return Proposer
