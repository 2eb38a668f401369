"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["ok", "warning", "error"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        name: The thing that was looked at.
        severity: `error` stops a sweep, `warning` may.
        found: What it is, with its value.
        fix: What to do; empty where nothing is to be done.
    """

    name: str
    severity: Severity
    found: str
    fix: str = ""
