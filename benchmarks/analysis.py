"""How fast approach 3 is, and that speed costs nothing.

    OMP_NUM_THREADS=1 python benchmarks/analysis.py [--quick] [--json]

`ratio` is CPU time per bootstrap replicate of scipy's BFGS, as it is commonly called, over ours, on the same
resamples of 240 points, both from the full fit, in one process; every one of our objectives must be at or below
scipy's. The ratio to BFGS with the gradient written out is given as well, and one full fit beside the `chinchilla`
package's grid of starts. The points are Chinchilla's where ../shared/data is there, else planted ones of the same
number.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize

sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

from analysis import Huber, fit_form  # noqa: E402 - this file has the package's name and would be found first
from analysis.fitting.bootstrap import draw_weights  # noqa: E402
from analysis.fitting.problem import state_problem  # noqa: E402
from analysis.fitting.solve import search, solve_rows  # noqa: E402
from analysis.formfit import FormFit  # noqa: E402
from analysis.forms import find_form  # noqa: E402
from analysis.table import Runs  # noqa: E402

Array = NDArray[np.float64]
DELTA = 1e-3
DATA = Path(__file__).resolve().parents[1].parent / "shared/data/chinchilla_epoch.csv"


def load_runs() -> tuple[str, Runs]:
    """240 points: published ones without their five highest losses, or planted ones."""
    if DATA.exists():
        frame = pd.read_csv(DATA)
        params, flops = frame["Model Size"], frame["Training FLOP"]
        table = pd.DataFrame({"params": params, "tokens": flops / (6 * params), "flops": flops, "loss": frame["loss"]})
        return "chinchilla_epoch", Runs(frame=table.nsmallest(240, "loss").sort_index().reset_index(drop=True))
    generator = np.random.default_rng(0)
    flops = 10 ** generator.uniform(18.8, 21.5, 240)
    params = 0.3 * flops**0.5 * np.exp(generator.normal(0, 0.7, 240)) / 6**0.5
    tokens = flops / (6 * params)
    loss = (1.8169 + 482.01 * params**-0.3478 + 2085.43 * tokens**-0.3658) * np.exp(generator.laplace(0, 4e-3, 240))
    return "planted", Runs(frame=pd.DataFrame({"params": params, "tokens": tokens, "flops": flops, "loss": loss}))


def cpu_seconds(function: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """CPU seconds of one call, the least of several, and its result."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        taken.append(time.process_time() - start)
    return min(taken), result


def scipy_bfgs(u: Array, v: Array, y: Array, start: Array, *, analytic: bool) -> float:
    """Huber objective at BFGS' end, from (ln A, ln B, ln E, alpha, beta).

    Args:
        u: ln N, shape (n,).
        v: ln D, shape (n,).
        y: ln loss, shape (n,).
        start: Where it starts.
        analytic: With the gradient written out; else by scipy's own differences, its default.
    """

    def objective(x: Array) -> tuple[float, Array]:
        first, second, floor = np.exp(x[0] - x[3] * u), np.exp(x[1] - x[4] * v), np.exp(x[2])
        loss = first + second + floor
        residual = y - np.log(loss)
        clipped = np.clip(residual, -DELTA, DELTA)
        pull = -clipped / loss
        a, b = pull * first, pull * second
        value = (np.abs(clipped) * (np.abs(residual) - 0.5 * np.abs(clipped))).sum()
        return value, np.array([a.sum(), b.sum(), floor * pull.sum(), -(a @ u), -(b @ v)])

    if analytic:
        return float(minimize(objective, start, jac=True, method="BFGS").fun)
    return float(minimize(lambda x: objective(x)[0], start, method="BFGS").fun)


def natural(fit: FormFit) -> Array:
    c = fit.coefficients
    return np.array([np.log(c["A"]), np.log(c["B"]), np.log(c["E"]), c["alpha"], c["beta"]])


def bench_bootstrap(fit: FormFit, replicates: int, baseline: int) -> dict[str, Any]:
    """Bootstrap of the whole, by both engines, and scipy's BFGS on the first resamples."""
    weights = draw_weights(np.arange(len(fit.runs)), replicates, seed=42)
    starts = np.tile(fit.theta, (replicates, 1))
    seconds, values = {}, {}
    for engine in ("compiled", "numpy"):
        solve = partial(solve_rows, fit.problem, starts, weights, DELTA, engine=engine)
        seconds[engine], ends = cpu_seconds(solve, repeats=2)
        values[engine] = ends.value
    u, v = (np.log(fit.problem.columns[name]) for name in ("params", "tokens"))
    rows = [np.repeat(np.arange(len(u)), row.astype(int)) for row in weights[:baseline]]
    y, start = fit.problem.observed, natural(fit)
    theirs, best = {}, np.full(baseline, np.inf)
    for name, analytic in (("scipy_bfgs", False), ("scipy_bfgs_analytic_gradient", True)):
        taken, ends = cpu_seconds(lambda a=analytic: [scipy_bfgs(u[r], v[r], y[r], start, analytic=a) for r in rows])
        theirs[name] = taken / baseline
        best = np.minimum(best, ends)
    return {
        "replicates": replicates,
        "seconds": seconds,
        "baseline_replicates": baseline,
        "baseline_seconds_per_replicate": theirs,
        "ratios": {
            engine: {name: each / (seconds[engine] / replicates) for name, each in theirs.items()} for engine in seconds
        },
        "worst_objective_over_lowest_baseline": {
            engine: float((value[:baseline] / best - 1).max()) for engine, value in values.items()
        },
    }


