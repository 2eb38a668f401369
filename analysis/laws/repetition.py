"""Limited data: an additive law with the value of repeated tokens that Muennighoff et al. 2023 measured."""

from __future__ import annotations

import numpy as np

from analysis.errors import LawError
from analysis.forms import find_form
from analysis.laws.surface import Surface

REPEATS = {"R_N": 5.309743, "R_D": 15.387756}
"""Half-lives of excess parameters and of repeated tokens (arXiv:2305.16264, section 6; C4, up to 8.7B parameters)."""


def limit_data(surface: Surface, unique_tokens: float) -> Surface:
    """The same law where only so many distinct tokens exist.

    An additive law gets the published half-lives; a law of repeated data keeps its own.

    Args:
        surface: The law.
        unique_tokens: Distinct tokens U.

    Raises:
        LawError: A form that has no room for repeated data.
    """
    columns = {**surface.columns, "unique_tokens": unique_tokens}
    if "unique_tokens" in surface.form.columns:
        return Surface(form=surface.form, coefficients=surface.coefficients, shapes=surface.shapes, columns=columns)
    if surface.form.name != "additive":
        raise LawError(
            f"{surface.form.name} does not say what repeated data are worth: expected the additive or the "
            "repeated-data form."
        )
    borrowed = np.tile([REPEATS["R_N"], REPEATS["R_D"]], (len(surface.coefficients), 1))
    return Surface(
        form=find_form("repeated-data"),
        coefficients=np.column_stack([surface.coefficients, borrowed]),
        shapes=surface.shapes,
        columns=columns,
    )


def worth_of_epochs(epochs: float, half_life: float = REPEATS["R_D"]) -> float:
    """How many epochs of fresh data so many epochs of the same data are worth."""
    return 1 + half_life * (1 - float(np.exp(-max(epochs - 1, 0.0) / half_life)))
