"""What the floor E of a law does to a ladder's prediction: fits below the target with E held, and how far off each is there.

python examples/gallery/floor.py examples/gallery/ladder-decade
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from analysis import fit_form, read_runs
from analysis.ladder import read_predictions
from analysis.points import average_replicates

FLOORS = (1e-9, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4)


def main(store: str) -> None:
    """Print a line for every floor: the gamma form's residuals, and its mean error at the target, nats."""
    ((_, document),) = read_predictions(store)
    runs = read_runs(store)
    fitted = runs.frame["run_id"].isin(document["fitted"])
    below, above = (replace(runs, frame=runs.frame[kept].reset_index(drop=True)) for kept in (fitted, ~fitted))
    target = average_replicates(above).frame
    N, D, loss = (target[column].to_numpy(np.float64) for column in ("params", "tokens", "loss"))
    print("   E  gamma  rms residual  error at the target")
    for floor in FLOORS:
        fit = fit_form(below, "gamma", fixed={"E": floor})
        rms = float(np.sqrt(np.mean(fit.residuals**2)))
        error = float((fit.predict(N, D) - loss).mean())
        print(f"{floor:4.1f}  {fit.coefficients['gamma']:5.2f}  {rms:12.4f}  {error:+.3f}")


if __name__ == "__main__":
    main(sys.argv[1])
