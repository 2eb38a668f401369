"""Minima of the curves that there are, each by itself: while a sweep runs, and where no law can be fitted yet."""

from __future__ import annotations

from analysis.fitting.shapes import shape_rule
from analysis.minima import CurveMinimum, common_variance, find_minimum, gather_curves
from analysis.points import average_replicates, with_budgets
from analysis.table import Runs


def provisional_minima(runs: Runs, *, level: float = 0.9) -> tuple[CurveMinimum, ...]:
    """One minimum per budget, by rising budget, as approach 2 takes it; the status says whether it is one.

    Args:
        runs: Runs so far.
        level: Of the intervals.

    Raises:
        FitError: The runs have no budgets.
    """
    grouped = with_budgets(runs)
    curves = gather_curves(average_replicates(grouped).frame, "params", shape_rule(grouped))
    common = common_variance(curves)
    return tuple(find_minimum(curve, kind="parabola", common=common, level=level) for curve in curves)
