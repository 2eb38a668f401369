"""Published laws with their constants as the sources have them, unrounded where that is known.

Numbers that differ in the third digit matter here: rounding Sardana's exponents from .336 and .283 to .34 and .28
moves his example from 13.6B to 15.9B parameters.
"""

from __future__ import annotations

import difflib
import math

from analysis.errors import LawError
from analysis.forms import find_form
from analysis.laws.law import Law, PowerRule
from analysis.laws.repetition import REPEATS

_ADDITIVE = find_form("additive")
_CHINCHILLA_RANGE = "44M to 16B parameters, 6e18 to 3e21 FLOPs, MassiveText"

BESIROGLU = Law(
    name="besiroglu2024",
    form=_ADDITIVE,
    coefficients={"A": 482.01, "B": 2085.43, "E": 1.8169, "alpha": 0.3478, "beta": 0.3658},
    params_convention="as in Hoffmann et al. 2022",
    fitted="240 points read off figure 4 of Hoffmann et al. 2022: " + _CHINCHILLA_RANGE,
    source="Besiroglu et al. 2024, arXiv:2404.10102, table 1; E to the digits that their code gives (1.82 printed)",
    note="The corrected Chinchilla law. The small Huber delta makes it least absolute deviation in effect.",
)

HOFFMANN = Law(
    name="hoffmann2022",
    form=_ADDITIVE,
    coefficients={"A": 406.4, "B": 410.7, "E": 1.69, "alpha": 0.34, "beta": 0.28},
    params_convention="as the paper's table A9 counts",
    fitted=_CHINCHILLA_RANGE,
    source="Hoffmann et al. 2022, arXiv:2203.15556, approach 3, equation 10",
    note="As printed. Its optimiser stopped early; it contradicts approaches 1 and 2. Prefer besiroglu2024.",
)

HOFFMANN_UNROUNDED = Law(
    name="hoffmann2022-unrounded",
    form=_ADDITIVE,
    coefficients={"A": 406.4, "B": 410.7, "E": 1.6934, "alpha": 0.3392, "beta": 0.2849},
    params_convention=HOFFMANN.params_convention,
    fitted=_CHINCHILLA_RANGE,
    source="Hoffmann et al. 2022, arXiv:2203.15556, the TeX source's values, as Besiroglu et al. 2024 compare with",
    note="An early stop like hoffmann2022; prefer besiroglu2024.",
)

SARDANA = Law(
    name="sardana2023",
    form=_ADDITIVE,
    coefficients={"A": 406.4, "B": 410.7, "E": 1.69, "alpha": 0.336, "beta": 0.283},
    params_convention=HOFFMANN.params_convention,
    fitted=_CHINCHILLA_RANGE,
    source="Sardana et al. 2024, arXiv:2401.00448: Hoffmann's approach 3 with the exponents to three digits",
    note="For inference-aware allocation as in that paper.",
)

TWENTY_TOKENS = Law(
    name="20-tokens-per-param",
    rule=PowerRule(factor=(1 / 120) ** 0.5, exponent=0.5),
    source="A rule of thumb from Hoffmann et al. 2022, arXiv:2203.15556: D = 20 N, so N = sqrt(C / 120)",
    fitted="Chinchilla itself: 70B parameters on 1.4T tokens",
    note="A reading of approaches 1 and 2 near Gopher's budget, not a law; it gives no loss.",
)

MUENNIGHOFF = Law(
    name="muennighoff2023",
    form=find_form("repeated-data"),
    coefficients={
        "A": math.exp(6.255414),
        "B": math.exp(7.3049974),
        "E": math.exp(0.6254804),
        "alpha": 0.3526596,
        "beta": 0.3526596,
        **REPEATS,
    },
    params_convention="total",
    fitted="182 runs of 7M to 8.7B parameters on up to 900B tokens of C4, 1 to 1500 epochs",
    source="Muennighoff et al. 2023, arXiv:2305.16264, appendix A and its code",
    note="Reads unique_tokens. Up to about 4 epochs are worth nearly as much as fresh data.",
)

PF_DAY = 1e15 * 86400
"""FLOPs of one petaflop/s-day, Kaplan's unit of compute."""

_KAPLAN = "Kaplan et al. 2020, arXiv:2001.08361, "
_KAPLAN_RANGE = "768 to 1.5e9 non-embedding parameters, 22M to 23B tokens of WebText2"
_KAPLAN_NOTE = (
    "Infers N ~ C^.73, from sizes whose head and embedding it does not count (Porian et al. 2024, arXiv:2406.19146)."
)


def _power_law(name: str, form: str, scale: float, exponent: float, where: str, note: str) -> Law:
    """Law (scale / x)^exponent without a floor."""
    return Law(
        name=name,
        form=find_form(form),
        coefficients={"A": scale**exponent, "E": 0.0, "alpha": exponent},
        params_convention="blocks",
        fitted=_KAPLAN_RANGE,
        source=_KAPLAN + where,
        note=note,
    )


KAPLAN_PARAMS = _power_law(
    "kaplan2020-params", "saturating-params", 8.8e13, 0.076, "equation 1.1", "Converged on unlimited data."
)
KAPLAN_TOKENS = _power_law(
    "kaplan2020-tokens", "saturating-tokens", 5.4e13, 0.095, "equation 1.2", "Large models, stopped early."
)
KAPLAN_COMPUTE = _power_law(
    "kaplan2020-compute",
    "saturating-flops",
    3.1e8 * PF_DAY,
    0.050,
    "equation 1.3",
    "Optimally allocated, at small batches. " + _KAPLAN_NOTE,
)
KAPLAN_FIXED_BATCH = _power_law(
    "kaplan2020-compute-fixed-batch",
    "saturating-flops",
    1.6e7 * PF_DAY,
    0.057,
    "table 4",
    "At one fixed batch of 5e5 tokens; the authors prefer kaplan2020-compute.",
)

