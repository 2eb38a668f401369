"""What a backtest found: scores of every fold, and the choice that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from analysis import notation
from analysis.documents import jsonable
from analysis.results import FitWarning


@dataclass(frozen=True, kw_only=True)
class FoldScore:
    """One method, fitted on the budgets below a target and scored there.

    Attributes:
        method: `isoflop`, or the name of a form.
        fitted_on: Budgets of the fit.
        target: Budget predicted.
        points: Seed-averaged points scored; 0 for a method that predicts optima alone.
        error: Mean of predicted minus observed loss over them, in nats.
        rmse: Root mean square of it, in nats.
        covered: Share of them within the method's own prediction intervals.
        loss_error: Predicted minus observed loss of the target's optimum, in nats; None where the target has no
            minimum.
        params_ratio: Predicted over observed N*.
        loss_covered: Whether L* and the observed minimum agree within both intervals; None where one of them is open.
        params_covered: The same of N*.
    """

    method: str
    fitted_on: tuple[float, ...]
    target: float
    points: int = 0
    error: float | None = None
    rmse: float | None = None
    covered: float | None = None
    loss_error: float | None = None
    params_ratio: float | None = None
    loss_covered: bool | None = None
    params_covered: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """Scores of every fold.

    Attributes:
        folds: By target, then by method.
        chosen: The form with the smallest error over the inner folds; the first form given where there is no inner
            fold.
        inner_rmse: Root mean square error of each form over the inner folds, in nats; empty where there is none.
        outer: The chosen form's score at the largest budget.
        level: Nominal level of the intervals whose coverage is counted.
        budgets: How runs were grouped: `budget`, or a description of the grouping by FLOPs.
        failures: For each (method, target) without a fit, why.
        warnings: What the scores say against the fit of the whole table.
    """

    folds: tuple[FoldScore, ...]
    chosen: str
    inner_rmse: Mapping[str, float]
    outer: FoldScore
    level: float
    budgets: str
    failures: Mapping[tuple[str, float], str]
    warnings: tuple[FitWarning, ...]

    @property
    def summary(self) -> str:
        """The outer fold in one sentence."""
        fold = self.outer
        words = (
            f"fitted on {len(fold.fitted_on)} smaller budgets, {self.chosen} was off by {fold.error or 0.0:+.3f} "
            "nats at "
            f"{notation.flops(fold.target)} FLOPs (rmse {fold.rmse or 0.0:.3f} over {fold.points} points)"
        )
        if fold.covered is not None:
            inside = round(fold.covered * fold.points)
            words += f", {inside} of them inside their {notation.percent(self.level)} intervals"
        if fold.params_ratio is not None:
            words += f", N* off by a factor {fold.params_ratio:.2f}"
        return words

    def coverage(self, method: str) -> float | None:
        """Share of all points of all folds within a method's own prediction intervals."""
        scored = [f for f in self.folds if f.method == method and f.covered is not None]
        total = sum(f.points for f in scored)
        return sum((f.covered or 0.0) * f.points for f in scored) / total if total else None

    def to_json(self) -> dict[str, Any]:
        """The backtest as a JSON object."""
        methods = dict.fromkeys(fold.method for fold in self.folds)
        document: dict[str, Any] = jsonable(
            {
                "chosen": self.chosen,
                "inner_rmse": self.inner_rmse,
                "outer": asdict(self.outer),
                "coverage": {method: self.coverage(method) for method in methods},
                "level": self.level,
                "budgets": self.budgets,
                "scores": [asdict(fold) for fold in self.folds],
                "failures": [{"method": m, "target": t, "reason": why} for (m, t), why in self.failures.items()],
                "warnings": [{"code": w.code, "message": w.message} for w in self.warnings],
                "summary": self.summary,
            }
        )
        return document
