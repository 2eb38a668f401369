"""Checks of the table itself: conventions, FLOPs, schedules, warm-up and repeated text."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis import notation
from analysis.conventions import mixtures
from analysis.results import FitWarning
from analysis.table import Runs

LONG_WARMUP = 0.2
"""Share of a run's steps (chosen; Porian et al. 2024, arXiv:2406.19146, find too long a warm-up behind Kaplan's
exponent)."""

MANY_EPOCHS = 4.0
"""Up to four epochs repeated tokens are worth nearly as much as fresh ones (Muennighoff et al. 2023,
arXiv:2305.16264)."""

SIX_ND_DRIFT = 1.1
"""Factor by which C / 6ND may change over the sizes before it moves the exponent (chosen)."""

Outcome = FitWarning | str | None
"""A warning, what was computed where nothing is wrong, or None where the question could not be asked."""


def _numbers(runs: Runs, *names: str) -> pd.DataFrame | None:
    """Rows in which all of these columns are numbers, None where there is none."""
    if not set(names) <= set(runs.frame.columns):
        return None
    kept = runs.frame[list(names)].apply(pd.to_numeric, errors="coerce").dropna()
    return kept if len(kept) else None


def check_conventions(runs: Runs) -> Outcome:
    """Whether the runs differ in a convention that one fit must share."""
    mixed = mixtures(runs.frame)
    if mixed:
        message = f"these runs {'; they '.join(mixed)}. Fit one kind, or compare fits with and without."
        return FitWarning("mixed_conventions", message, 4.0)
    return "one convention throughout, where the source says"


def check_six_nd(runs: Runs) -> Outcome:
    """How far C is from 6ND over the sizes."""
    frame = _numbers(runs, "params", "tokens", "flops")
    if frame is None:
        return None
    ratio = (frame["flops"] / (6 * frame["params"] * frame["tokens"])).groupby(frame["params"]).median()
    low, high = float(ratio.min()), float(ratio.max())
    computed = f"C / 6ND is {low:.3g} to {high:.3g} over the sizes"
    if high / low <= SIX_ND_DRIFT:
        return computed
    slope = float(np.polyfit(np.log(ratio.index.to_numpy(np.float64)), np.log(ratio.to_numpy(np.float64)), 1)[0])
    message = (
        f"{computed}, N^{slope:+.2f} on average: N and D grow with other exponents than under 6ND, and published laws "
        "that count 6ND do not compare. Use the fit's own FLOPs per token for D*."
    )
    return FitWarning("six_nd", message, 1.5)


def check_schedule(runs: Runs) -> Outcome:
    """Whether every loss was taken after the learning rate had decayed."""
    if "decayed" not in runs.frame or runs.frame["decayed"].isna().all():
        return None
    undecayed = int((~runs.frame["decayed"].dropna().astype(bool)).sum())
    if not undecayed:
        return "the learning rate had decayed in every run"
    message = (
        f"{undecayed} of {len(runs)} losses were taken before the learning rate had decayed; they lie above what a "
        "schedule "
        "that ends there gives, and more so early. Decay each run to its own D."
    )
    return FitWarning("schedule_not_matched", message, 3.5)


def check_warmup(runs: Runs) -> Outcome:
    """Share of the steps that warm-up takes."""
    frame = _numbers(runs, "warmup_steps", "steps")
    if frame is None:
        return None
    share = frame["warmup_steps"] / frame["steps"]
    computed = (
        f"warm-up takes {' to '.join(dict.fromkeys(f'{end:.0%}' for end in (share.min(), share.max())))} of the steps"
    )
    long = int((share > LONG_WARMUP).sum())
    if not long:
        return computed
    message = (
        f"{computed}, more than {LONG_WARMUP:.0%} in {long} of {len(runs)} runs: short runs are held back, which "
        "makes N* grow "
        "faster with C than it does. Let warm-up follow the number of steps."
    )
    return FitWarning("warmup_too_long", message, 2.5)


def check_repetition(runs: Runs) -> Outcome:
    """How often the text was repeated."""
    frame = _numbers(runs, "epochs")
    if frame is None:
        return None
    most = float(frame["epochs"].max())
    if most <= MANY_EPOCHS:
        return f"at most {most:.2g} epochs"
    message = (
        f"{int((frame['epochs'] > MANY_EPOCHS).sum())} runs repeat their text more than {MANY_EPOCHS:.0f} times (up "
        f"to {most:.3g} epochs): "
        "their tokens are worth less. Use more text, or a form with repeated data."
    )
    return FitWarning("repeated_data", message, 2.5)


def check_stopping(runs: Runs) -> Outcome:
    """Whether the sweep could stop by an interval of its own."""
    if runs.first_look is None:
        return None
    message = (
        f"this sweep could stop from {runs.first_look} runs on as soon as its own interval was narrow enough, so that it "
        "stopped early where its noise looked small: plain 90 % intervals then hold the truth 83 to 91 % of the time in "
        "simulations. Those by profile are widened for it; don't rely on the others to their last digit."
    )
    return FitWarning("stopped_by_interval", message, 1.5)


def stopping_warnings(runs: Runs) -> tuple[FitWarning, ...]:
    """The warning of `check_stopping`, for fits of one approach alone."""
    outcome = check_stopping(runs)
    return (outcome,) if isinstance(outcome, FitWarning) else ()


def check_distance(runs: Runs, target: float | None) -> Outcome:
    """How far the target lies beyond the largest run."""
    if target is None:
        return None
    distance = target / float(runs.column("flops").max())
    computed = f"{notation.flops(target)} FLOPs is {distance:.3g} times the largest run"
    if distance <= 10:
        return computed
    message = (
        f"{computed}: no interval covers a law that changes on the way. Add a larger budget, and read the backtest."
    )
    return FitWarning("extrapolation", message, 3.0)
