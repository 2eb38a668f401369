"""Optuna in the driver's memory: proposes points, is told results, and is rebuilt from the store at every start.

The only module that imports Optuna. A study is never stored: proposals and commits are the truth, and ten thousand
finished trials are put back in under a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.planning import Plan, Point

if TYPE_CHECKING:
    import optuna


class Proposer:
    """Hands out the points of a plan through an Optuna study, in the plan's order.

    A point is a pair of whole numbers, `curve` and `point`, its number on the curve: Optuna needs parameters that
    exist, and a
    realised model does not lie on a continuum. The planned grid is enqueued; a run that is known from the store is
    told, not asked for.
    """

    def __init__(self, plan: Plan, *, losses: Mapping[str, float | None], proposed: Sequence[str]) -> None:
        """Rebuild the study.

        Args:
            plan: What is to be run.
            losses: Committed runs of the plan and their loss, None for a diverged one.
            proposed: Runs that have a proposal, committed or not; they are not asked for again.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study: optuna.Study = optuna.create_study(
            direction="minimize", sampler=optuna.samplers.RandomSampler(seed=0)
        )
        self._spaces = _search_space(plan)
        self._places = _places(plan)
        self._by_place = {self._places[point.run_id]: point for point in plan.points}
        self._asked: dict[str, int] = {}
        known = set(proposed) | set(losses)
        for run_id in sorted(losses):
            if run_id in self._places:
                self._study.add_trial(self._finished_trial(run_id, losses[run_id]))
        for point in plan.points:
            if point.run_id not in known:
                curve, number = self._places[point.run_id]
                self._study.enqueue_trial({"curve": curve, "point": number})
        self._left = sum(point.run_id not in known for point in plan.points)

    @property
    def left(self) -> int:
        """Points not asked for yet."""
        return self._left

    def ask(self) -> Point | None:
        """The next point, None where the plan is used up."""
        if self._left == 0:
            return None
        trial = self._study.ask(dict(self._spaces))
        self._left -= 1
        point = self._by_place[trial.params["curve"], trial.params["point"]]
        self._asked[point.run_id] = trial.number
        return point

    def tell(self, run_id: str, loss: float | None) -> None:
        """Report a committed run; None for one that diverged."""
        if run_id not in self._places:
            return
        import optuna

        number = self._asked.pop(run_id, None)
        if number is None:  # proposed by an earlier driver
            self._study.add_trial(self._finished_trial(run_id, loss))
        elif loss is None:
            self._study.tell(number, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(number, loss)

    def _finished_trial(self, run_id: str, loss: float | None) -> optuna.trial.FrozenTrial:
        import optuna

        curve, number = self._places[run_id]
        state = optuna.trial.TrialState.FAIL if loss is None else optuna.trial.TrialState.COMPLETE
        return optuna.trial.create_trial(
            params={"curve": curve, "point": number}, distributions=self._spaces, value=loss, state=state
        )


def _places(plan: Plan) -> dict[str, tuple[int, int]]:
    """Curve and number on the curve of every run."""
    counts: dict[int, int] = {}
    places: dict[str, tuple[int, int]] = {}
    for point in plan.points:
        number = counts.get(point.curve, 0)
        places[point.run_id] = (point.curve, number)
        counts[point.curve] = number + 1
    return places


def _search_space(plan: Plan) -> dict[str, optuna.distributions.BaseDistribution]:
    import optuna

    places = _places(plan).values()
    return {
        "curve": optuna.distributions.IntDistribution(0, max(curve for curve, _ in places)),
        "point": optuna.distributions.IntDistribution(0, max(number for _, number in places)),
    }
