"""ScaleBench's question (arXiv:2604.22753): which runs of a pool to make, to predict a region that costs more.

    python benchmarks/scalebench.py [--quick] [--json] [--seeds S] [--develop | --others] [--task NAME]
    python benchmarks/scalebench.py --choose-fitter

Protocol, fixed before the verdict was run (benchmarks/README.md has the results): pools and held-out regions are
ScaleBench's, a run costs 6ND. A pilot of as many random runs as the law has coefficients, then runs one after another until
a share of the pool's cost is spent; a run that does not fit waits for the next share. A loss is seen after its run was
chosen. Whatever the rule and the task, the law is fitted by one fitter under the design's wide prior, again after every tenth
more runs: `FITTER`, which `--choose-fitter` named by random splits of the pools alone. The score is R2 of the loss on the
held-out region, clipped to [-1, 1], the mean over seeds; the pilot is the same for every rule under one seed.

Laws: farseer's own on its pool; on data_constrained ours for repeated data, the additive one, and the ten of the paper
(benchmarks/scalebench_laws.py), whose mean stands beside the paper's.

Rules: `random`; `d-optimal`, the largest gain in log determinant; `v-optimal`, the largest fall of the mean variance over the
region's rows; `v-optimal per cost^.3`, that fall over a power of the cost, as the paper's V-optimal has it, whose pilot is
made of the cheapest runs of each group of its pool, where ours is random; `ours`, that of `isoflop suggest`: the fall
per root of the cost, with less trust the further below the region a run costs. `--develop` holds out the pool's own most
expensive rows instead; the constants of `ours` were chosen there.
`--others` asks the same of other real tables, made pools in one way that was fixed beforehand: the dearest tenth of the runs
by 6ND, at least six, is the region; the rest is the pool; nothing was chosen on them.
`ratio` is the mean over tasks and shares of (1 - R2 of v-optimal) / (1 - R2 of ours).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.pop(0)  # a neighbour here has the name of the package `analysis`, which must be found first
import analysis  # noqa: F401

sys.path.append(str(Path(__file__).parent))

from scalebench_fitters import FITTERS, Fitter, choose, cross_validate, relative_error
from scalebench_laws import TEN_LAWS

from analysis.design.belief import Belief, Prior, shrink
from analysis.design.priors import wide_prior
from analysis.design.selecting import gains
from analysis.design.surface import FormSurface, form_surface
from analysis.design.targets import Estimate, Region
from analysis.design.worth import widening, worth_per_cost
from analysis.forms import find_form

Array = NDArray[np.float64]

DATA = Path(__file__).resolve().parents[1].parent / "shared/data"
TEN = {law.name: law for law in TEN_LAWS}
TASKS = (
    ("farseer", "farseer"),
    ("data_constrained", "repeated-data"),
    ("data_constrained", "additive"),
    *(("data_constrained", name) for name in TEN),
)
OTHERS = ("chinchilla", "chinchilla isoflop", "gemstones", "gadre c4", "gadre rpj")
SHARES = (0.01, 0.05, 0.10)
FITTER = Fitter(space="linear", objective="huber", starts=4)
"""What `--choose-fitter` named, on the pools alone."""
PAPERS_POWER = 0.3
"""Power of the cost by which the paper divides what a run is worth to its V-optimal rule."""
PUBLISHED = {
    "farseer": {"random": [-0.77, 0.78, 0.79], "d-optimal": [-0.11, 0.49, 0.87], "v-optimal": [0.67, 0.87, 0.92],
                "its authors' method": [0.60, 0.88, 0.93]},
    "data_constrained, mean over ten laws": {
        "random": [-0.74, -0.36, 0.12], "d-optimal": [0.71, 0.80, 0.77], "v-optimal": [0.58, 0.83, 0.85],
        "its authors' method": [0.73, 0.85, 0.86]},
}  # fmt: skip
"""R2 at 1, 5 and 10 % of the pool's cost, as the paper prints them."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A pool and a region, with the law that is fitted.

    Attributes:
        name: Pool and form.
        surface: The law.
        prior: Before any run.
        pool: Columns of the pool.
        loss: Its losses, looked at after a run was chosen.
        cost: 6 N D of each run.
        region: Columns of the held-out region.
        region_loss: Its losses, looked at for the score alone.
    """

    name: str
    surface: FormSurface
    prior: Prior
    pool: dict[str, Array]
    loss: Array
    cost: Array
    region: dict[str, Array]
    region_loss: Array


def load(pool_name: str, form_name: str, *, develop: bool) -> Task:
    tables = [pd.read_parquet(DATA / f"scalebench_{pool_name}_{part}.parquet") for part in ("train", "test")]
    pool, region = (table.rename(columns={"N": "params", "D": "tokens"}) for table in tables)
    if develop:
        order = (pool["params"] * pool["tokens"]).sort_values().index
        pool, region = pool.loc[order[:-12]].reset_index(drop=True), pool.loc[order[-12:]]
    return make_task(f"{pool_name} {form_name}", form_name, pool, region)


def load_other(name: str) -> Task:
    """Another table of real runs; its dearest tenth is the region."""
    table = other_table(name)
    order = (table["params"] * table["tokens"]).sort_values().index
    region = order[-max(6, len(order) // 10) :]
    return make_task(f"{name} additive", "additive", table.drop(index=region).reset_index(drop=True), table.loc[region])


def other_table(name: str) -> pd.DataFrame:
    """params, tokens and loss of a table of the data folder."""
    if name == "chinchilla":
        table = pd.read_csv(DATA / "chinchilla_kyo.csv").rename(columns={"N": "params", "D": "tokens"})
    elif name == "chinchilla isoflop":
        table = pd.read_csv(DATA / "chinchilla_isoflop.csv")
        table = table[table["experiment"] == "epochai_chinchilla__massivetext__chinchilla"]
    elif name == "gemstones":
        table = pd.read_json(DATA / "gemstones_hot.jsonl", lines=True)
        table = table.rename(columns={"params_active_precise": "params", "final_loss": "loss"})
    else:
        table = pd.read_csv(DATA / "overtraining_gadre.csv")
        table = table[table["dataset_name"] == {"gadre c4": "c4_original", "gadre rpj": "rpj"}[name]]
        table = table.rename(columns={"N": "params", "D": "tokens", "loss_c4_val": "loss"})
    return table[["params", "tokens", "loss"]].dropna().reset_index(drop=True)


def make_task(name: str, form_name: str, pool: pd.DataFrame, region: pd.DataFrame) -> Task:
    form = TEN.get(form_name) or find_form(form_name)
    columns = {name: pool[name].to_numpy(np.float64) for name in form.columns}
    surface = form_surface(form, columns)
    return Task(
        name=name,
        surface=FITTER.surface(surface),
        prior=wide_prior(surface, columns),
        pool=columns,
        loss=pool["loss"].to_numpy(np.float64),
        cost=6 * pool["params"].to_numpy(np.float64) * pool["tokens"].to_numpy(np.float64),
        region={name: region[name].to_numpy(np.float64) for name in form.columns},
        region_loss=region["loss"].to_numpy(np.float64),
    )


Rule = Callable[[Task, Belief, Estimate, Array, np.random.Generator], Array]
"""(task, belief, target, derivatives of the pool, generator) -> what each run of the pool is worth."""


def random_rule(task: Task, belief: Belief, target: Estimate, jacobian: Array, rng: np.random.Generator) -> Array:
    return rng.random(len(task.loss))


def d_optimal(task: Task, belief: Belief, target: Estimate, jacobian: Array, rng: np.random.Generator) -> Array:
    return np.log1p(np.einsum("np,pq,nq->n", jacobian, belief.covariance, jacobian) / belief.common**2)


def v_optimal(task: Task, belief: Belief, target: Estimate, jacobian: Array, rng: np.random.Generator) -> Array:
    return gains(belief, target, jacobian, np.full(len(task.loss), belief.common))


def v_per_cost(task: Task, belief: Belief, target: Estimate, jacobian: Array, rng: np.random.Generator) -> Array:
    return v_optimal(task, belief, target, jacobian, rng) / task.cost**PAPERS_POWER


def ours(task: Task, belief: Belief, target: Estimate, jacobian: Array, rng: np.random.Generator) -> Array:
    return worth_per_cost(belief, target, jacobian, task.cost, aim(task))


def aim(task: Task) -> float:
    """FLOPs at which the region lies."""
    return float(np.median(6 * task.region["params"] * task.region["tokens"]))


RULES: dict[str, Rule] = {
    "random": random_rule,
    "d-optimal": d_optimal,
    "v-optimal": v_optimal,
    "v-optimal per cost^.3": v_per_cost,
    "ours": ours,
}


def fit(task: Task, chosen: list[int]) -> Belief:
    """The one fitter."""
    rows = {name: values[chosen] for name, values in task.pool.items()}
    return FITTER.fit(task.surface, task.prior, rows, task.loss[chosen])


def score(task: Task, chosen: list[int]) -> float:
    """R2 on the region, clipped."""
    return 1 - relative_error(task.surface, fit(task, chosen).theta, task.region, task.region_loss)


def trajectory(task: Task, rule: Rule, seed: int) -> Iterator[tuple[float, int]]:
    """Score and number of runs at each share."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(task.loss))
    whole, count = float(task.cost.sum()), len(task.surface.names)
    pilot = [int(row) for row in order if task.cost[row] < SHARES[0] * whole / count][:count]
    noise = widening(task.cost, aim(task)) if rule is ours else np.ones(len(task.loss))
    chosen, spent, fitted_at = pilot, float(task.cost[pilot].sum()), 0
    for share in SHARES:
        while (fits := _fitting(task, chosen, share * whole - spent)).any():
            if len(chosen) >= 1.1 * fitted_at:
                belief, fitted_at = fit(task, chosen), len(chosen)
                target = Region(task.region).estimate(task.surface, belief.theta)
                _, jacobian = task.surface.predict(belief.theta, task.pool)
            worth = np.where(fits, rule(task, belief, target, jacobian, rng), -np.inf)
            best = int(np.nan_to_num(worth, nan=-np.inf).argmax())
            chosen, spent = [*chosen, best], spent + float(task.cost[best])
            belief = shrink(belief, jacobian[best], belief.common * float(noise[best]))
        yield score(task, chosen), len(chosen)


