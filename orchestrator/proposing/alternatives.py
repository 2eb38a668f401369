"""Optuna's own samplers over the same points: one study per curve, in which the loss over log N is minimised.

A loss is comparable within a curve alone, so that curves are served in turn, the least filled and cheapest first. Each
proposal is made by a fresh study and sampler, seeded from (sweep seed, number of proposals): it depends on what is known,
not on what was asked before. Samplers work in log N; the nearest run that is not used yet is taken.
"""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from orchestrator.errors import SweepError
from orchestrator.proposing.choosing import Choice, Ending, grounds_of
from orchestrator.proposing.settings import Settings
from orchestrator.proposing.space import Known, Space

STARTUP_TRIALS = 4
"""Points of a curve that TPE and GP draw at random; their default of ten is a whole curve."""

SamplerFactory = Callable[[int], optuna.samplers.BaseSampler]


def sampler_factory(name: str) -> SamplerFactory:
    """Seed -> sampler, for a word of the sweep file or an import path.

    Raises:
        SweepError: No such class, or not a sampler.
    """
    samplers = optuna.samplers
    known: dict[str, SamplerFactory] = {
        "random": lambda seed: samplers.RandomSampler(seed=seed),
        "qmc": _qmc,
        "tpe": lambda seed: samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS),
        "gp": lambda seed: samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS),
    }
    return known.get(name) or _imported(name)


def _qmc(seed: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():  # experimental by name since 2022
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_asynchronous_seeding=False)


def _imported(path: str) -> SamplerFactory:
    module, _, attribute = path.replace(":", ".").rpartition(".")
    try:
        sampler = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        raise SweepError(
            f"sampler {path}: cannot be imported; expected isoflop, grid, qmc, random, tpe, gp, or the import path of "
            "an Optuna sampler, such as optuna.samplers.CmaEsSampler. Check the path."
        ) from None
    if not (inspect.isclass(sampler) and issubclass(sampler, optuna.samplers.BaseSampler)):
        raise SweepError(
            f"sampler {path}: is no optuna.samplers.BaseSampler; expected a class of these. Check the path."
        )
    make: Callable[..., optuna.samplers.BaseSampler] = sampler
    takes_seed = "seed" in inspect.signature(sampler).parameters
    return lambda seed: make(seed=seed) if takes_seed else make()


class CurveByCurve:
    """Chooses by an Optuna sampler, curve by curve."""

    def __init__(self, space: Space, settings: Settings, name: str, seed: int) -> None:
        self.space, self.settings, self.name, self.seed = space, settings, name, seed
        self._factory = sampler_factory(name)

    def choose(self, known: Known) -> Choice | Ending:
        """The next run, or why there is none."""
        space, used = self.space, known.used
        taken = np.array([sum(run in used for run in cell.runs) for cell in space.cells], dtype=np.int64)
        paid = float((taken * space.flops).sum())
        free = (taken < space.seeds) & (paid + space.flops <= self.settings.max_flops * (1 + 1e-9))
        if known.too_large is not None:
            free &= space.params < known.too_large
        if taken.sum() >= self.settings.max_runs or not free.any():
            return Ending(reason=f"{int(taken.sum())} runs, all that the limits allow")
        counts = np.bincount(space.curve, taken, minlength=len(space.budgets))
        curve = int(min(np.unique(space.curve[free]), key=lambda c: (counts[c], c)))
        log_params = self._ask(curve, known, int(counts[curve]), int(taken.sum()))
        rows = np.flatnonzero(free & (space.curve == curve))
        new = rows[taken[rows] == 0]  # another seed of a size only where every size has a run
        rows = new if len(new) else rows
        cell = int(rows[np.abs(np.log(space.params[rows]) - log_params).argmin()])
        run_id = next(run for run in space.cells[cell].runs if run not in used)
        return Choice(run_id=run_id, cell=cell, stage="learn", why=f"Optuna's {self.name} on this curve")

    def record(self, choice: Choice, known: Known) -> dict[str, Any]:
        """What a proposal was based on: plain values."""
        return grounds_of(choice, known)

    def _ask(self, curve: int, known: Known, asked: int, seq: int) -> float:
        """One draw of ln N on a curve."""
        logs = np.log(self.space.params[self.space.curve == curve])
        if logs[0] == logs[-1]:
            return float(logs[0])
        distribution: dict[str, BaseDistribution] = {"log_params": FloatDistribution(float(logs[0]), float(logs[-1]))}
        quasi = self.name == "qmc"  # a sequence: as many draws as were made before, under one seed
        study = optuna.create_study(sampler=self._factory(_seed(self.seed, curve if quasi else seq)))
        if quasi:
            for _ in range(asked):
                study.ask(distribution)
        else:
            study.add_trials(self._trials(curve, known, distribution))
        return float(study.ask(distribution).params["log_params"])

    def _trials(
        self, curve: int, known: Known, distribution: dict[str, BaseDistribution]
    ) -> list[optuna.trial.FrozenTrial]:
        """The curve's runs in the order of the space: equal for every order in which they came."""
        trials = []
        for cell in np.flatnonzero(self.space.curve == curve):
            params = {"log_params": float(np.log(self.space.params[cell]))}
            for run_id in self.space.cells[cell].runs:
                if run_id in known.pending:
                    state, value = TrialState.RUNNING, None
                elif run_id in known.losses:
                    value = known.losses[run_id]
                    state = TrialState.FAIL if value is None else TrialState.COMPLETE
                else:
                    continue
                trials.append(create_trial(params=params, distributions=distribution, value=value, state=state))
        return trials


def _seed(*parts: int) -> int:
    """A seed of 31 bits from whole numbers."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big") >> 1
