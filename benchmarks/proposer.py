"""Which points to run: the law-informed sampler against a grid and Optuna's samplers, on simulated surfaces.

    python benchmarks/proposer.py [--quick] [--json] [--replicates R] [--surfaces verdict|development] [--only CELL]

Protocol, fixed before the verdict was run (benchmarks/README.md has the results):

- Five budgets 1e17 to 1e19 FLOPs, C = 6ND; the target is log10 N* at 1e21. Sizes are shapes that exist, D in whole steps.
- A replicate draws its own surface from a family, its noise and its prior; every method sees the same surface. The
  families: `chinchilla` (additive, exponents around .35), `asymmetric` (alpha/beta 1.5 to 3, or its inverse), `outside`
  (Kaplan's joint law, Rosenfeld's with its level of guessing, a power of the sum, two terms in N), `curved` (additive,
  with N* bent away below the median budget by up to a factor of 1.5 at the smallest).
- Priors: centred on the true optimum at 1e18 with exponent .5, or off centre by 10^.35 and drifting by 10^.1 a decade.
- Noise of one run: .002, .004, .01 nats, or .004 at the largest budget growing as C^-.25; no method is told.
- The grid: nine sizes evenly within a decade of the prior's centre on each budget, 45 runs. The sampler: at most 45 runs and
  a share of the grid's FLOPs, in synchronous batches of four; it may go 1.6 decades from the prior's centre.
- Every design is scored by one estimator, the sampler's own belief (so that the comparison is of designs), and the grid
  also by what is used today: parabolas and a power law through their minima (approach 2).
- `ratio`: median over cells of the share of the grid's FLOPs at which the sampler's root mean square error equals the
  grid's, interpolated in logarithms between the shares run. `worst_error_ratio`: the largest ratio of the two errors at
  equal FLOPs and runs; its interval is the 95 % bootstrap over replicates of that cell.
- Development uses seeds from 5,000,000 and families of its own: `chinchilla`, `asymmetric`, `power`, `curved`, `drifting`
  (either exponent changes with scale, by a few percent a decade) and `coupled` (a term in both N and D). The first
  verdict was on seeds from 1,000,000. The sampler was then changed on development alone (decision 0013), and is judged anew
  on surfaces that nobody has seen, from 9,000,000.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

sys.path.pop(0)  # a neighbour here has the name of the package `analysis`, and would be found first

from orchestrator.proposing.choosing import Chooser, Ending
from orchestrator.proposing.knowing import understand
from orchestrator.proposing.settings import Settings
from orchestrator.proposing.space import Cell, Known, Space
from trainer.counting import count_params
from trainer.shapes import ShapeRule

Array = NDArray[np.float64]
Law = Callable[[Array, Array, Array], Array]

BUDGETS = np.array([1e17, 3e17, 1e18, 3e18, 1e19])
TARGET = 1e21
GRID_SIZES, RUNS, SEEDS, BATCH_TOKENS = 9, 45, 6, 2**16
GRID_FLOPS = float(GRID_SIZES * BUDGETS.sum())
SHARES = (0.125, 0.25, 1.0)
FAMILIES = ("chinchilla", "asymmetric", "outside", "curved")
DEVELOPMENT = ("chinchilla", "asymmetric", "power", "curved", "drifting", "coupled")
PRIORS = {"centred": (0.0, 0.0), "off": (0.35, 0.1)}
NOISES = {"0.002": (0.002, 0.0), "0.004": (0.004, 0.0), "0.01": (0.01, 0.0), "growing": (0.004, -0.25)}


# --- surfaces


def draw_law(family: str, rng: np.random.Generator) -> Law:
    """One surface of a family: loss of N, D on the curve of C."""
    alpha, beta = np.exp(rng.normal(np.log([0.35, 0.36]), 0.25))
    if family == "asymmetric":
        low, ratio = rng.uniform(0.17, 0.27), rng.uniform(1.5, 3.0)
        alpha, beta = (low * ratio, low) if rng.random() < 0.5 else (low, low * ratio)
    floor, n0 = rng.uniform(1.4, 2.1), 10 ** rng.uniform(8.2, 8.8)
    d0, u = 1e19 / 6 / n0, rng.uniform(0.25, 0.6)
    v = alpha * u / beta

    def additive(N: Array, D: Array) -> Array:
        return u * (N / n0) ** -alpha + v * (D / d0) ** -beta

    if family == "curved":
        bend = rng.uniform(-0.4, 0.4)

        def curved(N: Array, D: Array, C: Array) -> Array:
            below = np.maximum(0.0, np.log10(1e18 / C))
            move = np.exp(bend * below**2)
            return floor + additive(N * move, D / move)

        return curved
    if family in ("drifting", "coupled"):
        return draw_broken_law(family, rng, additive, (floor, alpha, beta, n0, d0, u, v))
    kind = {"outside": rng.integers(4), "power": 2}.get(family, -1)
    power, level, share = rng.choice([0.6, 0.75, 1.35, 1.6]), rng.uniform(7.0, 10.0), rng.uniform(0.2, 0.5)
    if kind == 0:  # Kaplan's joint law: no floor
        alpha_d = rng.uniform(0.08, 0.12)
        ratio = rng.uniform(0.7, 0.9)
        top = rng.uniform(2.3, 3.0) ** (1 / alpha_d) / (1 + ratio)
        return lambda N, D, C: (top * ((N / n0) ** -ratio + ratio * d0 / D)) ** alpha_d
    if kind == 1:
        return lambda N, D, C: ((floor + additive(N, D)) ** -2 + level**-2) ** -0.5
    if kind == 2:
        return lambda N, D, C: floor + additive(N, D) ** power
    if kind == 3:
        return lambda N, D, C: floor + additive(N, D) + share * u * (N / n0) ** (-2 * alpha)
    return lambda N, D, C: floor + additive(N, D)


def draw_broken_law(
    family: str, rng: np.random.Generator, additive: Callable[[Array, Array], Array], constants: tuple[float, ...]
) -> Law:
    """A law of development that the additive one misses: exponents that drift, or a term in N and D together."""
    floor, alpha, beta, n0, d0, u, v = constants
    if family == "coupled":
        share = rng.uniform(-0.4, 0.8) * np.sqrt(u * v)
        return lambda N, D, C: floor + additive(N, D) + share * (N / n0) ** (-0.7 * alpha) * (D / d0) ** (-0.7 * beta)
    first, second = rng.uniform(0.03, 0.08, 2) * rng.choice([-1, 1], 2)

    def term(scale: float, power: float, ratio: Array, drift: float) -> Array:
        return scale * np.exp(-power * np.log(ratio) * (1 + drift * np.tanh(np.log(ratio) / 3)))

    return lambda N, D, C: floor + term(u, alpha, N / n0, first) + term(v, beta, D / d0, second)


def optimum(law: Law, flops: float) -> float:
    """log10 N* of a surface at a budget, to 1e-4."""
    x = np.linspace(5.5, 12.5, 1401)
    loss = law(10**x, flops / 6 / 10**x, np.full(len(x), flops))
    best = int(loss.argmin())
    bend = np.polyfit(x[best - 2 : best + 3] - x[best], loss[best - 2 : best + 3], 2)
    return float(x[best] - bend[1] / (2 * bend[0]))


@cache
def shapes() -> Array:
    """Sizes that exist: width in multiples of 32, width over layers 64, no embedding or head counted."""
    rule = ShapeRule(vocab=32_000, context=1024, width_multiple=32)
    return np.unique([float(count_params(rule.shape(width)).under("blocks")) for width in range(32, 8192, 32)])


def build_space(centres: Array, reach: float = 1.6) -> Space:
    """Every shape within `reach` decades of the prior's centre, thinned to 5 %, with D in whole steps."""
    cells = []
    for curve, (budget, centre) in enumerate(zip(BUDGETS, centres, strict=True)):
        wanted = 10 ** (centre + np.linspace(-reach, reach, 61))
        sizes = np.unique(shapes()[np.abs(np.log(shapes()[None] / wanted[:, None])).argmin(1)])
        for params in sizes:
            steps = round(budget / 6 / params / BATCH_TOKENS)
            if steps >= 10 and abs(6 * params * steps * BATCH_TOKENS / budget - 1) < 0.05:
                tokens = steps * BATCH_TOKENS
                name = f"{curve}-{int(params)}"
                cells.append(
                    Cell(curve=curve, params=int(params), tokens=tokens, flops=6 * params * tokens,
                         runs=tuple(f"{name}-{seed}" for seed in range(SEEDS)))
                )  # fmt: skip
    return Space(cells=tuple(cells), budgets=tuple(BUDGETS), middles=tuple(centres * np.log(10)))


