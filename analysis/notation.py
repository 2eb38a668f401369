"""Numbers as the field writes them, the same in every table, figure and message."""

from __future__ import annotations

import math
from collections.abc import Callable

from analysis.results import Interval

_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def flops(value: float) -> str:
    """FLOPs: 1.2e+19."""
    return f"{value:.2g}" if value == 0 else f"{value:.1e}".replace(".0e", "e")


def count(value: float) -> str:
    """Parameters or tokens, to three digits: 124M, 2.5B, 13.1k, 768."""
    if not math.isfinite(value):
        return "?"
    for unit, letter in _UNITS:
        if abs(value) >= 0.9995 * unit:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}"


def loss(value: float | None) -> str:
    """Nats per token: 3.142."""
    return "" if value is None or math.isnan(value) else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Wall time: 0:41, 2:31, 1:02:07, 3 d 4 h."""
    whole = max(0, round(seconds))
    if whole >= 86_400:
        return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def number(value: float | None) -> str:
    """A coefficient, exponent or factor to three digits: 0.496, 2.14e+03; empty for None."""
    return "" if value is None or not math.isfinite(value) else f"{value:.3g}"


def percent(share: float, *, signed: bool = False) -> str:
    """A share as a percentage, one digit below 10 %: 4.2 %, 31 %; with `signed`, +4.2 %."""
    value = 100 * share
    return f"{value:{'+' if signed else ''}.{1 if abs(value) < 9.95 and value else 0}f} %"


def interval(span: Interval | None, write: Callable[[float], str]) -> str:
    """An interval with its ends written by `write`: 4.7k to 5.3k; `above 4.7k` or `not bounded` with open ends."""
    if span is None or (span.low is None and span.high is None):
        return "not bounded"
    if span.high is None:
        return f"above {write(span.low or 0.0)}"
    return f"below {write(span.high)}" if span.low is None else f"{write(span.low)} to {write(span.high)}"


def plain(value: object) -> str:
    """Any value for a table: four digits of a number, empty for None."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
