"""The small values that every fit shares: intervals, warnings, and what was left out with its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An interval at a nominal level; an end that the data leave open is None.

    Attributes:
        low: Lower end, None for open.
        high: Upper end, None for open.
        level: Nominal coverage, .9 by default throughout the package (chosen).
        method: How it was made, for example `fieller`, `bootstrap` or `t`.
    """

    low: float | None
    high: float | None
    level: float = 0.9
    method: str = ""


@dataclass(frozen=True)
class FitWarning:
    """Something that weakens a fit.

    Attributes:
        code: Stable name, for programs (`edge_minimum`, `extrapolation`, `few_budgets`, ...).
        message: What was computed, with its value, and what to do about it.
        severity: Higher weakens the fit more; orders the three that a report names first.
    """

    code: str
    message: str
    severity: float = 1.0


@dataclass(frozen=True)
class Dropped:
    """A run or curve that a fit leaves out.

    Attributes:
        run: `run_id`, or a description such as `row 12` or `budget 1e+20`.
        reason: Why.
    """

    run: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One compared quantity.

    Attributes:
        value: Its estimate.
        interval: Its interval; over every E that the minima allow, where it comes from minima.
        detectable: Smallest difference from equality that this comparison would have shown with probability .8, on the
            quantity's own scale (a factor for multipliers); None where the interval is open.
    """

    value: float
    interval: Interval
    detectable: float | None
