"""What a scaling-law fit must say to be repeated, answered for this one.

The questions follow the four groups of Li et al. 2025, "(Mis)Fitting: A Survey of Scaling Laws" (arXiv:2502.18969):
the law, the training, the data of the fit, and the fit itself. The words are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd

from analysis import notation
from analysis.formfit import FormFit
from analysis.isoflop import IsoflopFit
from analysis.report.blocks import Grid, grid
from analysis.report.outcome import Failed
from analysis.report.summary import Summary, seeds_per_point
from analysis.results import Dropped
from analysis.table import Runs

_UNSTATED = "not stated by the source"


def checklist(summary: Summary) -> Grid:
    """Questions and answers; what the source does not say is named so."""
    rows = [*_law(summary), *_training(summary), *_data(summary), *_fit(summary)]
    caption = "Checklist after (Mis)Fitting, arXiv:2502.18969"
    return grid(caption, ("about", "question", "answer"), rows, text_columns=2, words_last=True)


def _law(summary: Summary) -> Iterator[tuple[str, str, str]]:
    form = summary.parametric.form.expression if isinstance(summary.parametric, FormFit) else "none fitted"
    yield "law", "which form", f"N* = k C^a through IsoFLOP minima; L = {form}"
    yield "law", "what is predicted", "held-out loss, nats per token"
    runs = summary.runs if isinstance(summary.runs, Runs) else None
    yield "law", "what N counts", (runs and runs.params_convention) or _UNSTATED
    yield "law", "how FLOPs are counted", (runs and runs.flops_rule) or _UNSTATED


def _training(summary: Summary) -> Iterator[tuple[str, str, str]]:
    rows = summary.rows
    yield "training", "architecture", _listed(rows, ("family", "activation", "context", "vocab"))
    yield (
        "training",
        "shape rule",
        f"layers {_span(rows, 'layers')}, width {_span(rows, 'width')}" if "width" in rows else _UNSTATED,
    )
    yield "training", "optimiser and schedule", _listed(rows, ("optimizer", "schedule", "precision"))
    yield "training", "learning rate", _span(rows, "learning_rate")
    yield "training", "batch, tokens", _span(rows, "batch_tokens", notation.count)
    yield "training", "learning rate decayed to the end of each run", _decayed(rows)
    yield "training", "epochs over the text", _span(rows, "epochs")


def _data(summary: Summary) -> Iterator[tuple[str, str, str]]:
    runs = summary.runs
    if isinstance(runs, Failed):
        yield "data", "runs", f"none: {runs.reason}"
        return
    params, tokens, flops = (runs.column(name) for name in ("params", "tokens", "flops"))
    made = (
        "" if isinstance(summary.tried, Failed) or not summary.tuned else f" tuned points, of {len(summary.tried)} runs"
    )
    yield "data", "runs fitted", f"{len(runs)}{made}"
    yield "data", "N from, to", f"{notation.count(params.min())} to {notation.count(params.max())}"
    yield "data", "D from, to", f"{notation.count(tokens.min())} to {notation.count(tokens.max())}"
    yield "data", "C from, to", f"{notation.flops(flops.min())} to {notation.flops(flops.max())}"
    yield "data", "seeds per point", _seeds(summary)
    if summary.tuned:
        yield "data", "what stands for tuned points", _reasons(summary.tuned, "of")
    yield "data", "left out, and why", _reasons(summary.left_out, "with") or "nothing"
    yield "data", "checkpoints", "final losses alone, one evaluation at the end of each run"


def _fit(summary: Summary) -> Iterator[tuple[str, str, str]]:
    fit = summary.parametric
    if isinstance(fit, FormFit):
        delta = f", δ = {fit.objective.delta:.3g}" if fit.objective.delta else ""
        yield "fit", "objective", f"{fit.objective.kind}{delta}, {fit.objective.space} residuals, summed"
        yield "fit", "search", f"{fit.certificate.starts} starts from a grid, damped Newton with the exact Hessian"
        yield "fit", "converged", "yes" if fit.certificate.converged else f"no: {fit.certificate.reason}"
        yield "fit", "uncertainty", f"bootstrap of {fit.resamples.scheme}, {len(fit.resamples.draws)} resamples"
    if isinstance(summary.isoflop, IsoflopFit):
        kinds = f"{summary.isoflop.curve} in log {summary.isoflop.variable}, Fieller's intervals"
        yield "fit", "IsoFLOP minima", f"{kinds}; weights {summary.isoflop.weights}, t on k - 2 degrees of freedom"
    yield (
        "fit",
        "tested on data it has not seen",
        "no" if isinstance(summary.backtest, Failed) else summary.backtest.summary,
    )


def _reasons(dropped: Iterable[Dropped], between: str) -> str:
    reasons = pd.Series([one.reason for one in dropped], dtype=object).value_counts()
    return "; ".join(f"{n} {between} {reason}" for reason, n in reasons.items())


def _listed(rows: pd.DataFrame, names: tuple[str, ...]) -> str:
    parts = []
    for name in names:
        if name in rows and rows[name].notna().any():
            values = sorted({str(value) for value in rows[name].dropna()})
            parts.append(f"{name} {', '.join(values[:4])}")
    return "; ".join(parts) or _UNSTATED


def _span(rows: pd.DataFrame, name: str, write: Callable[[float], str] = notation.number) -> str:
    values = pd.to_numeric(rows[name], errors="coerce").dropna() if name in rows else pd.Series(dtype=float)
    if values.empty:
        return _UNSTATED
    low, high = (write(float(end)) for end in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def _decayed(rows: pd.DataFrame) -> str:
    known = rows["decayed"].dropna() if "decayed" in rows else pd.Series(dtype=object)
    if known.empty:
        return _UNSTATED
    return "yes" if known.all() else f"{int(known.sum())} of {len(known)} runs"


def _seeds(summary: Summary) -> str:
    if not summary.minima or isinstance(summary.whole, Failed):
        return _UNSTATED
    whole = summary.whole if summary.setting is None else summary.whole.where(setting=summary.setting)
    tuned = "tuned" in whole.frame and whole.frame["tuned"].notna().any()  # a tuned point enters its curve as one row
    every = seeds_per_point(whole) if tuned else np.concatenate([m.curve.replicates for m in summary.minima])
    return f"{every.min():.0f}" if every.min() == every.max() else f"{every.min():.0f} to {every.max():.0f}"
