"""What the results so far say: the law's belief, the target's interval, and whether parabolas agree."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from analysis.design.belief import GROUP_DEGREES, Belief, Evidence, Prior, learn, likeliest
from analysis.design.bent import FAR, BentSurface
from analysis.design.surface import Columns
from analysis.design.targets import Estimate, Exponent, LogParams, LossThere, Optimum, Target
from analysis.errors import LawError
from analysis.parabola import fit_parabola
from analysis.trend import t_quantile
from orchestrator.proposing import settings as constants
from orchestrator.proposing.settings import Settings
from orchestrator.proposing.space import Known, Space

Array = NDArray[np.float64]

TARGETS: dict[str, type[LogParams] | type[Exponent] | type[LossThere]] = {
    "params": LogParams,
    "exponent": Exponent,
    "loss": LossThere,
}


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Whether the law's minima and the parabolas' agree.

    Attributes:
        curves: Curves on which both could be had.
        disagreement: Root mean square of their differences in standard errors; None without such a curve.
    """

    curves: int
    disagreement: float | None

    @property
    def fired(self) -> bool:
        """Whether the law is not believed."""
        return self.disagreement is not None and self.disagreement > constants.DISAGREEMENT


@dataclass(frozen=True, kw_only=True)
class Results:
    """Committed losses by cell, in the order of the space: equal for every order in which they came.

    Attributes:
        cells: Cells with a finite loss, shape (n,).
        loss: Their mean losses.
        count: Runs behind each.
        squares: Sum of squares about the mean.
    """

    cells: NDArray[np.int64]
    loss: Array
    count: Array
    squares: Array


def gather(space: Space, known: Known) -> Results:
    """Results of a space's runs; diverged ones have no loss and teach nothing."""
    seen = [
        (cell, loss)
        for run_id, loss in known.losses.items()
        if loss is not None and (cell := space.places.get(run_id)) is not None
    ]
    runs = np.array(sorted(seen), dtype=np.float64).reshape(-1, 2)
    cells, first, count = np.unique(runs[:, 0].astype(np.int64), return_index=True, return_counts=True)
    if len(cells) == 0:
        return Results(cells=cells, loss=np.empty(0), count=np.empty(0), squares=np.empty(0))
    mean = np.add.reduceat(runs[:, 1], first) / count
    squares = np.add.reduceat((runs[:, 1] - np.repeat(mean, count)) ** 2, first)
    return Results(cells=cells, loss=mean, count=count.astype(np.float64), squares=squares)


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """What is believed after some results.

    Attributes:
        space: The cells.
        settings: What the sweep is for.
        results: What was seen.
        columns: What the law's surface reads of every cell.
        far: By how many nats the loss is expected to leave the law a decade from a curve's optimum; 0 where the law will do.
        belief: The law.
    """

    space: Space
    settings: Settings
    results: Results
    columns: Columns
    far: float
    belief: Belief

    @cached_property
    def target(self) -> Estimate | None:
        """The quantity that the sweep is for; None where the law has none yet."""
        try:
            return _target(self.space, self.settings).estimate(self.belief.surface, self.belief.theta)
        except LawError:
            return None

    @cached_property
    def jacobian(self) -> Array:
        """Derivatives of every cell's loss, shape (cells, P)."""
        return self.belief.surface.predict(self.belief.theta, self.columns)[1]

    @cached_property
    def optima(self) -> Array:
        """Ln N of every curve's cell of lowest expected loss, shape (curves,)."""
        return _optima(self.space, self.belief, self.columns)

    @cached_property
    def guard(self) -> Guard:
        """Parabolas through what was seen, against parabolas through what the law expects at the same sizes."""
        expected, _ = self.belief.surface.predict(self.belief.theta, self.columns)
        pairs = [
            pair
            for curve in range(len(self.space.budgets))
            if (pair := _compare(self.space, self.results, expected, curve)) is not None
        ]
        noise = constants.FIRST_NOISE
        pooled = noise.degrees * noise.sd**2 + sum(pair.squares for pair in pairs)
        common = pooled / (noise.degrees + sum(pair.degrees for pair in pairs))
        off = [pair.standardised(common) for pair in pairs]
        return Guard(curves=len(off), disagreement=float(np.sqrt(np.mean(np.square(off)))) if off else None)

    def standard_error(self, belief: Belief | None = None) -> float | None:
        """Standard error of the target: of ln N*, of the exponent, or in nats."""
        if self.target is None:
            return None
        return float(np.sqrt(self.target.variances((belief or self.belief).covariance)[0]))

    @cached_property
    def interval(self) -> tuple[float, float, float] | None:
        """The target and its 90 % interval: N*, the exponent, or the loss."""
        se = self.standard_error()
        if self.target is None or se is None:
            return None
        half = t_quantile(max(self.belief.degrees, 3.0), constants.LEVEL) * se
        ends = self.target.value[0] + np.array([0.0, -half, half])
        value, low, high = np.exp(np.clip(ends, -700, 700)) if self.settings.quantity == "params" else ends
        return float(value), float(low), float(high)

    @property
    def width(self) -> float | None:
        """Width of that interval: decades of N*, or units of the exponent or the loss."""
        if self.interval is None:
            return None
        _, low, high = self.interval
        return float(np.log10(high / low)) if self.settings.quantity == "params" else high - low


