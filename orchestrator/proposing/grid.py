"""The planned grid: every point once, in the plan's order, then winners again; a study is made for whoever wants it.

A point is asked of the plan, not of the study: an enqueued trial is looked for among all others, so that ten thousand of
them cost 5 ms an ask. No study decides anything here, so that the driver keeps none: a trial costs .2 ms.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.planning import Plan, Point

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from orchestrator.proposing.winners import Winners


class GridProposals:
    """Hands out the points of a plan.

    In a study a point is a pair of whole numbers, `curve` and `point`, its number on the curve: Optuna needs parameters that
    exist, and a realised model does not lie on a continuum.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        losses: Mapping[str, float | None],
        proposed: Sequence[str],
        failed: Collection[str] = (),
    ) -> None:
        self.ending: str | None = None
        self._plan = plan
        self._losses = dict(losses)
        self._targets = {point.run_id for point in plan.points if point.target}
        self._known = losses.keys() | set(proposed)
        self._waiting = deque(p for p in plan.points if not p.retrained and p.run_id not in self._known)
        self._winners = _winners(plan)
        if self._winners is not None:  # in the plan's order: winners are asked for in the same one whatever ended first
            for point in plan.points:
                if point.run_id in losses or point.run_id in failed:
                    self._note(point.run_id, losses.get(point.run_id))

    @property
    def study(self) -> optuna.Study:
        """A study of all results so far, in a fixed order."""
        import optuna

        places = _places(self._plan)
        spaces = _search_space(places)
        made = optuna.create_study(direction="minimize", sampler=optuna.samplers.RandomSampler(seed=0))
        known = sorted(self._losses.keys() & places.keys())
        made.add_trials([_finished_trial(places[run_id], spaces, self._losses[run_id]) for run_id in known])
        return made

    @property
    def left(self) -> int:
        """Points not asked for yet."""
        return len(self._waiting)

    def ask(self) -> Point | None:
        """The next point, None where the plan is used up."""
        if self._waiting:
            return self._waiting.popleft()
        awaited = self._winners is not None and self._winners.awaited
        self.ending = "the results of tries are awaited" if awaited else "every point of the grid is proposed"
        return None

    def tell(self, run_id: str, loss: float | None) -> None:
        """Report a committed run; None for one that diverged."""
        self._losses[run_id] = loss
        self._note(run_id, loss)

    def fail(self, run_id: str, status: str) -> None:
        """Report a run without a result; the grid goes on."""
        self.tell(run_id, None)

    def record(self, run_id: str) -> dict[str, Any]:
        """A point of a grid is based on nothing; one that was predicted names its predictions."""
        if run_id in self._targets:
            return {"why": "predicted from the smaller budgets", "predictions": self._plan.predictions}
        return {"why": (self._winners and self._winners.why(run_id)) or "the planned grid"}

    def _note(self, run_id: str, loss: float | None) -> None:
        """A try has ended; where it was the last of its point, the best of them is to be trained again."""
        if self._winners is None:
            return
        fresh = [point for point in self._winners.ended(run_id, loss) if point.run_id not in self._known]
        self._known.update(point.run_id for point in fresh)
        self._waiting.extend(fresh)


def _winners(plan: Plan) -> Winners | None:
    """Who follows the tries of a sweep that trains the best of them again."""
    if not any(point.retrained for point in plan.points):
        return None
    from orchestrator.proposing.winners import Winners

    return Winners(plan.points)


def _places(plan: Plan) -> dict[str, tuple[int, int]]:
    """Curve and number on the curve of every run."""
    counts: dict[int, int] = {}
    places: dict[str, tuple[int, int]] = {}
    for point in plan.points:
        number = counts.get(point.curve, 0)
        places[point.run_id] = (point.curve, number)
        counts[point.curve] = number + 1
    return places


def _search_space(places: Mapping[str, tuple[int, int]]) -> dict[str, BaseDistribution]:
    from optuna.distributions import IntDistribution

    return {
        "curve": IntDistribution(0, max(curve for curve, _ in places.values())),
        "point": IntDistribution(0, max(number for _, number in places.values())),
    }


def _finished_trial(place: tuple[int, int], spaces: dict[str, BaseDistribution], loss: float | None) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    curve, number = place
    state = TrialState.FAIL if loss is None else TrialState.COMPLETE
    return create_trial(params={"curve": curve, "point": number}, distributions=spaces, value=loss, state=state)
