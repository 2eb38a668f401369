"""Where each curve's minimum is so far, from committed runs: for the live table, `status` and the live page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from analysis import notation
from analysis.errors import AnalysisError

if TYPE_CHECKING:
    import pyarrow as pa

NEEDED = (
    "run_id", "budget", "params", "tokens", "flops", "loss", "status", "layers", "width", "setting", "tuned", "retrained",
)  # fmt: skip
"""Columns that a minimum is taken from; sizes that differ in shape alone are told apart by layers and width."""

LEAST_SIZES = 3
"""Sizes of a curve from which it can have a minimum."""

LOOSE = 1.0
"""Standard error of ln N* from which N* is said to be unknown (chosen: a factor of e either way)."""

Minimum = dict[str, Any]

CurveKey = tuple[float, str | None]
"""A curve's budget and setting."""


def curve_minima(runs: pa.Table) -> dict[CurveKey, Minimum]:
    """Minima by budget and setting, as plain values; curves without one that can be looked for are absent.

    Args:
        runs: The results table.

    Returns:
        `status` (see `analysis.isoflop`), `params` (N*), `log_se` (standard error of its logarithm), `low` and `high`
        (90 %), and `reason` why it is not bracketed; None where there is none.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    done = runs.select([name for name in NEEDED if name in runs.column_names])
    done = done.filter(pc.and_(pc.equal(done["status"], "ok"), pc.is_valid(done["loss"])))
    minima: dict[CurveKey, Minimum] = {}
    for setting in pc.unique(done["setting"]).to_pylist() if "setting" in done.column_names else [None]:
        mine = done if setting is None else done.filter(pc.equal(done["setting"], setting))
        sizes = mine.group_by(["budget", "params"]).aggregate([]).group_by("budget").aggregate([("params", "count")])
        enough = [row["budget"] for row in sizes.to_pylist() if row["params_count"] >= LEAST_SIZES]
        if enough:
            found = _minima(mine.filter(pc.is_in(mine["budget"], pa.array(enough, pa.float64()))))
            minima |= {(budget, setting): minimum for budget, minimum in found.items()}
    return minima


def _minima(done: pa.Table) -> dict[float, Minimum]:
    from analysis.provisional import provisional_minima
    from analysis.reading import read_runs
    from analysis.tuning import one_point_each

    try:
        found = provisional_minima(one_point_each(read_runs(done.to_pandas(), duplicates="keep")))
    except AnalysisError:  # a table that tells of the runs is worth more than none
        return {}
    minima = {}
    for one in found:
        span = one.params_interval
        minima[one.budget] = {
            "status": one.status,
            "params": one.params,
            "log_se": one.log_se,
            "low": None if span is None else span.low,
            "high": None if span is None else span.high,
            "reason": one.reason,
        }
    return minima


def minimum_text(minimum: Mapping[str, Any] | None, *, complete: bool) -> str:
    """N* with its standard error for a table, or what is missing.

    Args:
        minimum: One of `curve_minima`.
        complete: Whether no more runs of the curve are to come.
    """
    if minimum is None or minimum["status"] == "too_few":
        return f"needs {LEAST_SIZES} sizes"
    if minimum["params"] is None:
        if not complete:
            return "needs both sides"
        return "at an edge" if minimum["status"] == "edge" else "bends down"
    value, log_se = notation.count(minimum["params"]), minimum["log_se"]
    if log_se is None or not math.isfinite(log_se):
        return f"{value} ± ?"
    if log_se > LOOSE:
        return "not known yet" if not complete else "not identified"
    return f"{value} ± {notation.count(minimum['params'] * log_se)}"
