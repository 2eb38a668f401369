"""The loss of compute-optimal models through the minima: planted laws come back, and an estimate lies in its interval."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.frontier import fit_frontier


def planted(count: int, *, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    flops = np.geomspace(1e10, 1e12, count)
    losses = 0.8 + 1.2 * (flops / 1e10) ** -0.1
    return flops, losses + noise * np.random.default_rng(seed).standard_normal(count)


@pytest.mark.parametrize("count", [3, 5, 9])
def test_a_planted_law_comes_back(count: int) -> None:
    flops, losses = planted(count)
    found = fit_frontier(flops, losses, variances=np.full(count, 0.005**2), degrees=20.0)
    assert (found.floor, found.gamma) == pytest.approx((0.8, 0.1), rel=1e-3)
    assert found.at(1e14) == pytest.approx(0.8 + 1.2 * 1e4**-0.1, rel=1e-4)


@pytest.mark.parametrize("variances", [None, np.array([1e-4, 2e-4])])
def test_two_losses_give_the_power_law_through_both(variances: np.ndarray | None) -> None:
    flops, losses = np.array([5e10, 1.5e11]), np.array([1.984, 1.832])
    found = fit_frontier(flops, losses, variances=variances, degrees=40.0)
    assert found.floor == 0
    assert [found.at(c) for c in flops] == pytest.approx(losses, rel=1e-6)
    assert found.gamma == pytest.approx(np.log(1.984 / 1.832) / np.log(3), rel=1e-6)


@pytest.mark.parametrize("count", [2, 3, 4, 6])
@pytest.mark.parametrize("seed", range(5))
def test_an_estimate_lies_in_its_own_interval(count: int, seed: int) -> None:
    flops, losses = planted(count, noise=0.01, seed=seed)
    found = fit_frontier(flops, losses, variances=np.full(count, 0.01**2), degrees=20.0)
    for target in (1e12, 1e13, 1e14):
        span = found.interval_at(target, 0.9)
        assert span.low is not None
        assert span.high is not None
        assert span.low <= found.at(target) <= span.high
