"""Points chosen as results arrive, through an Optuna study that is rebuilt from the store at every start."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from orchestrator.planning import Plan, Point
from orchestrator.proposing.choosing import Ending
from orchestrator.proposing.sampler import NO_RESULT, PointSampler


class AdaptiveProposals:
    """Asks a `PointSampler` and remembers what each proposal was based on."""

    def __init__(
        self,
        plan: Plan,
        sampler: PointSampler,
        *,
        losses: Mapping[str, float | None],
        order: Sequence[str],
        failed: Collection[str],
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study: optuna.Study = optuna.create_study(direction="minimize", sampler=sampler)
        self.ending: str | None = None
        self._sampler = sampler
        self._points = {point.run_id: point for point in plan.points}
        self._numbers: dict[str, int] = {}
        self._records: dict[str, dict[str, Any]] = {}
        for run_id in order:
            if run_id in self._points:
                self._numbers[run_id] = len(self._numbers)
        self.study.add_trials(self._trials(losses, failed))

    @property
    def left(self) -> int:
        """Whether a point could be had now: 1 or 0, since how many follow depends on their results."""
        return 0 if isinstance(self._sampler.next(self.study), Ending) else 1

    def ask(self) -> Point | None:
        """The next point; None where a result must come first, or nothing more is wanted."""
        proposal = self._sampler.next(self.study)
        if isinstance(proposal, Ending):
            self.ending = proposal.reason
            return None
        record = self._sampler.strategy.record(proposal.choice, proposal.known)
        trial = self.study.ask(dict(self._sampler.distributions))
        run_id = self._sampler.run_of(trial.params)
        assert run_id == proposal.choice.run_id
        trial.set_user_attr("run_id", run_id)
        trial.set_user_attr("why", record["why"])
        self._numbers[run_id], self._records[run_id] = trial.number, record
        return self._points[run_id]

    def tell(self, run_id: str, loss: float | None) -> None:
        """Report a committed run; None for one that diverged."""
        number = self._numbers.get(run_id)
        if number is None or self.study.get_trials(deepcopy=False)[number].state != TrialState.RUNNING:
            if run_id in self._points:  # imported, or tried again after it had failed
                self._numbers[run_id] = len(self.study.get_trials(deepcopy=False))
                self.study.add_trial(
                    self._trial(run_id, TrialState.COMPLETE if loss is not None else TrialState.FAIL, loss)
                )
        elif loss is None:
            self.study.tell(number, state=TrialState.FAIL)
        else:
            self.study.tell(number, loss)

    def fail(self, run_id: str, status: str) -> None:
        """Report a run that ended without a result for good; what it reserved is free again."""
        number = self._numbers.get(run_id)
        if number is None or self.study.get_trials(deepcopy=False)[number].state != TrialState.RUNNING:
            return
        trial = Trial(self.study, self.study.get_trials(deepcopy=False)[number]._trial_id)
        trial.set_user_attr(NO_RESULT, status)
        if status == "oom":
            trial.set_constraint("memory", 1.0)
        self.study.tell(number, state=TrialState.FAIL)

    def record(self, run_id: str) -> dict[str, Any]:
        """What a proposal of this driver was based on."""
        return self._records.get(run_id, {})

    def _trials(self, losses: Mapping[str, float | None], failed: Collection[str]) -> Iterator[FrozenTrial]:
        for run_id in self._numbers:
            if run_id in losses:
                loss = losses[run_id]
                yield self._trial(run_id, TrialState.FAIL if loss is None else TrialState.COMPLETE, loss)
            elif run_id in failed:
                yield self._trial(run_id, TrialState.FAIL, None, {NO_RESULT: "failed"})
            else:
                yield self._trial(run_id, TrialState.RUNNING, None)

    def _trial(
        self, run_id: str, state: TrialState, loss: float | None, attributes: Mapping[str, Any] | None = None
    ) -> FrozenTrial:
        return create_trial(
            params=self._sampler.params_of(run_id),
            distributions=dict(self._sampler.distributions),
            value=loss,
            state=state,
            user_attrs={"run_id": run_id, **(attributes or {})},
        )
