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
from analysis.design.priors import law_prior, starting_points, wide_prior
from analysis.design.selecting import gains
from analysis.design.surface import Columns, FormSurface, form_surface
from analysis.design.targets import Estimate, LogParams, Optimum, Region, Target
from analysis.errors import FitError, LawError, SourceError
from analysis.forms import FORMS, Form, find_form
from analysis.laws.published import LAWS, law
from analysis.reading import ALIASES, Source, read_runs
from analysis.sources import load_frame

Array = NDArray[np.float64]

DISTRUST = 3.0
"""Error of the law per decade of FLOPs below the target, in units of the noise (chosen, on pools' own dearest rows)."""

COST_POWER = 0.5
"""Power of the cost that a gain is divided by (chosen likewise)."""

STARTS = 4
"""Starts of the form's own search that are tried beside the prior (chosen)."""


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
    known = None if observed is None else _observed(observed, columns)
    belief = _belief(surface, prior, known)
    wanted, words, aim = _target(target, form, candidates, columns)
    estimate = wanted.estimate(surface, belief.theta)
    free = np.ones(len(costs), bool) if known is None else ~_among(candidates, known, form)
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


def read_points(source: Source, form: Form, columns: Mapping[str, str] | None = None) -> dict[str, Array]:
    """Columns that a form reads and `flops`, without looking at any loss.

    FLOPs are 6 N D where the source has no column of them.

    Raises:
        SourceError: A column is missing, or a value is no positive number.
    """
    frame, name = load_frame(source)
    mapped = {canonical: column for canonical, column in (columns or {}).items() if canonical != "loss"}
    points: dict[str, Array] = {}
    for canonical in dict.fromkeys((*form.columns, "params", "tokens", "flops")):
        column = _column(frame, canonical, mapped)
        if column is not None:
            points[canonical] = _positive(frame, column, name)
        elif canonical in form.columns:
            raise SourceError(
                f"{name} has no column {canonical!r}, which {form.name} reads; it has "
                f"{', '.join(map(str, frame.columns))}. Name it: --map {canonical}=COLUMN."
            )
    if "flops" not in points:
        if not {"params", "tokens"} <= points.keys():
            raise SourceError(
                f"{name} has no column of FLOPs, nor params and tokens; expected a cost. Map flops=COLUMN."
            )
        points["flops"] = 6 * points["params"] * points["tokens"]
    return points


def _observed(source: Source, columns: Mapping[str, str] | None) -> pd.DataFrame:
    """Runs that are known; of the mapped columns those that this source has, for it may use other names."""
    frame, _ = load_frame(source)
    mapped = {canonical: column for canonical, column in (columns or {}).items() if column in frame.columns}
    return read_runs(source, columns=mapped, duplicates="keep").frame


def _column(frame: pd.DataFrame, canonical: str, mapped: Mapping[str, str]) -> str | None:
    given = mapped.get(canonical)
    wanted = (given,) if given in frame.columns else (canonical, *ALIASES.get(canonical, ()))
    taken = set(mapped.values()) - set(wanted)
    return next((column for column in wanted if column in frame.columns and column not in taken), None)


def _positive(frame: pd.DataFrame, column: str, name: str) -> Array:
    values = pd.to_numeric(frame[column], errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(wrong):
        raise SourceError(
            f"{name}: {column} in row {wrong[0] + 1} is {frame[column].iloc[wrong[0]]!r}; expected a positive number. "
            "Correct or remove the row."
        )
    return values


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


def learn_runs(surface: FormSurface, prior: Prior, columns: Columns, loss: Array) -> Belief:
    """What is believed after single runs of equal noise, searched from several starts."""
    evidence = Evidence(
        columns=columns,
        loss=loss,
        count=np.ones(len(loss)),
        squares=np.zeros(len(loss)),
        group=np.zeros(len(loss), np.int64),
    )
    return learn(surface, prior, evidence, starts=list(starting_points(surface, columns, loss)[:STARTS]))


def _among(candidates: Columns, known: pd.DataFrame, form: Form) -> NDArray[np.bool_]:
    """Which candidates were observed."""
    seen = {tuple(row) for row in known[list(form.columns)].to_numpy(np.float64)}
    rows = np.stack([candidates[name] for name in form.columns], axis=1)
    return np.array([tuple(row) in seen for row in rows], dtype=bool)


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


def worth_per_cost(belief: Belief, target: Estimate, jacobian: Array, costs: Array, aim: float) -> Array:
    """What each run teaches of the target per cost, with less trust the further below the aim it costs.

    A law is only nearly true: what a cheap run says of a dear region holds up to an error that grows with the decades
    between them. Its noise is widened by that, so that cheap runs alone can never make the region certain; and cost
    enters by its root, since a law that was wrong is found out near the region alone.

    Args:
        belief: What is known.
        target: What is to be learnt.
        jacobian: Derivatives of each run's loss, shape (n, P).
        costs: FLOPs of each run, shape (n,).
        aim: FLOPs at which the target lies.

    Returns:
        Shape (n,).
    """
    noise = belief.common * widening(costs, aim)
    return np.asarray(gains(belief, target, jacobian, noise) / costs**COST_POWER)


def widening(costs: Array, aim: float) -> Array:
    """Factor on the noise of runs of these FLOPs where the target lies at `aim`: 1 there and beyond, shape (n,)."""
    decades = np.maximum(np.log10(aim / costs), 0.0)
    return np.asarray(np.sqrt(1 + (DISTRUST * decades) ** 2))


def _words(name: str, coefficients: Mapping[str, float], known: pd.DataFrame | None) -> str:
    base = f"constants of {name}" if coefficients else f"where a search of {name} starts over this pool"
    return base if known is None else f"{len(known)} observed runs, and {base}"
