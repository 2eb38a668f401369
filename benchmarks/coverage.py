"""Do 90 % intervals hold the truth 90 % of the time? Simulated sweeps of known laws, fitted as `fit_form` fits.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py [--quick] [--json] [--sweeps 2000]

Each cell is a design x a kind of noise x a size of noise. An interval holds the truth where the scaled root of the
profile at the truth is below the critical value, which is what `fitting.profile` inverts; a few sweeps of each cell
are put through `fit_form(...).interval(...)` itself to check that both say the same. Seeds are fixed: cell k uses
seed 1000 + k.

`ratio` is the share of (cell, quantity) pairs whose coverage lies in [.87, .93] with no tail above .08. Width is the
median, over the first sweeps of a cell, of the default interval's over that of a profile that knows each run's noise.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import numpy as np  # noqa: E402 - benchmarks/analysis.py would be found in place of the package
import pandas as pd  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy.special import stdtrit  # noqa: E402
from scipy.stats import norm  # noqa: E402

from analysis import fit_form  # noqa: E402
from analysis.fitting.bootstrap import draw_weights  # noqa: E402
from analysis.fitting.charts import ChartedModel, ExponentChart, OptimumChart  # noqa: E402
from analysis.fitting.covariance import collect_scores, model_covariance, sandwich_covariance  # noqa: E402
from analysis.fitting.model import AdditiveModel, Model  # noqa: E402
from analysis.fitting.newton import minimise  # noqa: E402
from analysis.fitting.objective import AUTO_FACTOR  # noqa: E402
from analysis.fitting.optimum import optimal_params  # noqa: E402
from analysis.fitting.problem import Problem, state_problem  # noqa: E402
from analysis.fitting.solve import solve_rows  # noqa: E402
from analysis.fitting.stopping import stopping_factor  # noqa: E402
from analysis.fitting.tasks import Tasks  # noqa: E402
from analysis.forms import find_form  # noqa: E402
from analysis.table import Runs  # noqa: E402

Array = NDArray[np.float64]
Groups = NDArray[np.int64]

ADDITIVE = find_form("additive")
LAWS = {
    "chinchilla": {"A": 482.01, "B": 2085.43, "E": 1.8169, "alpha": 0.3478, "beta": 0.3658},
    "alpha/beta=3": {"A": 24384.0, "B": 102.675, "E": 1.69, "alpha": 0.465, "beta": 0.155},
}
DESIGNS = ("3x7 over one decade", "5x9 over two decades", "trunks 5x9", "stopped by itself")
KINDS = ("equal", "larger at small C", "outliers", "alpha/beta=3")
NOISES = (0.005, 0.015)
MULTIPLES = (1, 10, 100)
LEVEL, COEFFICIENTS = 0.9, 5


@dataclass(frozen=True, kw_only=True)
class Sweeps:
    """S simulated sweeps of one design.

    Attributes:
        params: Sizes, shape (n,).
        tokens: Data, shape (n,).
        log_loss: Observed, shape (S, n).
        sigma: True noise of each run, shape (n,).
        truth: The law.
        clusters: Trunk of each run, or None.
        first_look: Runs after which it may first have stopped by its own interval, or None.
    """

    params: Array
    tokens: Array
    log_loss: Array
    sigma: Array
    truth: Mapping[str, float]
    clusters: Groups | None = None
    first_look: int | None = None

    @property
    def flops(self) -> Array:
        """Compute of each run, shape (n,)."""
        return 6 * self.params * self.tokens

    @property
    def problem(self) -> Problem:
        """The additive problem of the first sweep; all share its columns."""
        columns = {"params": self.params, "tokens": self.tokens}
        return state_problem(ADDITIVE, columns, np.exp(self.log_loss[0]))

    @property
    def coefficients(self) -> Array:
        """The truth in the form's order, shape (1, 5)."""
        return np.array([list(self.truth.values())])

    def take(self, sweeps: slice | NDArray[np.intp]) -> Sweeps:
        """Some of the sweeps."""
        return replace(self, log_loss=self.log_loss[sweeps])


def grid(budgets: int, sizes: int, decades: float, truth: Mapping[str, float]) -> tuple[Array, Array]:
    """Budgets x sizes within a factor four of each optimum."""
    flops = np.repeat(np.geomspace(1e18, 1e18 * 10**decades, budgets), sizes)
    best = optimal_params(ADDITIVE, np.tile(list(truth.values()), (len(flops), 1)), flops)
    params = best * np.tile(np.geomspace(0.25, 4, sizes), budgets)
    return params, flops / (6 * params)


