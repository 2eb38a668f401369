"""Do 90 % intervals of the optimum hold the truth for forms other than the additive law?

    OMP_NUM_THREADS=1 python benchmarks/coverage_forms.py [--quick] [--json] [--sweeps 500]

Sweeps of five budgets over two decades with nine sizes each, within a factor four of each optimum, noise of .5 % of the
loss, of one law per form; `fit_form` with its defaults, and the interval of N* and L* at ten times the largest budget as
`optimum` gives it, beside the percentiles of a bootstrap of 200 resamples on the first `--boots` sweeps. Seeds are
fixed: form k uses seed 2000 + k.
`ratio` is the least coverage of all default intervals over .9.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import numpy as np  # noqa: E402 - benchmarks/analysis.py would be found in place of the package
import pandas as pd  # noqa: E402

from analysis import fit_form  # noqa: E402
from analysis.fitting.bootstrap import percentile_interval  # noqa: E402
from analysis.fitting.optimum import optima, optimal_params  # noqa: E402
from analysis.fitting.shapes import SIX_N  # noqa: E402
from analysis.forms import Form, find_form  # noqa: E402
from analysis.results import Interval  # noqa: E402
from analysis.table import Runs  # noqa: E402

LAWS: dict[str, dict[str, float]] = {
    "equal-exponents": {"A": 520.8, "B": 1487.7, "E": 1.87, "alpha": 0.3527},
    "kaplan-joint": {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
    "gamma": {"A": 482.01, "B": 2085.43, "E": 1.7, "alpha": 0.40, "beta": 0.42, "gamma": 0.85},
}
"""Muennighoff et al. 2023, Kaplan et al. 2020, and a bent Chinchilla (chosen)."""

NOISE, BEYOND, RESAMPLES = 0.005, 10.0, 200


def design(form: Form, law: Mapping[str, float]) -> pd.DataFrame:
    """Five budgets x nine sizes, with the law's losses."""
    flops = np.repeat(np.geomspace(1e18, 1e20, 5), 9)
    coefficients = np.array([[law[name] for name in form.names]])
    best = optimal_params(form, np.tile(coefficients, (len(flops), 1)), flops)
    params = best * np.tile(np.geomspace(0.25, 4, 9), 5)
    tokens = flops / (6 * params)
    loss = form.loss(law, {"params": params, "tokens": tokens})
    return pd.DataFrame({"params": params, "tokens": tokens, "flops": flops, "loss": loss})


def run_form(name: str, seed: int, sweeps: int, boots: int) -> dict[str, Any]:
    start = time.process_time()
    form, law = find_form(name), LAWS[name]
    frame = design(form, law)
    flops = BEYOND * float(frame["flops"].max())
    true = optima(form, np.array([[law[c] for c in form.names]]), flops, SIX_N)
    truth = {"params": float(true[0][0]), "loss": float(true[2][0])}
    generator = np.random.default_rng(seed)
    sides: dict[str, list[int]] = {f"{kind} {quantity}": [] for kind in ("default", "bootstrap") for quantity in truth}
    methods, widths, converged = set(), [], 0
    for k in range(sweeps):
        noisy = frame["loss"] * np.exp(NOISE * generator.standard_normal(len(frame)))
        fit = fit_form(Runs(frame=frame.assign(loss=noisy)), form)
        converged += fit.certificate.converged
        found = fit.optimum(flops).intervals
        for quantity, value in truth.items():
            sides[f"default {quantity}"].append(side_of(found[quantity], value))
            methods.add(found[quantity].method)
        if k >= boots:
            continue
        draws = optima(form, fit.bootstrap(RESAMPLES, seed=k).draws, flops, SIX_N)
        resampled = {"params": percentile_interval(draws[0], 0.9), "loss": percentile_interval(draws[2], 0.9)}
        for quantity, value in truth.items():
            sides[f"bootstrap {quantity}"].append(side_of(resampled[quantity], value))
        widths.append(ratio_of(resampled["params"], found["params"]))
    return {
        "form": name,
        "sweeps": sweeps,
        "bootstrapped": min(boots, sweeps),
        "methods": sorted(methods),
        "converged": converged / sweeps,
        "coverage": {key: float(np.mean(np.array(value) == 0)) for key, value in sides.items()},
        "worst_tail": {key: max(float(np.mean(np.array(value) == s)) for s in (-1, 1)) for key, value in sides.items()},
        "bootstrap_width": float(np.nanmedian(widths)),
        "cpu_seconds": time.process_time() - start,
    }


def side_of(interval: Interval, value: float) -> int:
    """0 where the interval holds the value, else on which side of it the interval lies."""
    if interval.low is not None and interval.low > value:
        return 1
    return -1 if interval.high is not None and interval.high < value else 0


def ratio_of(first: Interval, second: Interval) -> float:
    """Width of one interval over another's in logarithms; NaN where one is open."""
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return float("nan")
    return float(np.log(first.high / first.low) / np.log(second.high / second.low))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="30 sweeps a form")
    parser.add_argument("--json", action="store_true", help="the JSON object alone")
    parser.add_argument("--sweeps", type=int, default=500)
    parser.add_argument("--boots", type=int, default=60, help="sweeps of a form that are bootstrapped")
    parser.add_argument("--form", choices=LAWS, help="this form alone")
    options = parser.parse_args()
    results = []
    for number, name in enumerate(LAWS):
        if options.form in (None, name):
            results.append(run_form(name, 2000 + number, 30 if options.quick else options.sweeps, options.boots))
            if not options.json:
                print(json.dumps(results[-1]), file=sys.stderr)
    least = min(r["coverage"][f"default {q}"] for r in results for q in ("params", "loss"))
    print(json.dumps({"ratio": least / 0.9, "forms": results}).replace("NaN", "null"))


if __name__ == "__main__":
    main()
