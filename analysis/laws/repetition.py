"""Limited data: an additive law with the value of repeated tokens that Muennighoff et al. 2023 measured."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """How to spend D tokens between a good corpus that may be repeated and fresh but worse data.

    Attributes:
        epochs: Passes over the good corpus.
        other_tokens: Tokens of the other data.
        loss: Predicted loss of this mixture.
        loss_repeating: Predicted loss of repeating the good corpus alone.
        loss_other: Predicted loss of one pass over the good corpus and the other data for the rest.
    """

    epochs: float
    other_tokens: float
    loss: float
    loss_repeating: float
    loss_other: float


def crossover_epochs(quality: float, half_life: float = REPEATS["R_D"]) -> float:
    """Epochs after which a fresh token of the other data is worth more than another look at the good corpus.

    The k-th repeat of a token is worth exp(-k / R_D) of a fresh one, so that the values cross at 1 + R_D ln(1 /
    quality).

    Args:
        quality: What a token of the other data is worth in tokens of the good corpus, in (0, 1], as `compare` of two
            sweeps gives it.
        half_life: R_D.

    Raises:
        LawError: A quality outside (0, 1].
    """
    if not 0 < quality <= 1:
        raise LawError(f"quality {quality!r}: expected a share in (0, 1], what its tokens are worth in good ones.")
    return 1 + half_life * float(np.log(1 / quality))


def plan_data(surface: Surface, *, params: float, tokens: float, unique_tokens: float, quality: float) -> DataPlan:
    """Split D tokens between repeating a good corpus and mixing in worse data, by predicted loss.

    Args:
        surface: An additive law.
        params: N.
        tokens: D to be trained on.
        unique_tokens: Distinct tokens of the good corpus.
        quality: What a token of the other data is worth, see `crossover_epochs`.

    Raises:
        LawError: Another form than the additive, or a quality outside (0, 1].
    """
    if surface.form.name != "additive":
        raise LawError(f"{surface.form.name} has no term of D alone: expected the additive form.")

    def loss(epochs: float) -> float:
        good = unique_tokens * min(epochs, worth_of_epochs(epochs)) + quality * (tokens - epochs * unique_tokens)
        return float(surface.loss(np.array([params]), np.array([good]))[0])

    most = tokens / unique_tokens
    epochs = min(crossover_epochs(quality), most)
    return DataPlan(
        epochs=epochs,
        other_tokens=tokens - epochs * unique_tokens,
        loss=loss(epochs),
        loss_repeating=loss(most),
        loss_other=loss(min(1.0, most)),
    )