def simulate(design: str, kind: str, noise: float, count: int, seed: int) -> Sweeps:
    """Sweeps of one cell; one that stops itself is given all the runs that it could ask for."""
    truth = LAWS["alpha/beta=3" if kind == "alpha/beta=3" else "chinchilla"]
    generator, clusters = np.random.default_rng(seed), None
    if design == "trunks 5x9":  # nine sizes, each branching off at five lengths
        ends, _ = grid(5, 9, 2.0, truth)
        params = np.tile(np.geomspace(ends.min(), ends.max(), 9), 5)
        tokens = np.repeat(np.geomspace(1e18, 1e20, 5), 9) / (6 * params)
        clusters = np.tile(np.arange(9), 5)
    else:
        shape = {"3x7 over one decade": (3, 7, 1.0), "5x9 over two decades": (5, 9, 2.0)}.get(design, (6, 7, 2.5))
        params, tokens = grid(*shape, truth)
    flops = 6 * params * tokens
    sigma = noise * (flops / flops.max()) ** -0.25 if kind == "larger at small C" else np.full(len(flops), noise)
    errors = generator.standard_normal((count, len(flops)))
    if clusters is not None:
        errors = np.sqrt(0.5) * (errors + generator.standard_normal((count, 9))[:, clusters])
    if kind == "outliers":
        errors += (generator.random(errors.shape) < 0.05) * np.abs(6 * generator.standard_normal(errors.shape))
    mean = np.log(ADDITIVE.loss(truth, {"params": params, "tokens": tokens}))
    return Sweeps(
        params=params, tokens=tokens, log_loss=mean + sigma * errors, sigma=sigma, truth=truth, clusters=clusters
    )


@dataclass(frozen=True, kw_only=True)
class Fits:
    """S fits, and what their intervals are made of: coordinates (S, 5), delta (S, 1), the objective (S,)."""

    problem: Problem
    model: AdditiveModel
    theta: Array
    delta: Array
    value: Array
    tasks: Tasks


def fit_all(sweeps: Sweeps, *, known: bool = False) -> Fits:
    """Huber fits with automatic delta; or, for the yardstick, squares weighted by the known noise."""
    problem = sweeps.problem
    model = AdditiveModel(problem)
    n, rows = sweeps.log_loss.shape[1], len(sweeps.log_loss)
    weights = sweeps.sigma[None] ** -2 if known else np.ones((1, n))
    tasks = Tasks(sweeps.log_loss, weights, np.full((rows, 1), np.inf), problem.low[None], problem.high[None])
    ends = minimise(model, np.tile(problem.coordinates(sweeps.coefficients), (rows, 1)), tasks)
    for _ in range(0 if known else 4):
        size = np.abs(sweeps.log_loss - model.value(ends.theta))
        scale = 1.4826 * np.median(size, axis=1, keepdims=True) * np.sqrt(n / (n - COEFFICIENTS))
        tasks = replace(tasks, delta=AUTO_FACTOR * scale)
        ends = minimise(model, ends.theta, tasks)
    return Fits(problem=problem, model=model, theta=ends.theta, delta=tasks.delta, value=ends.value, tasks=tasks)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One quantity of S fits as coordinate `index` of some chart; limits of the coordinates, and the truth."""

    name: str
    model: Model
    theta: Array
    index: int
    truth: float
    low: Array
    high: Array
    below: bool = False  # whether E (coordinate 2) must stay below the quantity


def quantities(sweeps: Sweeps, fits: Fits) -> Iterator[Asked]:
    problem, wide = fits.problem, np.array([np.inf, 40.0])
    coefficients = problem.coefficients(fits.theta)
    low = np.concatenate([-wide, problem.low[2:]])
    high = np.concatenate([wide, [np.inf], problem.high[3:]])
    for multiple in MULTIPLES:
        flops = multiple * float(sweeps.flops.max())
        best = optimal_params(ADDITIVE, coefficients, np.array([flops]))
        true = optimal_params(ADDITIVE, sweeps.coefficients, np.array([flops]))
        for index, hold in ((0, False), (1, True)):
            chart = OptimumChart(flops, hold_loss=hold)
            at = chart.at_optimum(sweeps.coefficients, true)[0]
            model = ChartedModel(fits.model, chart, problem.shift, problem.positive)
            yield Asked(
                name=f"{'NL'[index]}* at {multiple}x", model=model, theta=chart.at_optimum(coefficients, best),
                index=index, truth=float(at[index]), low=low, high=high, below=hold,
            )  # fmt: skip
    chart = ExponentChart(float(problem.shift[0, 3]), float(problem.shift[1, 4]))
    theta, at = (np.stack(chart.coordinates(list(c.T)), axis=1) for c in (coefficients, sweeps.coefficients))
    low = np.array([-60, -60, problem.low[2], 0.01, 0.02])
    yield Asked(
        name="a", model=ChartedModel(fits.model, chart, problem.shift, problem.positive), theta=theta, index=3,
        truth=float(at[0, 3]), low=low, high=np.array([60, 60, np.inf, 0.99, 8.0]),
    )  # fmt: skip
    true = problem.coordinates(sweeps.coefficients)[0, 2]
    yield Asked(
        name="E", model=fits.model, theta=fits.theta, index=2, truth=float(true), low=problem.low, high=problem.high
    )


def roots(asked: Asked, fits: Fits, values: Array) -> Array:
    """Signed root of each fit's rise at its value, before scaling, shape (S,)."""
    rows, k = len(values), asked.index
    low, high, start = (np.tile(x, (rows, 1)) for x in (asked.low, asked.high, np.zeros(5)))
    start[:] = asked.theta
    if asked.below:
        high[:, 2] = np.minimum(high[:, 2], values - 1e-9)
    low[:, k] = high[:, k] = start[:, k] = values
    ends = minimise(asked.model, start, replace(fits.tasks, low=low, high=high))
    return np.sign(values - asked.theta[:, k]) * np.sqrt(2 * np.maximum(ends.value - fits.value, 0))