@dataclass
class World:
    """One surface with its noise; a run's loss is drawn once and is the same for every method."""

    family: str
    prior: str
    noise: str
    seed: int
    drawn: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.seed, 0])
        self.law = draw_law(self.family, rng)
        off, drift = PRIORS[self.prior]
        decades = np.log10(BUDGETS / 1e18)
        self.centres = optimum(self.law, 1e18) + 0.5 * decades + off + drift * decades
        self.space = build_space(self.centres)
        self.truth = optimum(self.law, TARGET)

    def loss(self, run: str) -> float:
        """The loss of a run, with noise that belongs to it."""
        if run not in self.drawn:
            cell = self.space.cells[self.space.places[run]]
            sd, power = NOISES[self.noise]
            sd *= (self.space.budgets[cell.curve] / BUDGETS[-1]) ** power
            exact = self.law(
                *(np.array([float(x)]) for x in (cell.params, cell.tokens, self.space.budgets[cell.curve]))
            )
            name = [int(part) for part in run.split("-")]
            self.drawn[run] = float(exact[0] + sd * np.random.default_rng([self.seed, 1, *name]).standard_normal())
        return self.drawn[run]


# --- designs: each gives the losses that it saw


def grid(world: World) -> dict[str, float]:
    """Nine sizes evenly within a decade of the prior's centre on each budget; a size wanted twice gets another seed."""
    space, seen = world.space, {}
    logs = np.log10(space.params)
    for curve, centre in enumerate(world.centres):
        rows = np.flatnonzero(space.curve == curve)
        for wanted in centre + np.linspace(-1, 1, GRID_SIZES):
            cell = space.cells[rows[np.abs(logs[rows] - wanted).argmin()]]
            run = next(run for run in cell.runs if run not in seen)
            seen[run] = world.loss(run)
    return seen


