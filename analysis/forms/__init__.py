"""Functional forms with free coefficients. A new one is one `Form`, added to `FORMS`."""

from __future__ import annotations

import difflib

from analysis.errors import LawError
from analysis.forms.additive import ADDITIVE
from analysis.forms.farseer import FARSEER
from analysis.forms.form import Coefficient, Form
from analysis.forms.joint import EQUAL_EXPONENTS, GAMMA, KAPLAN_JOINT, ROSENFELD
from analysis.forms.repeated import REPEATED_DATA
from analysis.forms.single import SINGLE
from analysis.forms.special import GRANULARITY, OVER_TRAINING, PRECISION

__all__ = ["FORMS", "Coefficient", "Form", "find_form"]

FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        ADDITIVE,
        EQUAL_EXPONENTS,
        GAMMA,
        KAPLAN_JOINT,
        ROSENFELD,
        OVER_TRAINING,
        REPEATED_DATA,
        FARSEER,
        GRANULARITY,
        PRECISION,
        *SINGLE,
    )
}


def find_form(name: str) -> Form:
    """The form of that name.

    Raises:
        LawError: No such form.
    """
    if name not in FORMS:
        close = difflib.get_close_matches(name, FORMS, n=1)
        hint = f"Did you mean {close[0]}?" if close else "`isoflop laws` explains them."
        raise LawError(f"form {name!r} is unknown: expected one of {', '.join(FORMS)}. {hint}")
    return FORMS[name]
