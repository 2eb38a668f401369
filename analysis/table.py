"""`Runs`: a table of finished runs in canonical columns, and what is known about how it came to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import SourceError
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

    def where(self, **values: object) -> Runs:
        """The runs with these values, such as `runs.where(setting="swiglu")`.

        Raises:
            SourceError: A column that is not there, or a value that no run has.
        """
        frame = self.frame
        for name, value in values.items():
            if name not in frame:
                raise SourceError(
                    f"{self.source or 'the table'} has no column {name!r}; expected one of "
                    f"{', '.join(map(str, frame.columns))}. Choose by one of these."
                )
            known = frame[name].dropna().unique()
            frame = frame[frame[name] == value]
            if frame.empty:
                raise SourceError(
                    f"no run has {name} {value!r}; expected one of {', '.join(map(str, known)) or 'nothing: it is empty'}. "
                    "Choose one of these."
                )
        return replace(self, frame=frame.reset_index(drop=True))
