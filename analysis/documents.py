"""Fits as JSON documents: one set of keys for every method, no NaN or infinity in any of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from analysis.results import Dropped, FitWarning, Interval

CERTIFICATE_KEYS = ("converged", "gradient_norm", "newton_decrement", "starts_agreeing", "condition", "at_bounds")


def fit_document(
    *,
    method: str,
    form: str,
    objective: Mapping[str, Any],
    n: int,
    dropped: Iterable[Dropped],
    coefficients: Mapping[str, float | None],
    se: Mapping[str, float | None],
    intervals: Mapping[str, Interval],
    certificate: Mapping[str, Any],
    exponents: Mapping[str, float | None],
    exponents_filtered: Mapping[str, float | None],
    warnings: Iterable[FitWarning],
    **more: Any,
) -> dict[str, Any]:
    """The JSON object that describes a fit; `more` adds keys of one method, such as its `curves`."""
    document: dict[str, Any] = jsonable(
        {
            "method": method,
            "form": form,
            "objective": {key: objective.get(key) for key in ("kind", "delta", "space", "value")},
            "n": n,
            "dropped": [{"run": d.run, "reason": d.reason} for d in dropped],
            "coefficients": dict(coefficients),
            "se": dict(se),
            "interval": dict(intervals),
            "certificate": {key: certificate.get(key) for key in CERTIFICATE_KEYS},
            "exponents": dict(exponents),
            "exponents_filtered": dict(exponents_filtered),
            "warnings": [{"code": w.code, "message": w.message} for w in ranked(warnings)],
            **more,
        }
    )
    return document


def ranked(warnings: Iterable[FitWarning]) -> list[FitWarning]:
    """Warnings, the one that weakens a fit most first."""
    return sorted(warnings, key=lambda warning: -warning.severity)


def jsonable(value: Any) -> Any:
    """`value` in JSON's own types: dataclasses as objects, NumPy numbers as Python's, what is not finite as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return jsonable(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, str | bool | int) or value is None:
        return value
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if isinstance(value, Iterable):
        return [jsonable(item) for item in value]
    return float(value) if math.isfinite(value) else None
