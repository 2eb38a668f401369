"""A pool of runs that could be made: which of them, in which order, teach most about a target per FLOP.

Losses of the pool and of the target are never read; what is known comes from runs that were observed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.design.belief import Belief, Evidence, Prior, learn, shrink
from analysis.design.candidates import observed_among, read_observed, read_points
from analysis.design.priors import law_prior, wide_prior
from analysis.design.surface import Columns, FormSurface, form_surface
from analysis.design.targets import Estimate, LogParams, Optimum, Region, Target
from analysis.design.worth import learn_runs, widening, worth_per_cost
from analysis.errors import FitError, LawError
from analysis.forms import FORMS, Form, find_form
from analysis.laws.published import LAWS, law
from analysis.reading import Source

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Pick:
    """One run to make.

    Attributes:
        row: Its row in the pool, counted from 1.
        columns: What the law reads of it.
        flops: What it costs.
        spent: What it and those before it cost.
        se: Expected standard error of the target after it: of ln N*, or of ln(loss), root mean square over the rows.
        low: Lower end of the expected interval of N*; None for a region.
        high: Upper end.
    """

    row: int
    columns: Mapping[str, float]
    flops: float
    spent: float
    se: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """Runs to make, in order, and what is to be expected of them.

    Attributes:
        form: The law's form.
        target: What they are for, in words.
        prior: Where the belief came from, in words.
        picks: In the order of what they teach per FLOP.
        se_before: Standard error of the target before any of them.
        flops_limit: What may be spent.
        flops_pool: What the whole pool costs.
        level: Level of the intervals.
    """

    form: str
    target: str
    prior: str
    picks: tuple[Pick, ...]
    se_before: float
    flops_limit: float
    flops_pool: float
    level: float

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON document."""
        return {
            "form": self.form,
            "target": self.target,
            "prior": self.prior,
            "level": self.level,
            "se_before": self.se_before,
            "flops_limit": self.flops_limit,
            "flops_pool": self.flops_pool,
            "flops_spent": self.picks[-1].spent if self.picks else 0.0,
            "picks": [
                {
                    "row": pick.row,
                    **pick.columns,
                    "flops": pick.flops,
                    "spent": pick.spent,
                    "se": pick.se,
                    "interval": None if pick.low is None else {"low": pick.low, "high": pick.high, "level": self.level},
                }
                for pick in self.picks
            ],
        }


def suggest(
    pool: Source,
    *,
    law_name: str = "additive",
    target: Source | float,
    spend: str | float,
    observed: Source | None = None,
    columns: Mapping[str, str] | None = None,
    level: float = 0.9,
) -> Suggestion:
    """Order the runs of a pool by what they teach per FLOP about a target.

    Args:
        pool: Candidate runs; a column of losses is not read.
        law_name: A form of the registry, or a published law of one.
        target: Rows whose loss is to be predicted, or a budget in FLOPs whose N* is wanted.
        spend: Share of the pool's cost such as "5%", or FLOPs.
        observed: Runs that are known, with their losses.
        columns: Column of each canonical one, for all three sources.
        level: Level of the intervals.

    Raises:
        SourceError: A source lacks a column, or holds something that is no positive number.
        LawError: An unknown law, or a target that it does not have.
        FitError: Nothing of the pool fits into what may be spent.
    """
    form, coefficients = find_law(law_name)
    candidates = read_points(pool, form, columns)
    costs = candidates["flops"]
    limit = parse_spend(spend, float(costs.sum()))
    surface = form_surface(form, candidates)
    prior = law_prior(surface, coefficients) if coefficients else wide_prior(surface, candidates)
    known = None if observed is None else read_observed(observed, columns)
    belief = _belief(surface, prior, known)
    wanted, words, aim = _target(target, form, candidates, columns)
    estimate = wanted.estimate(surface, belief.theta)
    free = np.ones(len(costs), bool) if known is None else ~observed_among(candidates, known, form)
    picks = tuple(_greedy(belief, estimate, candidates, costs, limit, free, aim, level))
    if not picks:
        raise FitError(
            f"nothing fits into {limit:.3g} FLOPs: the cheapest run of the pool costs {costs[free].min():.3g}; "
            "expected room for one run. Raise --spend."
            if free.any()
            else "every run of the pool is among those observed; expected others. Extend the pool."
        )
    before = float(np.sqrt(estimate.variances(belief.covariance).mean()))
    return Suggestion(
        form=form.name,
        target=words,
        prior=_words(law_name, coefficients, known),
        picks=picks,
        se_before=before,
        flops_limit=limit,
        flops_pool=float(costs.sum()),
        level=level,
    )


