"""`Runs`: a table of finished runs in canonical columns, and what is known about how it came to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.results import Dropped

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Finished runs, one row each, ready for a fit.

    Attributes:
        frame: Columns `params` (N), `tokens` (D), `flops` (C) and `loss`, finite and positive; `budget` where the source has
            one; and every other column of the source under its own name. Fresh index from 0.
        derived: For each canonical column that the source did not have, the formula it was derived by,
            for example {"tokens": "flops / (6 params)"}.
        dropped: Rows left out on reading, with reasons.
        params_convention: What `params` counts, None where the source does not say.
        flops_rule: How `flops` are counted: `exact`, `exact-causal`, `6nd`, or None where the source does not say.
        source: What was read, for messages.
        first_look: Number of finished runs from which on the sweep stopped as soon as its own interval was narrow
            enough (`stop.target_interval`); None for a sweep whose runs were fixed beforehand.
    """

    frame: pd.DataFrame
    derived: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[Dropped, ...] = ()
    params_convention: str | None = None
    flops_rule: str | None = None
    source: str = ""
    first_look: int | None = None

    def __len__(self) -> int:
        return len(self.frame)

    def column(self, name: str) -> Array:
        """One numeric column as a float64 array of shape (n,)."""
        return self.frame[name].to_numpy(dtype=np.float64)
