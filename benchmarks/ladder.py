"""How well are losses at ten times the compute predicted, and do the intervals hold them, where the law is known?

    OMP_NUM_THREADS=1 python benchmarks/ladder.py [--quick] [--json] [--sweeps 40]

Ladders of the preset's size are simulated: three budgets over one decade, seven sizes each, and ten sizes at ten times the
largest. Four laws were fitted to the ladder kept as `examples/gallery/ladder-decade`, each about as good as the others there,
with floors E from zero to 1.3 nats; a fifth bends away from the second. Every point has an error of its own (.5 %), and every
seed one that falls with compute, as measured there.
Methods: the default (the gamma form, averaged over what the runs leave open), one best fit of the gamma and of the additive
form with bootstrap intervals, a pure power law, and the local slope through two minima. Scores are as in `analysis.ladder`;
seeds are fixed: sweep k of law j uses seed 100 j + k.
`ratio` is the largest mean interval score of the default over that of the local slope, among the five laws.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import numpy as np  # noqa: E402 - benchmarks/analysis.py would be found in place of the package
import pandas as pd  # noqa: E402

from analysis import FitError, read_runs  # noqa: E402
from analysis.forms import find_form  # noqa: E402
from analysis.ladder import AUTO, LAW, Target, predict_targets, score_predictions  # noqa: E402
from analysis.table import Array  # noqa: E402

LAWS: dict[str, tuple[str, dict[str, float]]] = {
    "additive, E 1.3": ("additive", {"A": 44.67, "B": 336.4, "E": 1.316, "alpha": 0.5128, "beta": 0.5334}),
    "gamma, E .8": ("gamma", {"A": 217.5, "B": 1697.0, "E": 0.8, "alpha": 0.6, "beta": 0.5982, "gamma": 0.4663}),
    "gamma, E .3": ("gamma", {"A": 817.1, "B": 5856.0, "E": 0.3, "alpha": 0.6072, "beta": 0.5959, "gamma": 0.322}),
    "power law": ("additive", {"A": 27.24, "B": 6.006, "E": 1e-9, "alpha": 0.4458, "beta": 0.1008}),
}
BENT, BEND = "bent", 0.005
"""The second law, its logarithm above E bent up by so much times the square of ln(C / 1e11 FLOPs): .06 at the target."""

BUDGETS, TARGET = ((3e10, 10, 0.022), (1e11, 8, 0.017), (3e11, 6, 0.007)), (3e12, 2, 0.004)
"""FLOPs, seeds, and standard deviation of ln(loss) between seeds."""

MISFIT = 0.005
FORMS = {"averaged": AUTO, "gamma": "gamma", "additive": "additive"}


def losses(law: str, params: Array, tokens: Array) -> Array:
    """The law's losses, nats."""
    name, coefficients = LAWS["gamma, E .8" if law == BENT else law]
    loss = np.asarray(find_form(name).loss(coefficients, {"params": params, "tokens": tokens}))
    if law != BENT:
        return loss
    bend = BEND * np.log(6 * params * tokens / 1e11) ** 2
    return np.asarray(coefficients["E"] + (loss - coefficients["E"]) * np.exp(bend))


def simulate(law: str, seed: int) -> pd.DataFrame:
    """Runs of a ladder, target included."""
    random = np.random.default_rng(seed)
    rows = []
    for flops, seeds, noise in (*BUDGETS, TARGET):
        centre = 0.0468 * flops**0.516  # N* of the gallery's quickstart
        sizes = centre * (np.geomspace(0.6, 4, 10) if flops == TARGET[0] else np.geomspace(0.3, 3.5, 7))
        tokens = flops / (6 * sizes)
        points = losses(law, sizes, tokens) * np.exp(MISFIT * random.standard_normal(len(sizes)))
        for N, D, loss in zip(sizes, tokens, points, strict=True):
            rows += [(flops, N, D, loss * np.exp(noise * random.standard_normal()), s) for s in range(seeds)]
    frame = pd.DataFrame(rows, columns=["budget", "params", "tokens", "loss", "seed"])
    return frame.assign(run_id=[f"{k:04d}" for k in range(len(frame))], flops=frame["budget"])


def climb(frame: pd.DataFrame, seed: int) -> dict[str, tuple[float, float, int, float, float]]:
    """For every method: mean error, mean size of the errors, hits, half-width and interval score."""
    above = frame["budget"] == TARGET[0]
    runs = read_runs(frame[~above].reset_index(drop=True))
    targets = [
        Target(
            params=group["params"].iloc[0],
            tokens=group["tokens"].iloc[0],
            flops=TARGET[0],
            run_ids=tuple(group["run_id"]),
        )
        for _, group in frame[above].groupby("params")
    ]
    found = {}
    for name, form in FORMS.items():
        try:
            scores, _ = score_predictions(predict_targets(runs, targets, form=form, seed=seed), frame)
        except FitError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        for score in scores:
            method = name if score.method == LAW else score.method
            found[method] = (
                float(np.mean(score.errors)), score.mean_absolute, score.hits, score.half_width, score.interval_score,
            )  # fmt: skip
    return found


def study(law: str, j: int, sweeps: int) -> dict[str, Any]:
    """Means over the sweeps of one law, by method."""
    start = time.process_time()
    found = [climb(simulate(law, 100 * j + k), k) for k in range(sweeps)]
    methods = sorted({method for each in found for method in each})
    names = ("mean_error", "error", "inside", "half_width", "interval_score")
    summary: dict[str, Any] = {}
    for method in methods:
        columns = np.array([each[method] for each in found if method in each], dtype=np.float64)
        summary[method] = {"sweeps": len(columns), **dict(zip(names, columns.mean(axis=0).tolist(), strict=True))}
        summary[method]["inside"] /= 10
    return {"cpu_seconds": time.process_time() - start, **summary}


def main() -> None:
    """Print a line for every law and method, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two sweeps a law")
    parser.add_argument("--json", action="store_true", help="the JSON object alone")
    parser.add_argument("--sweeps", type=int, default=40)
    options = parser.parse_args()
    result: dict[str, Any] = {}
    for j, law in enumerate((*LAWS, BENT)):
        result[law] = study(law, j, 2 if options.quick else options.sweeps)
        if options.json:
            continue
        for method in (*FORMS, "power law", "local slope"):
            each = result[law].get(method)
            if each:
                print(
                    f"{law:16s} {method:12s} error {each['mean_error']:+.3f}, size {each['error']:.3f}   "
                    f"inside {each['inside']:.2f} of .90   half-width {each['half_width']:.3f}   "
                    f"score {each['interval_score']:.3f}",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
    ratio = max(
        result[law]["averaged"]["interval_score"] / result[law]["local slope"]["interval_score"] for law in result
    )
    print(json.dumps({"ratio": ratio, "laws": result}))


if __name__ == "__main__":
    main()