def find_law(name: str) -> tuple[Form, Mapping[str, float]]:
    """The form of that name, or the form and constants of the published law of that name.

    Raises:
        LawError: Neither, or a law without a loss.
    """
    if name in FORMS:
        return FORMS[name], {}
    if name not in LAWS:
        return find_form(name), {}
    published = law(name)
    if published.form is None:
        raise LawError(f"{name} gives an allocation and no loss; expected a law with a form, see `isoflop laws`.")
    return published.form, published.coefficients


def parse_spend(spend: str | float, whole: float) -> float:
    """FLOPs of a share such as "5%", or of a number.

    Raises:
        FitError: Neither, or nothing.
    """
    text = str(spend).strip()
    try:
        value = float(text.removesuffix("%")) / 100 * whole if text.endswith("%") else float(text)
    except ValueError:
        value = np.nan
    if not (np.isfinite(value) and value > 0):
        raise FitError(f"spend {spend!r}: expected a share such as 5% or FLOPs such as 1e21, above zero. Correct it.")
    return value


def _target(
    target: Source | float, form: Form, candidates: Columns, columns: Mapping[str, str] | None
) -> tuple[Target, str, float]:
    """The target, in words, and the FLOPs at which it lies."""
    if not isinstance(target, (int, float)):
        rows = read_points(target, form, columns)
        return Region(rows), f"ln(loss) of the {len(rows['flops'])} target rows", float(np.median(rows["flops"]))
    if set(form.columns) != {"params", "tokens"}:
        raise LawError(
            f"N* at {target:.3g} FLOPs: {form.name} reads {', '.join(form.columns)}; expected a form of params "
            "and tokens alone. Give target rows instead (--target FILE)."
        )
    near = float(np.median(candidates["params"]) * np.sqrt(target / np.median(candidates["flops"])))
    return LogParams(Optimum(flops=float(target), near=near)), f"ln N* at {target:.3g} FLOPs", float(target)


def _belief(surface: FormSurface, prior: Prior, known: pd.DataFrame | None) -> Belief:
    if known is None:
        empty: Array = np.empty(0)
        nothing = Evidence(columns={}, loss=empty, count=empty, squares=empty, group=np.empty(0, np.int64))
        return learn(surface, prior, nothing)
    read = {name: known[name].to_numpy(np.float64) for name in surface.form.columns}
    return learn_runs(surface, prior, read, known["loss"].to_numpy(np.float64))


def _greedy(
    belief: Belief, estimate: Estimate, candidates: Columns, costs: Array, limit: float,
    free: NDArray[np.bool_], aim: float, level: float,
) -> Iterator[Pick]:  # fmt: skip
    """The run worth most that still fits, again and again; a run that does not fit is passed over."""
    from analysis.trend import t_quantile

    read = {name: values for name, values in candidates.items() if name != "flops"}
    _, jacobian = belief.surface.predict(belief.theta, candidates)
    noise = belief.common * widening(costs, aim)
    quantile = t_quantile(max(belief.degrees, 3.0), level)
    free, spent = free.copy(), 0.0
    while (fits := free & (spent + costs <= limit * (1 + 1e-9))).any():
        worth = np.where(fits, worth_per_cost(belief, estimate, jacobian, costs, aim), -1.0)
        best = int(worth.argmax())
        belief = shrink(belief, jacobian[best], float(noise[best]))
        free[best], spent = False, spent + float(costs[best])
        se = float(np.sqrt(estimate.variances(belief.covariance).mean()))
        low = high = None
        if len(estimate.value) == 1:
            low, high = (float(np.exp(estimate.value[0] + side * quantile * se)) for side in (-1, 1))
        yield Pick(
            row=best + 1,
            columns={name: float(values[best]) for name, values in read.items()},
            flops=float(costs[best]),
            spent=spent,
            se=se,
            low=low,
            high=high,
        )


def _words(name: str, coefficients: Mapping[str, float], known: pd.DataFrame | None) -> str:
    base = f"constants of {name}" if coefficients else f"where a search of {name} starts over this pool"
    return base if known is None else f"{len(known)} observed runs, and {base}"