def settings(share: float) -> Settings:
    """What the sampler may spend."""
    return Settings(
        target_flops=TARGET, max_flops=share * GRID_FLOPS, max_runs=RUNS, together=4, synchronous=True,
    )  # fmt: skip


def sampler(world: World, share: float) -> dict[str, float]:
    """The law-informed sampler in synchronous batches."""
    return drive(world, Chooser(world.space, settings(share)), 4)


def optuna_sampler(world: World, name: str) -> dict[str, float]:
    """One of Optuna's samplers at the grid's FLOPs and runs, within the grid's decade, in batches of four."""
    import optuna

    from orchestrator.proposing.alternatives import CurveByCurve

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    near = np.abs(np.log10(world.space.params) - world.centres[world.space.curve]) <= 1.0
    cells = tuple(cell for cell, inside in zip(world.space.cells, near, strict=True) if inside)
    space = Space(cells=cells, budgets=world.space.budgets, middles=world.space.middles)
    return drive(world, CurveByCurve(space, settings(1.01), name, world.seed), 4)


def drive(world: World, chooser: object, together: int) -> dict[str, float]:
    """Ask and tell until nothing is left."""
    losses: dict[str, float] = {}
    pending: list[str] = []
    while True:
        chosen = chooser.choose(Known(losses=losses, pending=tuple(pending)))  # type: ignore[attr-defined]
        if not isinstance(chosen, Ending):
            pending.append(chosen.run_id)
        elif not pending:
            return losses
        if isinstance(chosen, Ending) or len(pending) == together:
            losses = losses | {run: world.loss(run) for run in pending}
            pending = []


# --- estimators: log10 N* at the target


def by_law(world: World, seen: dict[str, float]) -> tuple[float, bool]:
    """Error of the sampler's own belief, and whether its 90 % interval holds the truth."""
    knowledge = understand(world.space, Known(losses=seen), settings(1.0))
    if knowledge.interval is None:
        return np.nan, False
    value, low, high = np.log10(knowledge.interval)
    return value - world.truth, bool(low <= world.truth <= high)