KAPLAN_JOINT = Law(
    name="kaplan2020-joint",
    form=find_form("kaplan-joint"),
    coefficients={"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
    params_convention="blocks",
    fitted=_KAPLAN_RANGE,
    source=_KAPLAN + "equation 1.5 and table 2",
    note="For training until overfitting sets in, not for one pass at a budget.",
)

KAPLAN_ALLOCATION = Law(
    name="kaplan2020-allocation",
    rule=PowerRule(factor=1.3e9, exponent=0.73, unit=PF_DAY),
    params_convention="blocks",
    fitted=_KAPLAN_RANGE,
    source=_KAPLAN + "table 6",
    note=_KAPLAN_NOTE + " Ten times the compute goes into 5.37 times the size.",
)

_GOPHER = 5.76e23


def _approach(number: int, params: float, exponent: float, where: str) -> Law:
    return Law(
        name=f"hoffmann2022-approach{number}",
        rule=PowerRule(factor=params, exponent=exponent, unit=_GOPHER),
        params_convention=HOFFMANN.params_convention,
        fitted=_CHINCHILLA_RANGE,
        source=f"Hoffmann et al. 2022, arXiv:2203.15556, {where}",
        note="The exponent to two digits, through the paper's prediction at Gopher's budget of 5.76e23 FLOPs.",
    )


HOFFMANN_1 = _approach(1, 67e9, 0.50, "section 3.1")
HOFFMANN_2 = _approach(2, 63e9, 0.49, "section 3.2")

LLAMA_3 = Law(
    name="llama3",
    rule=PowerRule(factor=402e9, exponent=0.47, unit=3.8e25),
    fitted="40M to 16B parameters, 6e18 to 1e22 FLOPs",
    source="Llama 3, arXiv:2407.21783, section 3.2.1: D* = .29 C^.53",
    note="Through the printed 402B parameters at 3.8e25 FLOPs, which the rounded constants miss by a third.",
)


def _gadre(name: str, data: str, a: float, b: float, alpha: float, e: float) -> Law:
    return Law(
        name=name,
        form=find_form("over-training"),
        coefficients={"a": a, "b": b, "E": e, "alpha": alpha},
        params_convention="total",
        fitted=f"five runs of 11M to 411M parameters on {data}, up to 320 tokens per parameter; C4 evaluation loss",
        source="Gadre et al. 2024, arXiv:2403.08540, refitted to the published runs; agrees with the printed digits",
        note="Equal exponents. Predicts over-training better than size: check against your own larger run.",
    )


GADRE_C4 = _gadre("gadre2024-c4", "C4", 113.69, 189.52, 0.2425, 1.5083)
GADRE_RPJ = _gadre("gadre2024-redpajama", "RedPajama", 166.21, 366.69, 0.2729, 1.8366)

KRAJEWSKI = Law(
    name="krajewski2024-moe",
    form=find_form("moe-granularity"),
    coefficients={"A": 18.1, "B": 30.8, "E": 0.47, "alpha": 0.115, "beta": 0.147, "g": 2.1, "gamma": 0.58},
    params_convention="all parameters of the experts, without embeddings",
    fitted="129M to 3.7B parameters, 16B to 130B tokens of C4, granularity 1 to 16, expansion 64",
    source="Krajewski et al. 2024, arXiv:2402.07871, table 1",
    note="Reads granularity. 6 N D does not count a mixture's FLOPs: compare losses with it, not budgets.",
)

KUMAR = Law(
    name="kumar2024-precision",
    form=find_form("precision"),
    coefficients={
        "A": 4299.0,
        "B": 18060.0,
        "E": 2.7648,
        "alpha": 0.4965,
        "beta": 0.4965,
        "gamma_weights": 2.6745,
        "gamma_activations": 2.2102,
        "gamma_cache": 0.9578,
        "shift_weights": 0.3037,
        "shift_activations": 1.4072,
        "shift_cache": 2.4185,
    },
    params_convention="non-embedding",
    fitted="30M to 220M parameters, 1.5B to 26B tokens of Dolma, 3 to 12 bits",
    source="Kumar et al. 2024, arXiv:2411.04330, table 2",
    note="Reads bits_weights, bits_activations, bits_cache (4 or more). At full precision all three are 16.",
)

LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        BESIROGLU,
        HOFFMANN,
        HOFFMANN_UNROUNDED,
        HOFFMANN_1,
        HOFFMANN_2,
        SARDANA,
        MUENNIGHOFF,
        GADRE_C4,
        GADRE_RPJ,
        KAPLAN_PARAMS,
        KAPLAN_TOKENS,
        KAPLAN_COMPUTE,
        KAPLAN_FIXED_BATCH,
        KAPLAN_JOINT,
        KAPLAN_ALLOCATION,
        LLAMA_3,
        KRAJEWSKI,
        KUMAR,
        TWENTY_TOKENS,
    )
}


def law(name: str) -> Law:
    """The published law of that name.

    Raises:
        LawError: No such law.
    """
    if name not in LAWS:
        close = difflib.get_close_matches(name, LAWS, n=1)
        hint = f"Did you mean {close[0]}?" if close else "`isoflop laws` explains them."
        raise LawError(f"law {name!r} is unknown: expected one of {', '.join(LAWS)}. {hint}")
    return LAWS[name]
