"""The planned grid: every point of the plan once, in the plan's order; its Optuna study is made for whoever wants it.

A point is asked of the plan, not of the study: an enqueued trial is looked for among all others, so that ten thousand of
them cost 5 ms an ask. Nothing is decided by results here, so that the driver keeps no study: a trial costs .2 ms.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.planning import Plan, Point

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


class GridProposals:
    """Hands out the points of a plan.

    In a study a point is a pair of whole numbers, `curve` and `point`, its number on the curve: Optuna needs parameters that
    exist, and a realised model does not lie on a continuum.
    """

    def __init__(self, plan: Plan, *, losses: Mapping[str, float | None], proposed: Sequence[str]) -> None:
        self.ending: str | None = None
        self._plan = plan
        self._losses = dict(losses)
        self._targets = {point.run_id for point in plan.points if point.target}
        known = losses.keys() | set(proposed)
        self._waiting = deque(point for point in plan.points if point.run_id not in known)

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
        self.ending = "every point of the grid is proposed"
        return None

    def tell(self, run_id: str, loss: float | None) -> None:
        """Report a committed run; None for one that diverged."""
        self._losses[run_id] = loss

    def fail(self, run_id: str, status: str) -> None:
        """Report a run without a result; the grid goes on."""
        self.tell(run_id, None)

    def record(self, run_id: str) -> dict[str, Any]:
        """A point of a grid is based on nothing; one that was predicted names its predictions."""
        if run_id in self._targets:
            return {"why": "predicted from the smaller budgets", "predictions": self._plan.predictions}
        return {"why": "the planned grid"}


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