def by_parabolas(world: World, seen: dict[str, float]) -> float:
    """Error of approach 2: a parabola in ln N on each curve, and a power law through the vertices inside."""
    space, points = world.space, []
    cells = np.array([space.places[run] for run in seen])
    losses = np.array(list(seen.values()))
    for curve, budget in enumerate(BUDGETS):
        mine = space.curve[cells] == curve
        x = np.log10(space.params[cells[mine]])
        c = np.polyfit(x - x.mean(), losses[mine], 2)
        vertex = x.mean() - c[1] / (2 * c[0])
        if c[0] > 0 and x.min() < vertex < x.max():
            points.append((np.log10(budget), vertex))
    if len(points) < 2:
        return np.nan
    slope, level = np.polyfit(*np.array(points).T, 1)
    return float(slope * np.log10(TARGET) + level - world.truth)


# --- the run


def replicate(world: World, *, with_tpe: bool, with_gp: bool) -> dict[str, float]:
    """Errors of every method on one world."""
    seen = grid(world)
    out: dict[str, float] = {"parabolas": by_parabolas(world, seen)}
    designs = {"grid": seen} | {f"isoflop {share:g}": sampler(world, share) for share in SHARES}
    if with_tpe:
        designs["tpe"] = optuna_sampler(world, "tpe")
    if with_gp:
        designs["gp"] = optuna_sampler(world, "gp")
    for name, losses in designs.items():
        out[name], out[f"{name} covered"] = by_law(world, losses)
        out[f"{name} runs"] = len(losses)
        out[f"{name} flops"] = sum(world.space.flops[world.space.places[run]] for run in losses) / GRID_FLOPS
    return out


def rms(errors: Array) -> float:
    """Root mean square; an estimate that could not be made, or is off by more, counts as off by two decades."""
    return float(np.sqrt(np.mean(np.clip(np.nan_to_num(errors, nan=2.0), -2, 2) ** 2)))


def summarise(rows: list[dict[str, float]]) -> dict[str, object]:
    """One cell: errors, coverage, FLOPs, and the share at which the sampler is as good as the grid."""
    names = [name for name in rows[0] if not name.endswith((" covered", " runs", " flops"))]
    columns = {name: np.array([row[name] for row in rows if name in row]) for name in rows[0]}
    table = {}
    for name in names:
        errors = np.nan_to_num(np.abs(columns[name]), nan=2.0)
        table[name] = {
            "rms": rms(columns[name]),
            "median": float(np.median(errors)),
            "p95": float(np.quantile(errors, 0.95)),
        }
        if f"{name} covered" in columns:
            table[name] |= {
                "coverage": float(columns[f"{name} covered"].mean()),
                "runs": float(columns[f"{name} runs"].mean()),
                "flops": float(columns[f"{name} flops"].mean()),
            }
    ratios = {share: table[f"isoflop {share:g}"]["rms"] / table["grid"]["rms"] for share in SHARES}
    rng = np.random.default_rng(0)
    draws = rng.integers(len(rows), size=(1000, len(rows)))
    interval = {}
    for share in SHARES:
        mine, theirs = columns[f"isoflop {share:g}"], columns["grid"]
        interval[share] = np.quantile([rms(mine[d]) / rms(theirs[d]) for d in draws], [0.025, 0.975]).tolist()
    return {"methods": table, "error_ratios": ratios, "intervals": interval, "share": share_needed(ratios)}


def share_needed(ratios: dict[float, float]) -> float:
    """Share of the grid's FLOPs at which the errors are equal: the first crossing; the least share run is a bound."""
    points = sorted(ratios.items())
    if points[0][1] <= 1:
        return points[0][0]
    for (low, worse), (high, better) in itertools.pairwise(points):
        if better <= 1:
            weight = np.log(worse) / (np.log(worse) - np.log(better))
            return float(low * (high / low) ** weight)
    return float("inf")


