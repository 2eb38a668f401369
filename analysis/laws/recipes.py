"""Published rules for what is not a loss: learning rate, batch, steps, vocabulary, and exponents of other fields.

Each is a product of powers, y = factor * prod x_i^p_i.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass

from analysis.errors import LawError
from analysis.laws.published import PF_DAY


@dataclass(frozen=True, kw_only=True)
class Monomial:
    """factor * prod (x / unit)^power.

    Attributes:
        factor: Value where every x is one unit.
        powers: Power of each input by name.
        units: Unit of an input where it is not 1.
    """

    factor: float
    powers: Mapping[str, float]
    units: Mapping[str, float]

    def __call__(self, inputs: Mapping[str, float]) -> float:
        """The value at these inputs."""
        logs = (power * math.log(inputs[name] / self.units.get(name, 1.0)) for name, power in self.powers.items())
        return self.factor * math.exp(sum(logs))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A published set of rules.

    Attributes:
        name: Its name.
        outputs: Rule of each output.
        source: Paper.
        note: What a user must know before relying on it.
    """

    name: str
    outputs: Mapping[str, Monomial]
    source: str
    note: str = ""

    def value(self, output: str, **inputs: float) -> float:
        """One output.

        Raises:
            LawError: An unknown output, a missing input, or one that is not positive.
        """
        if output not in self.outputs:
            raise LawError(f"{self.name} does not give {output!r}: expected one of {', '.join(self.outputs)}.")
        rule = self.outputs[output]
        if wrong := [name for name in rule.powers if not inputs.get(name, 0.0) > 0]:
            raise LawError(f"{self.name} needs {', '.join(wrong)}: expected positive numbers. Pass {wrong[0]}=....")
        return rule(inputs)


def _rule(factor: float, units: Mapping[str, float] | None = None, **powers: float) -> Monomial:
    return Monomial(factor=factor, powers=powers, units=units or {})


STEP_LAW = Recipe(
    name="steplaw2025",
    outputs={
        "learning_rate": _rule(1.79, params=-0.713, tokens=0.307),
        "batch_tokens": _rule(0.58, tokens=0.571),
    },
    source="Step Law, arXiv:2503.04715, equation 1",
    note="AdamW with a cosine to a fixed end, 60M to 1B parameters; peak learning rate at the model's own width.",
)

KAPLAN_BATCH = Recipe(
    name="kaplan2020-critical-batch",
    outputs={"batch_tokens": _rule(2e8, loss=-1 / 0.21)},
    source="Kaplan et al. 2020, arXiv:2001.08361, equation 1.4",
    note="Loss in nats per token of GPT-2's byte-pair encoding: not for bytes, nor for another tokeniser.",
)

_BY_PF_DAY = {"flops": PF_DAY}
KAPLAN_FRONTIER = Recipe(
    name="kaplan2020-frontier",
    outputs={
        "params": _rule(1.3e9, _BY_PF_DAY, flops=0.73),
        "batch_tokens": _rule(2.0e6, _BY_PF_DAY, flops=0.24),
        "steps": _rule(5.4e3, _BY_PF_DAY, flops=0.03),
        "least_tokens": _rule(5e3, params=0.74),
    },
    source="Kaplan et al. 2020, arXiv:2001.08361, table 6 and equation 4.4",
    note="Superseded as an allocation by Hoffmann et al. 2022. least_tokens keeps overfitting within .02 nats.",
)

TAO_VOCABULARY = Recipe(
    name="tao2024-vocabulary",
    outputs={
        "params": _rule(math.exp(-2.4846510161625193), flops=0.5),
        "vocabulary_params": _rule(math.exp(-1.589031299255507), flops=0.4163622634135234),
        "vocabulary_params_for": _rule(3145728.0, {"params": 33e6}, params=0.8353974035228025),
    },
    source="Tao et al. 2024, arXiv:2407.13623, approaches 1 and 2, with the constants of the authors' code",
    note="params leaves the vocabulary out; divide vocabulary_params by the width for the number of entries.",
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (STEP_LAW, KAPLAN_BATCH, KAPLAN_FRONTIER, TAO_VOCABULARY)
}


@dataclass(frozen=True, kw_only=True)
class Exponents:
    """Published powers of error or loss in training data.

    Attributes:
        values: By domain.
        source: Paper.
        compared: Whether every digit was compared with another account of the paper.
    """

    values: Mapping[str, float]
    source: str
    compared: bool


HESTNESS = Exponents(
    values={
        "translation": -0.128,
        "word language models": -0.066,
        "character language models": -0.094,
        "speech recognition": -0.30,
        "image classification (top-1)": -0.309,
    },
    source="Hestness et al. 2017, arXiv:1712.00409; from memory: only the domains and their range of -.07 to -.35 were",
    compared=False,
)


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        LawError: No such recipe.
    """
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"Did you mean {close[0]}?" if close else "`isoflop laws` explains them."
        raise LawError(f"recipe {name!r} is unknown: expected one of {', '.join(RECIPES)}. {hint}")
    return RECIPES[name]