def critical_roots(asked: Asked, fits: Fits, sweeps: Sweeps, *, replayed: bool = True) -> tuple[Array, Array]:
    """Root at which the default interval ends, and the standard error it corresponds to, shape (S,) each.

    What a stop by the interval costs depends on the design and the law alone, so that one fit's factor serves all.
    """
    predictions = asked.model.predictions(asked.theta, second_order=False)
    scores = collect_scores(
        predictions.jacobian, fits.tasks.observed - predictions.value, fits.tasks.weights, fits.delta
    )
    own = model_covariance(scores)[:, asked.index, asked.index]
    robust = sandwich_covariance(scores, sweeps.clusters)[:, asked.index, asked.index]
    n = len(sweeps.params)
    freedom = n - COEFFICIENTS if sweeps.clusters is None else min(n - COEFFICIENTS, len(set(sweeps.clusters)) - 1)
    t = float(stdtrit(freedom, 0.5 + LEVEL / 2))
    if sweeps.first_look is not None and replayed:
        t *= stopping_factor(predictions.jacobian[0], asked.index, sweeps.first_look, LEVEL)
    return t * np.sqrt(scores.noise * robust / own), t * np.sqrt(robust)


def half_width(asked: Asked, fits: Fits, wanted: Array, scale: Array, sign: float) -> Array:
    """Distance of an interval's end from the estimate, by bisection; inf beyond six linearised ones."""
    near, far = np.zeros(len(wanted)), np.full(len(wanted), 6.0)
    centre = asked.theta[:, asked.index]
    limit = asked.low[asked.index] if sign < 0 else asked.high[asked.index]
    reach = np.abs(limit - centre) / scale
    open_end = np.abs(roots(asked, fits, centre + sign * scale * np.minimum(far, reach))) < wanted
    far = np.minimum(far, reach)
    for _ in range(7):
        middle = 0.5 * (near + far)
        past = np.abs(roots(asked, fits, centre + sign * scale * middle)) >= wanted
        near, far = np.where(past, near, middle), np.where(past, middle, far)
    return np.where(open_end, np.inf, 0.5 * (near + far) * scale)


def widths(asked: Asked, fits: Fits, critical: Array, scale: Array) -> Array:
    return sum(half_width(asked, fits, critical, scale, sign) for sign in (-1.0, 1.0))  # type: ignore[return-value]


def width_ratio(sweeps: Sweeps, name: str, count: int) -> float:
    """Median width of the default interval over the median of one that knows the noise."""
    few = sweeps.take(slice(count))
    medians = []
    for known in (False, True):
        fits = fit_all(few, known=known)
        asked = next(q for q in quantities(few, fits) if q.name == name)
        critical, scale = critical_roots(asked, fits, few)
        if known:
            critical = np.full(count, float(norm.ppf(0.5 + LEVEL / 2)))
        medians.append(float(np.median(widths(asked, fits, critical, scale))))
    return medians[0] / medians[1] if np.isfinite(medians).all() else float("nan")


