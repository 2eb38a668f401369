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

LAWS: dict[str, Law] = {
    law.name: law for law in (BESIROGLU, HOFFMANN, HOFFMANN_UNROUNDED, SARDANA, MUENNIGHOFF, TWENTY_TOKENS)
}


def law(name: str) -> Law:
    """The published law of that name.

    Raises:
        LawError: No such law.
    """
    if name not in LAWS:
        close = difflib.get_close_matches(name, LAWS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise LawError(f"law {name!r} is unknown: expected one of {', '.join(LAWS)}.{hint}")
    return LAWS[name]
