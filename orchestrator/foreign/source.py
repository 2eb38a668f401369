"""What a reader of foreign runs gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class ForeignRuns:
    """Runs as somebody else wrote them down.

    Attributes:
        kind: `table`, `wandb` or `nanochat`.
        name: What was read, for messages.
        frame: One row per run, under the source's own names.
        columns: Source column of each canonical one that the kind fixes; the user's own map goes before.
        identity: Column that names a run, here and everywhere; None where rows are told apart by their values.
        params_convention: What N counts, None where the source does not say.
        flops_rule: How C is counted, None where the source does not say.
        notes: What a reader of the numbers must know.
    """

    kind: str
    name: str
    frame: pd.DataFrame
    columns: Mapping[str, str] = field(default_factory=dict)
    identity: str | None = None
    params_convention: str | None = None
    flops_rule: str | None = None
    notes: tuple[str, ...] = ()
