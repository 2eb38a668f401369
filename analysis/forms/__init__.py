"""Functional forms with free coefficients. A new one is one `Form`, added to `FORMS`."""

from __future__ import annotations

from analysis.errors import LawError
from analysis.forms.additive import ADDITIVE
from analysis.forms.form import Coefficient, Form
from analysis.forms.repeated import REPEATED_DATA

__all__ = ["FORMS", "Coefficient", "Form", "find_form"]

FORMS: dict[str, Form] = {form.name: form for form in (ADDITIVE, REPEATED_DATA)}


def find_form(name: str) -> Form:
    """The form of that name.

    Raises:
        LawError: No such form.
    """
    if name not in FORMS:
        raise LawError(f"form {name!r} is unknown: expected one of {', '.join(FORMS)}. `isoflop laws` explains them.")
    return FORMS[name]