def bootstrap_coverage(sweeps: Sweeps, fits: Fits, count: int, replicates: int) -> dict[str, float]:
    """Coverage of the published kind of interval: percentiles over resampled runs (trunks, where they are shared)."""
    n = len(sweeps.params)
    units = np.arange(n) if sweeps.clusters is None else sweeps.clusters
    hits: dict[str, list[bool]] = {}
    flops = float(sweeps.flops.max())
    true = sweeps.coefficients
    for k in range(count):
        weights = draw_weights(units, replicates, seed=k)
        problem = replace(fits.problem, loss=np.exp(sweeps.log_loss[k]))
        ends = solve_rows(problem, np.tile(fits.theta[k], (replicates, 1)), weights, float(fits.delta[k, 0]))
        for name, statistic in _statistics(flops).items():
            draws, at = statistic(problem.coefficients(ends.theta)), statistic(true)[0]
            low, high = np.quantile(draws, [0.05, 0.95])
            hits.setdefault(name, []).append(bool(low <= at <= high))
    return {name: float(np.mean(flags)) for name, flags in hits.items()}


def _statistics(flops: float) -> dict[str, Callable[[Array], Array]]:
    def size(multiple: float) -> Callable[[Array], Array]:
        return lambda c: np.log(optimal_params(ADDITIVE, c, np.array([multiple * flops])))

    return {
        **{f"N* at {multiple}x": size(multiple) for multiple in MULTIPLES},
        "a": lambda c: c[:, 4] / (c[:, 3] + c[:, 4]),
        "E": lambda c: c[:, 2],
    }


def stop_by_interval(sweeps: Sweeps, stages: tuple[int, ...] = (3, 4, 5, 6), sizes: int = 7) -> list[Sweeps]:
    """Split sweeps by the number of budgets after which their interval of N* at a far budget is narrow enough.

    Narrow enough is the median width after four budgets, so that some stop at three and some go on to six.
    """
    remaining, groups, limit = np.arange(len(sweeps.log_loss)), [], None
    spans = {}
    for stage in stages:
        part = replace(
            sweeps, params=sweeps.params[: stage * sizes], tokens=sweeps.tokens[: stage * sizes],
            sigma=sweeps.sigma[: stage * sizes], log_loss=sweeps.log_loss[:, : stage * sizes],
        )  # fmt: skip
        fits = fit_all(part)
        far = replace(part, tokens=part.tokens)
        asked = next(q for q in quantities(far, fits) if q.name == "N* at 10x")
        spans[stage] = (replace(part, first_look=stages[0] * sizes), critical_roots(asked, fits, part)[1])
    limit = float(np.median(spans[stages[1]][1]))
    for stage in stages:
        part, span = spans[stage]
        stops = np.ones(len(remaining), bool) if stage == stages[-1] else span[remaining] <= limit
        if stops.any():
            groups.append(part.take(remaining[stops]))
        remaining = remaining[~stops]
    return groups


def cover(sweeps: Sweeps, *, replayed: bool = True) -> dict[str, tuple[Array, Array]]:
    """For each quantity: which intervals lie wholly above the truth, and which wholly below, shape (S,) each."""
    fits = fit_all(sweeps)
    found = {}
    for asked in quantities(sweeps, fits):
        critical, _ = critical_roots(asked, fits, sweeps, replayed=replayed)
        root = roots(asked, fits, np.full(len(fits.theta), asked.truth))
        found[asked.name] = (root < -critical, root > critical)
    return found


def disagreements(sweeps: Sweeps, count: int) -> int:
    """Sweeps on which `fit_form` and this study say differently whether E, a or N* is covered."""
    found = cover(sweeps.take(slice(count)))
    wrong = 0
    for k in range(count):
        frame = pd.DataFrame({"params": sweeps.params, "tokens": sweeps.tokens, "flops": sweeps.flops})
        frame["loss"] = np.exp(sweeps.log_loss[k])
        if sweeps.clusters is not None:
            frame["trunk"] = sweeps.clusters
        fit = fit_form(
            Runs(frame=frame, first_look=sweeps.first_look), cluster=None if sweeps.clusters is None else "trunk"
        )
        flops = 10 * float(sweeps.flops.max())
        params = float(optimal_params(ADDITIVE, sweeps.coefficients, np.array([flops]))[0])
        a = sweeps.truth["beta"] / (sweeps.truth["alpha"] + sweeps.truth["beta"])
        checks = {
            "E": (fit.interval("E"), sweeps.truth["E"]),
            "a": (fit.interval("a"), a),
            "N* at 10x": (fit.optimum(flops).intervals["params"], params),
        }
        for name, (interval, truth) in checks.items():
            above = interval.low is not None and interval.low > truth
            below = interval.high is not None and interval.high < truth
            wrong += (above or below) != bool(found[name][0][k] or found[name][1][k])
    return wrong


