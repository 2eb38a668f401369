"""What branching off a trunk costs in loss: branches beside runs of their own, the rate tuned for each.

    python benchmarks/trunks.py [--quick] [--json] [--stores FOLDER]

Three IsoFLOP curves are trained twice, four seeds each, with the same batch, data order and initial weights, at four
peak rates. `single`: every run has a linear schedule of its own, and its rate is chosen at its own (N, D). `branch`: the
runs of a shape are branches of one trunk (warm-up, stable, decay over the last fifth), so one rate serves all of its D.
Rates are chosen without the seed that is then scored, so that neither design profits from a lucky run.

`ratio` is the FLOPs of the single runs over those that the branches and their trunks cost, at the rates that were
chosen. Printed besides: the mean paired difference branch minus single at every (N, D) with its standard error, and N*
and a of both designs. Some 40 minutes of one core; repeating the command continues where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import pandas as pd  # noqa: E402 - benchmarks/analysis.py would be found in place of the package
import yaml  # noqa: E402

from analysis import fit_isoflop, read_runs, store_rows  # noqa: E402
from analysis.tries import read_knobs  # noqa: E402
from orchestrator import load_sweep, run  # noqa: E402
from orchestrator.running import Options  # noqa: E402

SWEEP: dict[str, Any] = {
    "seeds": 4,
    "axes": {"optimizer.learning_rate.peak": [4e-3, 8e-3, 1.6e-2, 3.2e-2]},
    "tune": ["optimizer.learning_rate.peak"],
    "model": {"layers": 1, "context": 64, "activation": "swiglu", "ffn_ratio": 3},
    "data": {"source": "stdlib", "heldout_tokens": 65536},
    "batch": 512,
    "optimizer": {
        "learning_rate": 8e-3,
        "embedding_multiplier": 5,
        "head_multiplier": 3,
        "beta2_half_life_tokens": 10000,
    },
}
"""What both designs share: the quickstart's recipe at one batch."""

WIDTHS = {3e10: [12, 16, 24, 32, 48], 1e11: [16, 24, 32, 48, 64], 3e11: [16, 24, 32, 48, 64]}
QUICK = {3e9: [8, 12, 16], 1e10: [8, 12, 16]}

SCHEDULES: dict[str, dict[str, Any]] = {
    "single": {"kind": "linear", "warmup_steps": 20},
    "branch": {"kind": "wsd", "warmup_steps": 20, "decay_share": 0.2, "trunks": True},
}


def train(design: str, folder: Path, *, quick: bool) -> pd.DataFrame:
    """Run a design, or what is left of it; its table."""
    budgets = [
        {"flops": flops, "sizes": {"shapes": [{"width": width} for width in widths]}}
        for flops, widths in (QUICK if quick else WIDTHS).items()
    ]
    few = {"seeds": 2} if quick else {}
    sweep = {"name": design, "budgets": budgets, **SWEEP, **few, "schedule": SCHEDULES[design]}
    file = folder / f"{design}.yaml"
    file.write_text(yaml.safe_dump(sweep))
    if run(load_sweep(file), folder / design, Options(inline=True, confirm=lambda question: True)).interrupted:
        raise SystemExit("interrupted; repeat the command with the same --stores to go on")
    rows = store_rows(folder / design).to_pandas()
    rows["peak"] = [read_knobs(tuned)["peak"] for tuned in rows["tuned"]]
    return rows


def held_out(rows: pd.DataFrame, *, one_rate_per: list[str]) -> pd.DataFrame:
    """The runs at the rate that is best without their own seed, among those that must share a rate."""
    chosen = []
    for seed in sorted(rows["seed"].unique()):
        others = rows[rows["seed"] != seed]
        means = others.groupby([*one_rate_per, "peak"])["loss"].mean()
        best = means.groupby(one_rate_per).idxmin().map(lambda key: key[-1]).rename("best").reset_index()
        mine = rows[rows["seed"] == seed].merge(best, on=one_rate_per)
        chosen.append(mine[mine["peak"] == mine["best"]])
    return pd.concat(chosen, ignore_index=True)


def paired(single: pd.DataFrame, branch: pd.DataFrame) -> pd.DataFrame:
    """Branch minus single, by seed, at every (N, D): nats, shape (points,)."""
    both = branch.merge(single, on=["budget", "params", "tokens", "seed"], suffixes=("_branch", "_single"))
    both["difference"] = both["loss_branch"] - both["loss_single"]
    points = both.groupby(["budget", "params", "tokens"])["difference"].agg(["mean", "sem", "count"]).reset_index()
    points["tokens_per_param"] = points["tokens"] / points["params"]
    return points


def minima(rows: pd.DataFrame) -> dict[str, Any]:
    """N* of every curve with the standard error of ln N*, and the exponent a with its own."""
    fit = fit_isoflop(read_runs(rows[["budget", "params", "tokens", "flops", "loss", "seed"]]))
    curves = {f"{m.budget:g}": {"params": m.params, "log_se": m.log_se, "status": m.status} for m in fit.minima}
    return {"curves": curves, "a": fit.exponents["a"], "a_se": fit.se["N_exponent"]}


def spent(rows: pd.DataFrame) -> float:
    """FLOPs that these runs would cost by themselves: a trunk is paid once, up to where its longest run decays."""
    if not (rows["design"] == "branch").any():
        return float(rows["flops"].sum())
    share = SCHEDULES["branch"]["decay_share"]
    trunks = rows.groupby(["params", "seed", "peak"])["flops"]
    return float((trunks.max() * (1 - share) + share * trunks.sum()).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two curves of three tiny sizes, two seeds")
    parser.add_argument("--json", action="store_true", help="the JSON object alone")
    parser.add_argument("--stores", type=Path, help="where the two stores are kept; by default nowhere")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="isoflop-trunks-") as room:
        folder = options.stores or Path(room)
        folder.mkdir(parents=True, exist_ok=True)
        tables = {design: train(design, folder, quick=options.quick).assign(design=design) for design in SCHEDULES}
    single = held_out(tables["single"], one_rate_per=["budget", "params"])
    branch = held_out(tables["branch"], one_rate_per=["params"])
    points = paired(single, branch)
    if not options.json:
        print(points.to_string(index=False, float_format="%.4g"), file=sys.stderr)
    result = {
        "ratio": spent(single) / spent(branch),
        "worst_mean_difference": float(points["mean"].iloc[points["mean"].abs().argmax()]),
        "mean_difference": float(points["mean"].mean()),
        "points": points.to_dict("records"),
        "minima": {"single": minima(single), "branch": minima(branch)},
        "runs": {design: len(rows) for design, rows in tables.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
