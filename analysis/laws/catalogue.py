"""Everything that `isoflop laws` shows: forms, published laws, recipes and known models, as plain values."""

from __future__ import annotations

from typing import Any

from analysis.forms import FORMS, Form
from analysis.laws.law import Law
from analysis.laws.models import ACCELERATORS, KNOWN_MODELS
from analysis.laws.published import LAWS
from analysis.laws.recipes import HESTNESS, RECIPES


def describe_laws() -> dict[str, Any]:
    """One JSON document of forms, laws, recipes, models and accelerators."""
    return {
        "forms": [_form(form) for form in FORMS.values()],
        "laws": [_law(law) for law in LAWS.values()],
        "recipes": [
            {
                "name": recipe.name,
                "outputs": {
                    name: {"factor": rule.factor, "powers": dict(rule.powers), "units": dict(rule.units)}
                    for name, rule in recipe.outputs.items()
                },
                "source": recipe.source,
                "note": recipe.note,
            }
            for recipe in RECIPES.values()
        ],
        "exponents": {"source": HESTNESS.source, "compared": HESTNESS.compared, "values": dict(HESTNESS.values)},
        "models": [
            {
                "name": model.name,
                "params": model.params,
                "tokens": model.tokens,
                "tokens_per_param": model.tokens_per_param,
                "flops": model.flops,
                "source": model.source,
                "compared": model.compared,
            }
            for model in KNOWN_MODELS
        ],
        "accelerators": {
            name: {"flops_per_second": device.flops_per_second, "source": device.source}
            for name, device in ACCELERATORS.items()
        },
    }


def _form(form: Form) -> dict[str, Any]:
    return {
        "name": form.name,
        "formula": form.expression,
        "coefficients": {c.name: c.meaning for c in form.coefficients},
        "columns": list(form.columns),
        "source": form.source,
        "note": form.note,
    }


def _law(law: Law) -> dict[str, Any]:
    rule = law.rule
    return {
        "name": law.name,
        "form": law.form.name if law.form else None,
        "coefficients": dict(law.coefficients),
        "allocation": None if rule is None else {"factor": rule.factor, "exponent": rule.exponent, "unit": rule.unit},
        "params_convention": law.params_convention,
        "flops_rule": law.flops_rule,
        "fitted": law.fitted,
        "source": law.source,
        "note": law.note,
    }
