"""What a law is: a form with numbers, and the conventions and range under which they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analysis.errors import LawError
from analysis.fitting.optimum import Optimum, optimal_params
from analysis.fitting.shapes import SIX_N, ShapeRule
from analysis.forms import Form
from analysis.forms.jet import Quantity

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PowerRule:
    """params = factor * (flops / unit)^exponent: a published allocation without a loss.

    Attributes:
        factor: N at one unit of compute.
        exponent: Power of compute.
        unit: FLOPs of that unit.
    """

    factor: float
    exponent: float
    unit: float = 1.0

    def params(self, flops: Array) -> Array:
        """N at a budget."""
        return np.asarray(self.factor * (flops / self.unit) ** self.exponent)


@dataclass(frozen=True, kw_only=True)
class Law:
    """A form with numbers, or an allocation rule.

    Attributes:
        name: Its name in `law(...)` and `--law`.
        source: Paper, with section or table.
        form: The form; None for a rule that gives an allocation alone.
        coefficients: Values as published, unrounded where the source has more digits.
        rule: N*(C) where that is what was published.
        params_convention: What N counts.
        flops_rule: How C was counted.
        fitted: Range of the data behind it.
        note: What a user must know before relying on it.
        shapes: FLOPs per token along the shapes; 6 N for published laws.
        columns: Fixed values of columns that the form reads beside N and D.
    """

    name: str
    source: str
    form: Form | None = None
    coefficients: Mapping[str, float] = field(default_factory=dict)
    rule: PowerRule | None = None
    params_convention: str = ""
    flops_rule: str = "6nd"
    fitted: str = ""
    note: str = ""
    shapes: ShapeRule = SIX_N
    columns: Mapping[str, float] = field(default_factory=dict)

    def loss(self, params: Quantity, tokens: Quantity, **columns: Quantity) -> Quantity:
        """Predicted loss of N parameters on D tokens.

        Raises:
            LawError: This law gives no loss, or reads columns that were not given.
        """
        form = self._loss_form()
        given = {"params": params, "tokens": tokens, **self.columns, **columns}
        if missing := [name for name in form.columns if name not in given]:
            raise LawError(f"{self.name} also reads {', '.join(missing)}: pass {missing[0]}=....")
        arrays = {name: np.asarray(value, dtype=np.float64) for name, value in given.items()}
        loss = form.loss(self.coefficients, arrays)
        return float(loss) if np.ndim(loss) == 0 else loss

    def optimum(self, flops: float, **columns: float) -> Optimum:
        """The compute-optimal model at a budget.

        Raises:
            LawError: The budget is not positive, or the law trades no N against D.
        """
        if not flops > 0:
            raise LawError(f"flops {flops!r}: expected a positive number of FLOPs, such as 1e21.")
        budget = np.array([flops])
        if self.rule is not None:
            params = self.rule.params(budget)
        else:
            form, extra = self._loss_form(), {**self.columns, **columns}
            params = optimal_params(form, self.values, budget, self.shapes, extra)
        tokens = budget / self.shapes.flops_per_token(params)
        loss = self.loss(params, tokens, **columns)[0] if self.form is not None else None
        return Optimum(
            flops=flops,
            params=float(params[0]),
            tokens=float(tokens[0]),
            loss=None if loss is None else float(loss),
            intervals={},
            shape_rule=self.shapes.description,
        )

    @property
    def values(self) -> Array:
        """Coefficients in the form's order, shape (1, P)."""
        return np.array([[self.coefficients[name] for name in self._loss_form().names]])

    def _loss_form(self) -> Form:
        if self.form is None:
            raise LawError(
                f"{self.name} gives an allocation and no loss: expected a law with a form, see `isoflop laws`."
            )
        return self.form