def _fitting(task: Task, chosen: list[int], room: float) -> NDArray[np.bool_]:
    fits = task.cost <= room
    fits[chosen] = False
    return fits


def run(task: Task, seeds: int) -> dict:  # type: ignore[type-arg]
    """Scores of every rule, and the paired gains of ours."""
    found = {
        name: np.array([list(trajectory(task, rule, seed)) for seed in range(seeds)]) for name, rule in RULES.items()
    }
    scores = {name: values[..., 0] for name, values in found.items()}
    everything = score(task, list(range(len(task.loss))))
    out = {
        name: {
            "r2": values.mean(0).tolist(),
            "sd": values.std(0).tolist(),
            "runs": found[name][..., 1].mean(0).tolist(),
        }
        for name, values in scores.items()
    }
    paired = {
        name: {
            "gain": (scores["ours"] - scores[name]).mean(0).tolist(),
            "se": ((scores["ours"] - scores[name]).std(0, ddof=1) / np.sqrt(seeds)).tolist(),
        }
        for name in ("random", "v-optimal", "v-optimal per cost^.3")
    }
    return {"rules": out, "gain_over": paired, "all of the pool": everything}


def choose_fitter() -> None:
    """Compare fitters on random splits of the pools; nothing of the held-out regions is looked at."""
    tasks = [load(*names, develop=False) for names in TASKS[:3]]
    errors = {
        fitter.name: np.array(
            [cross_validate(task.surface, task.prior, task.pool, task.loss, fitter=fitter) for task in tasks]
        )
        for fitter in FITTERS
    }
    best, behind = choose(errors)
    for name, found in behind.items():
        means = "  ".join(f"{np.exp(np.log(row).mean()):.5f}" for row in errors[name])
        print(f"{name:32} {means}  behind {found['behind']:.3f} +- {found['se']:.3f}", file=sys.stderr)
    document = {"benchmark": "scalebench fitters", "tasks": [task.name for task in tasks], "best": best}
    print(json.dumps(document | {"now": FITTER.name, "fitters": behind}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="three seeds instead of thirty")
    parser.add_argument("--json", action="store_true", help="the JSON object alone")
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--develop", action="store_true", help="hold out the pool's own most expensive rows")
    parser.add_argument("--others", action="store_true", help="other tables of real runs as pools")
    parser.add_argument("--task", default="", help="only tasks (pool and law) whose name starts so")
    parser.add_argument("--choose-fitter", action="store_true", help="compare ways to fit, inside the pools")
    options = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"{DATA} is not there: this benchmark needs ScaleBench's tables, which are not part of the project.")
    if options.choose_fitter:
        choose_fitter()
        return
    seeds = options.seeds or (3 if options.quick else 30)
    results = {}
    tasks = [load_other(name) for name in OTHERS] if options.others else []
    wanted = [names for names in TASKS if " ".join(names).startswith(options.task)]
    for task in tasks or [load(*names, develop=options.develop) for names in wanted]:
        results[task.name] = run(task, seeds)
        if not options.json:
            show(task.name, results[task.name])
    worse = [
        (1 - theirs) / max(1 - ours_, 1e-3)
        for task in results.values()
        for theirs, ours_ in zip(task["rules"]["v-optimal"]["r2"], task["rules"]["ours"]["r2"], strict=True)
    ]
    document = {
        "benchmark": "scalebench others" if options.others else "scalebench",
        "ratio": float(np.mean(worse)),
        "shares": SHARES,
        "seeds": seeds,
    }
    print(
        json.dumps(
            document
            | {"develop": options.develop, "tasks": results, "ten laws": mean_of_ten(results)}
            | {"published": {} if options.others else PUBLISHED}
        )
    )


def mean_of_ten(results: dict) -> dict:  # type: ignore[type-arg]
    """R2 of every rule, the mean over the paper's ten laws; empty unless all of them were run."""
    ten = [task for name, task in results.items() if name.split()[-1] in TEN]
    if len(ten) < len(TEN):
        return {}
    rules = {rule: np.mean([task["rules"][rule]["r2"] for task in ten], axis=0).tolist() for rule in RULES}
    return rules | {"all of the pool": float(np.mean([task["all of the pool"] for task in ten]))}


def show(name: str, task: dict) -> None:  # type: ignore[type-arg]
    print(f"{name}: all of the pool {task['all of the pool']:.3f}", file=sys.stderr)
    for rule, values in task["rules"].items():
        row = "  ".join(f"{r2:6.3f} ({runs:.0f})" for r2, runs in zip(values["r2"], values["runs"], strict=True))
        print(f"  {rule:10} {row}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