def proposal_seconds(trials: int = 1000, asks: int = 100) -> dict[str, float]:
    """CPU time of one proposal (ask, through Optuna) with so many finished trials."""
    import optuna

    from orchestrator.proposing.sampler import IsoFlopSampler

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    world = World("chinchilla", "centred", "0.004", 7)
    sampler = IsoFlopSampler(world.space, Settings(target_flops=TARGET))
    study = optuna.create_study(sampler=sampler)
    rng = np.random.default_rng(0)
    runs = [run for cell in world.space.cells for run in cell.runs]
    for run in rng.permutation(runs)[:trials]:
        study.add_trial(
            optuna.trial.create_trial(
                params=sampler.params_of(str(run)), distributions=sampler.distributions, value=world.loss(str(run))
            )
        )
    times = []
    for _ in range(asks):
        start = time.process_time()
        sampler.next(study)
        trial = study.ask(dict(sampler.distributions))
        times.append(time.process_time() - start)
        study.tell(trial, world.loss(str(sampler.run_of(trial.params))))
    return {"trials": trials, "median": float(np.median(times)), "p99": float(np.quantile(times, 0.99))}


def cells(families: tuple[str, ...], quick: bool) -> Iterator[tuple[str, str, str]]:
    """Families x priors x noises; the quick ones are four of them."""
    every = list(itertools.product(families, PRIORS, NOISES))
    yield from (every[1::9] if quick else every)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="four cells, ten replicates: a minute")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--replicates", type=int, default=None)
    parser.add_argument("--surfaces", choices=("verdict", "development"), default="verdict")
    parser.add_argument("--tpe", type=int, default=None, help="replicates of each cell that TPE runs, too")
    parser.add_argument("--gp", type=int, default=0, help="replicates of each cell that GP runs, too: 4 s each")
    parser.add_argument("--only", default="", help="cells whose name holds this, such as 'drifting centred 0.002'")
    options = parser.parse_args()
    count = options.replicates or (10 if options.quick else 200)
    with_tpe = (4 if options.quick else 10) if options.tpe is None else options.tpe
    families, first = (FAMILIES, 9_000_000) if options.surfaces == "verdict" else (DEVELOPMENT, 5_000_000)
    results = {}
    for number, cell in enumerate(cells(families, options.quick)):
        if options.only not in " ".join(cell):
            continue
        worlds = (World(*cell, seed=first + 10_000 * number + r) for r in range(count))
        rows = [replicate(world, with_tpe=r < with_tpe, with_gp=r < options.gp) for r, world in enumerate(worlds)]
        results[" ".join(cell)] = summarise(rows)
        show(" ".join(cell), results[" ".join(cell)])
    print(json.dumps(conclude(results, count, options)) if options.json else plain(conclude(results, count, options)))


def show(name: str, cell: dict) -> None:  # type: ignore[type-arg]
    """One line of progress."""
    errors = "  ".join(f"{method} {values['rms']:.3f}" for method, values in cell["methods"].items())
    cover = cell["methods"]["isoflop 1"]["coverage"]
    print(f"{name:28} {errors}  share {cell['share']:.2f}  coverage {cover:.2f}", file=sys.stderr, flush=True)


def conclude(results: dict, count: int, options: argparse.Namespace) -> dict:  # type: ignore[type-arg]
    """The headline and every cell."""
    shares = [cell["share"] for cell in results.values()]
    worst_name, worst = max(results.items(), key=lambda item: item[1]["error_ratios"][1.0])
    finite = [share if np.isfinite(share) else None for share in shares]
    for cell, share in zip(results.values(), finite, strict=True):
        cell["share"] = share
    return {
        "benchmark": "proposer",
        "ratio": float(np.median(shares)),
        "cells_never_equal": sum(share is None for share in finite),
        "worst_error_ratio": worst["error_ratios"][1.0],
        "worst_error_ratio_interval": worst["intervals"][1.0],
        "worst_cell": worst_name,
        "coverage": float(np.mean([c["methods"]["isoflop 1"]["coverage"] for c in results.values()])),
        "rms_over_cells": {
            method: float(
                np.sqrt(np.mean([c["methods"][method]["rms"] ** 2 for c in results.values() if method in c["methods"]]))
            )
            for method in next(iter(results.values()))["methods"]
        },
        "proposal_seconds": proposal_seconds(),
        "replicates": count,
        "surfaces": options.surfaces,
        "quick": options.quick,
        "cells": results,
    }


def plain(document: dict) -> str:  # type: ignore[type-arg]
    """The headline for a person."""
    return "\n".join(f"{name}: {value}" for name, value in document.items() if name != "cells")


if __name__ == "__main__":
    main()