def run_cell(number: int, design: str, kind: str, noise: float, options: argparse.Namespace) -> dict[str, object]:
    start = time.process_time()
    sweeps = simulate(design, kind, noise, options.sweeps, 1000 + number)
    groups = stop_by_interval(sweeps) if design == "stopped by itself" else [sweeps]
    parts = [cover(group) for group in groups]
    plain = [cover(group, replayed=False) for group in groups] if len(groups) > 1 else []
    result: dict[str, object] = {"design": design, "noise": kind, "sigma": noise, "quantities": {}}
    for name in parts[0]:
        above, below = (np.concatenate([part[name][side] for part in parts]) for side in (0, 1))
        entry = {
            "coverage": 1 - float((above | below).mean()),
            "above": float(above.mean()),
            "below": float(below.mean()),
        }
        if len(groups) > 1:
            entry["without_replay"] = 1 - float(np.mean(np.concatenate([np.logical_or(*part[name]) for part in plain])))
        else:
            entry["width"] = width_ratio(sweeps, name, options.widths)
        result["quantities"][name] = entry  # type: ignore[index]
    if len(groups) == 1:
        result["bootstrap"] = bootstrap_coverage(sweeps, fit_all(sweeps.take(slice(options.boots))), options.boots, 300)
    result["disagreements"] = disagreements(groups[0], min(options.checks, len(groups[0].log_loss)))
    result["sweeps_by_stage"] = [len(group.log_loss) for group in groups]
    result["cpu_seconds"] = time.process_time() - start
    return result


def passes(entry: Mapping[str, float]) -> bool:
    return 0.87 <= entry["coverage"] <= 0.93 and max(entry["above"], entry["below"]) <= 0.08


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200 sweeps of four cells")
    parser.add_argument("--json", action="store_true", help="the JSON object alone")
    parser.add_argument("--sweeps", type=int, default=2000)
    parser.add_argument("--widths", type=int, default=200, help="sweeps of a cell whose widths are measured")
    parser.add_argument("--boots", type=int, default=200, help="sweeps of a cell that are bootstrapped")
    parser.add_argument("--design", choices=DESIGNS, help="this design alone")
    parser.add_argument("--checks", type=int, default=10, help="sweeps of a cell put through fit_form itself")
    options = parser.parse_args()
    cells = list(enumerate(itertools.product(DESIGNS, KINDS, NOISES)))
    if options.quick:
        options.sweeps, options.widths, options.boots, options.checks, cells = 200, 20, 20, 2, cells[::9]
    if options.design:
        cells = [cell for cell in cells if cell[1][0] == options.design]
    results = []
    for number, (design, kind, noise) in cells:
        results.append(run_cell(number, design, kind, noise, options))
        if not options.json:
            _show(results[-1])
    entries = [entry for result in results for entry in result["quantities"].values()]  # type: ignore[attr-defined]
    document = {"ratio": float(np.mean([passes(e) for e in entries])), "sweeps": options.sweeps, "cells": results}
    text = json.dumps(document)
    print(text.replace("NaN", "null"))


def _show(result: dict[str, object]) -> None:
    print(f"{result['design']}, {result['noise']}, {result['sigma']}", file=sys.stderr)
    for name, entry in result["quantities"].items():  # type: ignore[attr-defined]
        plain = f"  without replay {entry['without_replay']:.3f}" if "without_replay" in entry else ""
        boot = result.get("bootstrap", {}).get(name, float("nan"))  # type: ignore[attr-defined]
        mark = "" if passes(entry) else "  <-"
        print(
            f"  {name:<12}{entry['coverage']:.3f} ({entry['above']:.3f}, {entry['below']:.3f})  width "
            f"{entry.get('width', float('nan')):.2f}  bootstrap {boot:.2f}{plain}{mark}",
            file=sys.stderr,
        )
    print(f"  {result['disagreements']} disagreements, {result['cpu_seconds']:.0f} s of CPU", file=sys.stderr)


if __name__ == "__main__":
    main()
