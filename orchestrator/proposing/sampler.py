"""Points as Optuna trials, and `IsoFlopSampler`: the law-informed choice, driven by ask and tell.

A trial is a point: `curve`, `size` (its number among the curve's sizes) and `seed` (its number among the point's
seeds), all whole numbers, since models do not lie on a continuum. The study is all that a sampler knows: finished trials
are results, running ones count as seen, failed ones diverged or had no result, and a broken constraint `memory` bounds
the size. Which point is proposed depends on what is known, never on the order in which it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from orchestrator.proposing.choosing import Choice, Chooser, Ending
from orchestrator.proposing.settings import Settings
from orchestrator.proposing.space import Known, Space

NO_RESULT = "no_result"
"""User attribute of a failed trial whose run gave no result, with its status; without it the run diverged."""


class Strategy(Protocol):
    """Who chooses the next run."""

    def choose(self, known: Known) -> Choice | Ending:
        """The next run, or why there is none; a pure function of what is known."""

    def record(self, choice: Choice, known: Known) -> dict[str, Any]:
        """What a choice was based on: plain values for its proposal."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A choice, and what it is based on."""

    choice: Choice
    known: Known


class PointSampler(optuna.samplers.BaseSampler):
    """Proposes points of a space by a strategy."""

    def __init__(self, space: Space, strategy: Strategy, settings: Settings) -> None:
        self.space = space
        self.strategy = strategy
        self.settings = settings
        self.distributions = distributions_of(space)
        self._places = {run_id: coordinates(space, run_id) for run_id in space.places}
        self._runs = {place: run_id for run_id, place in self._places.items()}
        self._last: tuple[tuple[int, int], Proposal] | None = None

    def next(self, study: optuna.Study) -> Proposal | Ending:
        """What would be proposed now with what it is based on, or why nothing is."""
        trials = study.get_trials(deepcopy=False)
        if waiting := self._waiting(trials):
            return Ending(reason=waiting)
        return self._propose(trials)

    def run_of(self, params: Mapping[str, Any]) -> str | None:
        """The run of a trial's parameters; None for those of no point."""
        try:
            return self._runs.get((params["curve"], params["size"], params["seed"]))
        except KeyError:
            return None

    def params_of(self, run_id: str) -> dict[str, int]:
        """A run as a trial's parameters."""
        return dict(zip(("curve", "size", "seed"), self._places[run_id], strict=True))

    def _propose(self, trials: list[FrozenTrial]) -> Proposal | Ending:
        """A choice; that of the call before is kept, since `ask` follows upon `next` with nothing new."""
        state = len(trials), sum(trial.state.is_finished() for trial in trials)
        if self._last is None or self._last[0] != state:
            known = self._known(trials)
            chosen = self.strategy.choose(known)
            if isinstance(chosen, Ending):
                return chosen
            self._last = state, Proposal(choice=chosen, known=known)
        return self._last[1]

    def _waiting(self, trials: list[FrozenTrial]) -> str | None:
        """Why a result must come first: enough is under way, or a batch is not complete."""
        together = self.settings.together
        start = self._batch_start(len(trials)) if self.settings.synchronous else len(trials)
        running = sum(trial.state == TrialState.RUNNING for trial in trials[:start])
        if self.settings.synchronous:
            return f"{running} runs of the batch before are under way" if running else None
        return f"{running} runs are under way, all that sampling.together allows" if running >= together else None

    def _batch_start(self, asked: int) -> int:
        return asked // self.settings.together * self.settings.together

    def _known(self, trials: list[FrozenTrial]) -> Known:
        """What trials say. In synchronous batches a result of the batch itself is not looked at."""
        start = self._batch_start(len(trials)) if self.settings.synchronous else len(trials)
        losses: dict[str, float | None] = {}
        pending: list[str] = []
        failed: list[str] = []
        too_large: float | None = None
        for position, trial in enumerate(trials):
            run_id = self.run_of(trial.params)
            if run_id is None:
                continue
            if position >= start or trial.state == TrialState.RUNNING:
                pending.append(run_id)
            elif trial.state == TrialState.COMPLETE:
                losses[run_id] = trial.value
            elif NO_RESULT not in trial.user_attrs:
                losses[run_id] = None
            else:
                failed.append(run_id)
                if trial.user_attrs[NO_RESULT] == "oom":
                    size = float(self.space.params[self.space.places[run_id]])
                    too_large = min(size, too_large or size)
        failed = [run_id for run_id in failed if run_id not in losses]  # tried again, with success
        return Known(losses=losses, pending=tuple(pending), failed=tuple(failed), too_large=too_large)

    # --- Optuna's interface

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All three parameters are chosen together."""
        return dict(self.distributions)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters of the next point.

        Raises:
            RuntimeError: Nothing is left; ask `next` first, which says why.
        """
        before = [other for other in study.get_trials(deepcopy=False) if other.number < trial.number]
        proposal = self._propose(before)
        if isinstance(proposal, Ending):
            raise RuntimeError(f"nothing is left to propose: {proposal.reason}. Ask the sampler's next() first.")
        return dict(self.params_of(proposal.choice.run_id))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """No parameter is chosen alone."""
        raise ValueError(
            f"{param_name!r} is not a parameter of a point; expected curve, size and seed with the sampler's "
            "own distributions. Pass sampler.distributions to study.ask."
        )


class IsoFlopSampler(PointSampler):
    """Proposes the point that teaches most about the target per FLOP; no chance is involved."""

    def __init__(self, space: Space, settings: Settings | None = None) -> None:
        """Sample from a space.

        Args:
            space: The points that may be proposed, from `space_of(plan)`.
            settings: Target, limits and stop.
        """
        self.chooser = Chooser(space, settings or Settings())
        super().__init__(space, self.chooser, self.chooser.settings)


def distributions_of(space: Space) -> dict[str, BaseDistribution]:
    """Curve, size and seed as whole numbers."""
    sizes = max(int((space.curve == curve).sum()) for curve in range(len(space.budgets)))
    return {
        "curve": IntDistribution(0, len(space.budgets) - 1),
        "size": IntDistribution(0, sizes - 1),
        "seed": IntDistribution(0, int(space.seeds.max()) - 1),
    }


def coordinates(space: Space, run_id: str) -> tuple[int, int, int]:
    """Curve, size and seed of a run, each counted from 0."""
    cell = space.places[run_id]
    curve = int(space.curve[cell])
    first = int((space.curve < curve).sum())
    return curve, cell - first, space.cells[cell].runs.index(run_id)
