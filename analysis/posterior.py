"""What runs leave open about a law, as draws from its posterior, so that predictions average over it.

Over a decade of budgets losses hardly tell the floor E: from zero to most of the lowest loss the gamma form E + (A/N^alpha +
B/D^beta)^gamma fits alike, its power making up for the floor, while ten times the compute later the predictions lie far
apart. A best fit picks one of them, often at an end, and a bootstrap of it stays there. Draws by emcee's ensemble
(Foreman-Mackey et al. 2013, arXiv:1202.3665) visit all in proportion to how well they fit.

A point is the mean of its seeds. The logarithm of its loss scatters around the law's as Student's t, which outliers hardly
move, by the seeds' noise at its budget and, in quadrature, by a misfit of the law that is drawn with its coefficients.
Priors: E uniform between zero and the lowest loss; ln gamma normal around zero, the additive law; the misfit uniform. What the
points do tell, the loss and its falls in N and D in their middle, is uniform, whatever E and gamma are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import emcee
import numpy as np

from analysis.errors import FitError
from analysis.forms.joint import GAMMA
from analysis.points import average_replicates, with_budgets
from analysis.table import Array, Runs

POWER_SD = 0.5
"""Standard deviation of ln gamma (chosen: 90 % of the prior lie within a factor 2.3 of the additive law)."""

FREEDOM = 4.0
"""Degrees of freedom of the scatter (the usual choice where a few points may be far off)."""

MOST_MISFIT = 0.1
"""Upper limit of the misfit, a standard deviation of ln(loss)."""

WALKERS, STEPS, MOST_STEPS, INDEPENDENT = 64, 3000, 24_000, 40
"""Walkers; steps of a first chain, which is doubled until it is `INDEPENDENT` times its autocorrelation or of `MOST_STEPS`."""

DRAWS = 10_000
"""Draws that are kept, evenly from the last two thirds of the chain."""

_GRID = np.linspace(-3.0, 3.0, 241)
"""ln N over the middle of the points, where an optimum is looked for."""


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Draws of the gamma form's coefficients.

    Attributes:
        coefficients: Draws by name, each of shape (draws, 1).
        misfit: Standard deviation of ln(loss) around the law beyond the seeds' noise, shape (draws, 1).
        noise: Standard deviation of ln(loss) between seeds at the largest budget; 0 without replicates.
        autocorrelations: Length of the chain in its longest autocorrelation time; tens mean that it has converged.
    """

    coefficients: Mapping[str, Array]
    misfit: Array
    noise: float
    autocorrelations: float

    def loss(self, params: Array, tokens: Array) -> Array:
        """The law's losses by every draw, nats, shape (draws, n)."""
        return np.asarray(GAMMA.loss(self.coefficients, {"params": params, "tokens": tokens}))

    def predict(self, params: Array, tokens: Array, replicates: Array, level: float) -> tuple[Array, Array]:
        """Middles and half-widths of the central intervals of seed-averaged losses, nats, each of shape (n,).

        Args:
            params: N, shape (n,).
            tokens: D, shape (n,).
            replicates: Seeds that are averaged, shape (n,).
            level: Probability of an interval.
        """
        losses = self.loss(params, tokens)
        scatter = np.random.default_rng(0).standard_t(FREEDOM, size=losses.shape)
        drawn = losses * np.exp(scatter * np.hypot(self.misfit, self.noise / np.sqrt(replicates)))
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return (low + high) / 2, (high - low) / 2

    def slope(self, params: float, tokens: float) -> float:
        """Mean of dL*/d ln C at the optimum of as many FLOPs as N and D take, nats; below zero."""
        low, high = (
            self.loss(params * np.exp(_GRID), factor * tokens * np.exp(-_GRID)).min(axis=1) for factor in (0.8, 1.25)
        )
        return float((high - low).mean() / np.log(1.25 / 0.8))

    def quantiles(self, name: str, level: float) -> tuple[float, float]:
        """Ends of the central interval of a coefficient."""
        low, high = np.quantile(self.coefficients[name], [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def sample_posterior(runs: Runs, *, seed: int = 0) -> Posterior:
    """Draw the gamma form's coefficients given runs at several budgets; the same draws for the same seed.

    Raises:
        FitError: No more points than coefficients, or runs without budgets whose FLOPs do not fall into groups.
    """
    density = _Density(runs)
    if density.points <= len(GAMMA.names):
        raise FitError(
            f"{density.points} points for the {len(GAMMA.names)} coefficients of the gamma form; expected more. Add sizes."
        )
    moves = [(emcee.moves.StretchMove(), 0.5), (emcee.moves.DEMove(), 0.4), (emcee.moves.DESnookerMove(), 0.1)]
    sampler = emcee.EnsembleSampler(WALKERS, density.dimensions, density, moves=moves, vectorize=True)
    random = np.random.RandomState(seed)
    state = emcee.State(density.starts(random), random_state=random.get_state())
    length = 0.0
    while length < INDEPENDENT and sampler.iteration < MOST_STEPS:
        state = sampler.run_mcmc(state, max(sampler.iteration, STEPS))
        length = float(sampler.iteration / np.nanmax(sampler.get_autocorr_time(tol=0)))
    chain = sampler.get_chain(discard=sampler.iteration // 3, flat=True)
    kept = chain[np.linspace(0, len(chain) - 1, DRAWS).astype(np.int64)]
    return Posterior(
        coefficients=density.coefficients(kept), misfit=kept[:, [-1]], noise=density.noise, autocorrelations=length
    )


class _Density:
    """Logarithm of the posterior's density, in coordinates that hardly depend on each other.

    In the middle of the points: ln(loss), the share of the N term, what a step of ln N would lower the loss by were there no
    D term, and the reverse; then E, ln gamma and the misfit. Were exponents coordinates, they would have to move with every E.
    """

    dimensions = 7

    def __init__(self, runs: Runs) -> None:
        frame = average_replicates(with_budgets(runs)).frame
        self.points = len(frame)
        self._columns = {name: frame[name].to_numpy(np.float64) for name in ("params", "tokens")}
        self._middle = {name: float(np.log(column).mean()) for name, column in self._columns.items()}
        self._loss = frame["loss"].to_numpy(np.float64)
        budgets = frame["budget"].to_numpy(np.float64)
        replicates = frame["replicates"].to_numpy(np.float64)
        squares = frame["squares"].to_numpy(np.float64) / self._loss**2
        variances = {
            budget: squares[budgets == budget].sum() / max((replicates[budgets == budget] - 1).sum(), 1.0)
            for budget in np.unique(budgets)
        }
        self._variance = np.array([variances[budget] for budget in budgets]) / replicates
        self.noise = float(np.sqrt(variances[budgets.max()]))

    def coefficients(self, places: Array) -> dict[str, Array]:
        """Coefficients by name at places of shape (n, dimensions), each of shape (n, 1)."""
        middle, share, fall_n, fall_d, floor, power, _ = (places[:, [k]] for k in range(self.dimensions))
        gamma, above = np.exp(power), np.exp(middle) - floor
        both = np.log(above) / gamma
        alpha, beta = fall_n / above / gamma, fall_d / above / gamma
        return {
            "A": np.exp(both + alpha * self._middle["params"]) * share,
            "B": np.exp(both + beta * self._middle["tokens"]) * (1 - share),
            "E": floor, "alpha": alpha, "beta": beta, "gamma": gamma,
        }  # fmt: skip

    def __call__(self, places: Array) -> Array:
        """Log density at places of shape (n, dimensions), shape (n,)."""
        middle, share, fall_n, fall_d, floor, power, misfit = places.T
        above = np.exp(middle) - floor
        allowed = (
            (floor > 0) & (floor < self._loss.min()) & (share > 0) & (share < 1) & (misfit > 0) & (misfit < MOST_MISFIT)
        )
        allowed &= (fall_n > 0) & (fall_n < above) & (fall_d > 0) & (fall_d < above)
        density = np.full(len(places), -np.inf)
        if allowed.any():
            law = np.asarray(GAMMA.loss(self.coefficients(places[allowed]), self._columns))
            variance = misfit[allowed, None] ** 2 + self._variance
            scatter = (FREEDOM + 1) * np.log1p(np.log(law / self._loss) ** 2 / variance / FREEDOM) + np.log(variance)
            density[allowed] = -scatter.sum(axis=1) / 2 - (power[allowed] / POWER_SD) ** 2 / 2
        return density

    def starts(self, random: np.random.RandomState) -> Array:
        """Places that the walkers start from, spread over the floors, shape (walkers, dimensions)."""
        floors = random.uniform(0.0, self._loss.min(), WALKERS)
        middle = np.log(np.median(self._loss)) + random.normal(0.0, 0.02, WALKERS)
        shares, misfits = random.uniform(0.3, 0.7, WALKERS), random.uniform(0.1, 0.5, WALKERS) * MOST_MISFIT
        falls = random.uniform(0.05, 0.8, (2, WALKERS)) * np.maximum(np.exp(middle) - floors, 0.0)
        powers = random.normal(0.0, POWER_SD / 2, WALKERS)
        return np.column_stack([middle, shares, *falls, floors, powers, misfits])
