"""Intervals of sweeps that stopped by an interval of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import stdtrit

from analysis import fit_form, fit_isoflop
from analysis.fitting.stopping import stopping_factor

from .conftest import MakeRuns


def line(count: int) -> np.ndarray:
    return np.column_stack([np.ones(count), np.tile(np.linspace(-1, 1, 7), count // 7)])


@pytest.mark.parametrize("index", [0, 1])
def test_replayed_stops_cover_as_often_as_they_say(index: int) -> None:
    """A straight line watched from 7 runs on, stopped at the width that the middle sweep reaches at 18."""
    looks = (7, 14, 21, 28)
    rng = np.random.default_rng(1)
    noise, stopped = rng.standard_normal((4000, looks[-1])), np.zeros(4000, bool)
    missed = {False: np.zeros(4000, bool), True: np.zeros(4000, bool)}
    limit, factor = None, stopping_factor(line(28), index, 7, 0.9)
    for n in looks:
        design = line(n)
        project = np.linalg.pinv(design)
        estimate = noise[:, :n] @ project.T
        residual = noise[:, :n] - estimate @ design.T
        leverage = (design * project.T).sum(1)
        se = np.sqrt(residual**2 @ (project[index] ** 2 / (1 - leverage) ** 1.5))
        span = se * stdtrit(n - 2, 0.95)
        limit = np.median(span) * np.sqrt(n / 18) if limit is None else limit
        now = ~stopped & ((span <= limit) | (n == looks[-1]))
        for replayed in missed:
            factor = stopping_factor(design, index, 7, 0.9) if replayed else 1.0
            missed[replayed] |= now & (np.abs(estimate[:, index]) > factor * span)
        stopped |= now
    assert missed[False].mean() > 0.108  # a plain 90 % interval misses more often than it says
    assert 0.065 < missed[True].mean() < 0.105  # the replay takes the worst wish, so it may miss less


def test_the_longer_it_was_watched_the_wider() -> None:
    factors = [stopping_factor(line(42), 0, first, 0.9) for first in (7, 14, 42)]
    assert factors == sorted(factors, reverse=True)
    assert 1.0 < factors[-1] < factors[0] < 1.4
    assert stopping_factor(line(42), 0, 42, 0.9, looks=[42]) == pytest.approx(1.0, abs=0.05)


def test_a_watched_sweep_has_wider_profiles_and_says_so(planted: MakeRuns) -> None:
    runs = planted(noise=0.005)
    fixed, watched = fit_form(runs), fit_form(replace(runs, first_look=12))
    for name in ("a", "E"):
        plain, wide = fixed.interval(name), watched.interval(name)
        assert wide.high - wide.low == pytest.approx(1.15 * (plain.high - plain.low), rel=0.1)
        assert wide.method == plain.method + ", stops replayed"
    assert "stopped_by_interval" in {warning.code for warning in watched.warnings}
    assert "stopped_by_interval" not in {warning.code for warning in fixed.warnings}


def test_approach_2_says_so_too(planted: MakeRuns) -> None:
    runs = planted(noise=0.005)
    frame = runs.frame.assign(budget=np.repeat(np.geomspace(1e18, 1e20, 5), 9))
    fit = fit_isoflop(replace(runs, frame=frame, first_look=12))
    assert "stopped_by_interval" in {warning.code for warning in fit.warnings}
