"""What today's rule says of a kept ladder's target, from the same runs: after the fact, for whoever compares rules.

python examples/gallery/again.py examples/gallery/ladder-decade [BUDGETS]

BUDGETS is how many of the largest budgets below the target are fitted, all by default.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from analysis import read_runs
from analysis.ladder import Target, predict_targets, read_predictions, score_predictions


def main(store: str, budgets: int | None = None) -> None:
    """Print a line for the rule of then and one for each method of now."""
    ((_, document),) = read_predictions(store)
    runs = read_runs(store)
    below = runs.frame[runs.frame["run_id"].isin(document["fitted"])]
    kept = below["budget"].isin(np.unique(below["budget"])[-budgets:] if budgets else np.unique(below["budget"]))
    fields = ("params", "tokens", "flops")
    targets = [
        Target(**{name: each[name] for name in fields}, run_ids=tuple(each["run_ids"])) for each in document["targets"]
    ]
    now = predict_targets(replace(runs, frame=below[kept].reset_index(drop=True)), targets)
    for when, predictions in (("then", document), ("now", now)):
        scores, _ = score_predictions(predictions, runs.frame)
        for score in scores:
            print(
                f"{when:4s}  {score.method:11s}  mean error {np.mean(score.errors):+.3f}  size {score.mean_absolute:.3f}  "
                f"hits {score.hits:2d}  half-width {score.half_width:.3f}  score {score.interval_score:.3f}"
            )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