def bench_fit(runs: Runs) -> dict[str, float]:
    """One full fit with its global search, after warm-up; with warnings, certificate and all."""
    columns = {name: runs.column(name) for name in ("params", "tokens")}
    problem = state_problem(find_form("additive"), columns, runs.column("loss"))
    whole, fit = cpu_seconds(lambda: fit_form(runs, objective=Huber(delta=DELTA), engine="compiled"), repeats=5)
    alone, _ = cpu_seconds(lambda: search(problem, DELTA, engine="compiled"), repeats=5)
    return {"search_ms": 1e3 * alone, "fit_form_ms": 1e3 * whole, "objective": fit.objective.value}


def bench_chinchilla(runs: Runs, ours: dict[str, float]) -> dict[str, Any]:
    """The `chinchilla` package's search from 3^5 starts under the same objective, where it is installed."""
    if importlib.util.find_spec("chinchilla") is None:
        return {"note": "the chinchilla package is not installed: pip install chinchilla"}
    from chinchilla import Chinchilla
    from chinchilla._metrics import log_huber

    grid = {
        "e": np.linspace(-1, 1, 3), "a": np.linspace(1, 10, 3), "b": np.linspace(1, 10, 3),
        "alpha": np.linspace(0.1, 0.7, 3), "beta": np.linspace(0.1, 0.7, 3),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        other = Chinchilla(folder, param_grid=grid, loss_fn=partial(log_huber, delta=DELTA), log_level=50)
        other.database.df = runs.frame.rename(columns={"params": "N", "tokens": "D", "flops": "C"})
        seconds, _ = cpu_seconds(lambda: other.fit(parallel=False))
    predicted = np.asarray(other.predict_loss(runs.column("params"), runs.column("tokens")), dtype=np.float64)
    size = np.abs(np.log(runs.column("loss")) - np.log(predicted))
    inside = np.minimum(size, DELTA)
    value = float((inside * (size - 0.5 * inside)).sum())
    return {
        "seconds": seconds,
        "objective": value,
        "ratio_to_search": seconds / (ours["search_ms"] / 1e3),
        "ratio_to_fit_form": seconds / (ours["fit_form_ms"] / 1e3),
        "our_objective_over_theirs": ours["objective"] / value - 1,
    }


def bench_processes() -> dict[str, float]:
    """Wall seconds of `import analysis`, and of a first fit with an empty and with a filled compile cache."""
    fit = (
        "import numpy as np, pandas as pd, time; from analysis import fit_form, Huber; from analysis.table import Runs;"
        "n=np.geomspace(1e7,1e9,24); d=np.tile([1e9,1e10,5e10],8); "
        "f=pd.DataFrame(dict(params=n,tokens=d,flops=6*n*d,loss=1.8+482*n**-.35+2085*d**-.37)); "
        "t=time.perf_counter(); fit_form(Runs(frame=f), engine={engine!r}); print(time.perf_counter()-t)"
    )
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        commands = [[sys.executable, "-c", fit.format(engine=e)] for e in ("compiled", "compiled", "numpy")]
        first, second, numpy_only = (
            float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
            for command in commands
        )
    imports = "import time; t=time.perf_counter(); import analysis; print(time.perf_counter()-t)"
    run = partial(subprocess.run, [sys.executable, "-c", imports], check=True, capture_output=True, text=True)
    return {
        "import_analysis_seconds": min(float(run().stdout) for _ in range(3)),
        "first_fit_compiling_seconds": first,
        "first_fit_from_cache_seconds": second,
        "first_fit_numpy_seconds": numpy_only,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="400 replicates, 20 of them by scipy, no other package")
    parser.add_argument("--json", action="store_true", help="the JSON object alone")
    options = parser.parse_args()
    name, runs = load_runs()
    fit = fit_form(runs, objective=Huber(delta=DELTA), engine="compiled")
    boot = bench_bootstrap(fit, 400 if options.quick else 4000, 20 if options.quick else 200)
    one = bench_fit(runs)
    result = {
        "ratio": boot["ratios"]["compiled"]["scipy_bfgs"],
        "data": name,
        "bootstrap": boot,
        "one_fit": one,
        "chinchilla_package": {"note": "left out by --quick"} if options.quick else bench_chinchilla(runs, one),
        "processes": bench_processes(),
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
    }
    if not options.json:
        print("CPU seconds in one process; wall seconds for processes", file=sys.stderr)
    print(json.dumps(result, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