def understand(space: Space, known: Known, settings: Settings) -> Knowledge:
    """Learn the law from everything that is committed, and how far from its optima it can be believed."""
    results = gather(space, known)
    surface = BentSurface(
        middle_n=float(np.log(space.params).mean()),
        middle_d=float(np.log(space.tokens).mean()),
        curves=len(space.budgets),
    )
    priors = _priors(space, results)
    columns = {**space.columns, "off": np.zeros(len(space.cells))}
    first = learn(surface, priors[0], _evidence(space, results, columns))
    optima = _optima(space, first, columns)
    columns["off"] = (np.log(space.params) - optima[space.curve]) / np.log(10)
    evidence = _evidence(space, results, columns)
    prior = likeliest(surface, priors, evidence, first.theta)
    believed = prior is priors[0]
    belief = first if believed else learn(surface, prior, evidence, near=first.theta)
    far = 0.0 if believed else float(prior.sd[-1])
    return Knowledge(space=space, settings=settings, results=results, columns=columns, far=far, belief=belief)


def _evidence(space: Space, results: Results, columns: Columns) -> Evidence:
    return Evidence(
        columns={name: values[results.cells] for name, values in columns.items()},
        loss=results.loss,
        count=results.count,
        squares=results.squares,
        group=space.curve[results.cells],
    )


def _optima(space: Space, belief: Belief, columns: Columns) -> Array:
    """Ln N of every curve's cell of lowest expected loss, shape (curves,)."""
    expected, _ = belief.surface.predict(belief.theta, columns)
    logs = np.log(space.params)
    rows = [np.flatnonzero(space.curve == c) for c in range(len(space.budgets))]
    return np.array([logs[row[expected[row].argmin()]] for row in rows])


def _priors(space: Space, results: Results) -> list[Prior]:
    """Around the additive law, one for each of `FAR_SHARES`.

    The scale of losses comes from those seen, since bytes and tokens differ.
    """
    level = float(np.median(results.loss)) if len(results.loss) else 3.0
    decades = np.log10(space.budgets[-1] / np.array(space.budgets))
    common = np.log([0.6 * level, 0.2 * level, 0.2 * level, 0.34, 0.34])
    shift = constants.SHIFT_SD + constants.SHIFT_PER_DECADE * decades
    bends = [constants.GAMMA_SD, constants.BEND_SD, constants.BEND_SD]
    return [
        Prior(
            mean=np.concatenate([common, np.zeros(3 + len(decades) + len(FAR))]),
            sd=np.concatenate([[0.5, 1.0, 1.0, 0.5, 0.5], bends, shift, np.full(len(FAR), share * level)]),
            noise=constants.FIRST_NOISE,
        )
        for share in constants.FAR_SHARES
    ]


def _target(space: Space, settings: Settings) -> Target:
    """The quantity at its budget, with FLOPs per token continued along the shapes that can be made."""
    flops = settings.target_flops or 10 * space.budgets[-1]
    near = float(np.exp(space.middles[-1] + 0.5 * np.log(flops / space.budgets[-1])))
    optimum = Optimum(
        flops=flops, near=near, flops_per_token=_flops_per_token(space), extra={"curve": -1.0, "off": 0.0}
    )
    return TARGETS[settings.quantity](optimum)


@dataclass(frozen=True)
class _AlongShapes:
    """phi(N) through the cells' own FLOPs per token, interpolated in logarithms; beyond the last it grows as N."""

    log_params: Array
    log_cost: Array

    def __call__(self, params: Array) -> Array:
        logs = np.log(params)
        beyond = logs - np.clip(logs, self.log_params[0], self.log_params[-1])
        return np.asarray(np.exp(np.interp(logs, self.log_params, self.log_cost) + beyond))


def _flops_per_token(space: Space) -> _AlongShapes:
    params, first = np.unique(space.params, return_index=True)
    return _AlongShapes(np.log(params), np.log(space.flops / space.tokens)[first])


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """The vertices of two parabolas over the same sizes of one curve, and the noise about a smooth difference.

    Attributes:
        difference: Seen less expected, in ln N.
        unit_se: Standard error of the seen one for a noise of 1.
        squares: Sum of squares of seen less expected about its own parabola, with that between seeds: noise alone, even
            where the law is wrong.
        degrees: Its degrees of freedom.
    """

    difference: float
    unit_se: float
    squares: float
    degrees: float

    def standardised(self, common: float) -> float:
        """The difference in standard errors, the curve's own variance drawn towards the common one."""
        variance = (GROUP_DEGREES * common + self.squares) / (GROUP_DEGREES + self.degrees)
        return float(self.difference / (self.unit_se * np.sqrt(variance)))


def _compare(space: Space, results: Results, expected: Array, curve: int) -> _Comparison | None:
    """Both parabolas of a curve of four sizes or more; None where either has no minimum in the range.

    A parabola's bias depends on the sizes alone, so that it cancels between the two.
    """
    rows = np.flatnonzero(space.curve[results.cells] == curve)
    if len(rows) < 4:
        return None
    cells, loss, count = results.cells[rows], results.loss[rows], results.count[rows]
    x = np.log(space.params[cells])
    seen, law = fit_parabola(x, loss, count), fit_parabola(x, expected[cells], count)
    low, high = float(x.min()), float(x.max())
    for parabola in (seen, law):
        if parabola.coefficients[2] <= 0 or not low < parabola.vertex < high:
            return None
    residuals = loss - expected[cells]
    about = residuals - (seen(x) - law(x))  # a parabola's fit is linear in what it is fitted to
    return _Comparison(
        difference=seen.vertex - law.vertex,
        unit_se=seen.vertex_se(1.0),
        squares=float(count @ about**2 + results.squares[rows].sum()),
        degrees=float(count.sum() - 3),
    )
