"""The driver's proposer: the planned grid, or points chosen as results arrive, through Optuna in the driver's memory.

A study is never stored: proposals and commits are the truth, and ten thousand finished trials are put back in about a
second.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna

from orchestrator.errors import SweepError
from orchestrator.planning import Plan, Point
from orchestrator.proposing.adaptive import AdaptiveProposals
from orchestrator.proposing.alternatives import CurveByCurve
from orchestrator.proposing.by_setting import BySetting, Part
from orchestrator.proposing.choosing import Chooser
from orchestrator.proposing.grid import GridProposals
from orchestrator.proposing.sampler import IsoFlopSampler, PointSampler, Strategy
from orchestrator.proposing.settings import Settings
from orchestrator.proposing.space import Space, space_of
from orchestrator.proposing.valleys import Valleys


class Proposer:
    """Hands out points; a run that is known from the store is told, not asked for."""

    def __init__(
        self,
        plan: Plan,
        *,
        losses: Mapping[str, float | None],
        proposed: Sequence[str],
        order: Sequence[str] | None = None,
        failed: Collection[str] = (),
    ) -> None:
        """Rebuild the study.

        Args:
            plan: What is to be run, or may be.
            losses: Committed runs and their loss, None for a diverged one.
            proposed: Runs that have a proposal and no result; they are not asked for again.
            order: Every run that has a proposal, by its number; needed where batches are synchronous.
            failed: Runs of `proposed` that ended without a result for good.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._proposals: GridProposals | AdaptiveProposals
        if plan.sweep.sampler == "grid":
            self._proposals = GridProposals(plan, losses=losses, proposed=proposed, failed=failed)
            return
        rest = [run_id for run_id in (*sorted(losses), *proposed) if run_id not in set(order or ())]
        self._proposals = AdaptiveProposals(
            plan, point_sampler(plan), losses=losses, order=(*(order or ()), *rest), failed=failed
        )

    @property
    def left(self) -> int:
        """Points of a grid not asked for yet; of others, whether one could be had now."""
        return self._proposals.left

    @property
    def ending(self) -> str | None:
        """Why the last `ask` gave nothing: all is done, the stop is reached, or a result must come first."""
        return self._proposals.ending

    def ask(self) -> Point | None:
        """The next point. None while runs are under way may mean: ask again after a result; else all is done."""
        return self._proposals.ask()

    def tell(self, run_id: str, loss: float | None) -> None:
        """Report a committed run; None for one that diverged."""
        self._proposals.tell(run_id, loss)

    def fail(self, run_id: str, status: str) -> None:
        """Report a run that ended without a result for good (`oom`, `error`, `lost`); its FLOPs are free again."""
        self._proposals.fail(run_id, status)

    def record(self, run_id: str) -> dict[str, Any]:
        """What a proposal of this driver was based on, as plain values for its document."""
        return self._proposals.record(run_id)

    def export(self, storage: str, name: str) -> int:
        """Copy the study into an Optuna storage, for optuna-dashboard; it is never read back.

        Args:
            storage: URL such as sqlite:///study.db.
            name: The study's name there; it must be new.

        Returns:
            The number of trials.

        Raises:
            SweepError: The storage has a study of this name, or cannot be opened.
        """
        try:
            copy = optuna.create_study(storage=storage, study_name=name, direction="minimize")
        except optuna.exceptions.DuplicatedStudyError:
            raise SweepError(f"{storage} has a study {name!r}; expected a new name. Choose another --name.") from None
        except Exception as error:  # SQLAlchemy's, which has no common base with Optuna's
            first = str(error).splitlines()[0]
            raise SweepError(
                f"{storage} cannot be opened ({first}); expected an Optuna storage. For example --optuna "
                "sqlite:///study.db."
            ) from None
        trials = self._proposals.study.trials
        copy.add_trials(trials)
        return len(trials)


def point_sampler(plan: Plan) -> PointSampler:
    """The sampler that the sweep names, over its points; of several settings each has one of its own."""
    space, settings = space_of(plan), settings_of(plan)
    names = [name for name in dict.fromkeys(point.setting for point in plan.points) if name is not None]
    if len(names) > 1:
        return PointSampler(space, BySetting(space, [_part(plan, name) for name in names]), settings)
    if plan.sweep.sampler == "isoflop" and not plan.sweep.tune:
        return IsoFlopSampler(space, settings)
    return PointSampler(space, _tuned(plan, plan.points, space, settings), settings)


def _part(plan: Plan, setting: str) -> Part:
    assert plan.limits is not None
    space, share = space_of(plan, setting), plan.limits.shares[setting]
    settings = replace(settings_of(plan), max_flops=share.flops, max_runs=share.runs)
    points = [point for point in plan.points if point.setting == setting]
    strategy = _tuned(plan, points, space, settings)
    return Part(setting=setting, space=space, strategy=strategy, max_flops=share.flops)


def _tuned(plan: Plan, points: Sequence[Point], space: Space, settings: Settings) -> Strategy:
    """Who chooses among the points of one setting, and the tries of each where axes are tuned over."""
    if not plan.sweep.tune:
        return _strategy(plan, space, settings)
    return Valleys(points, space, settings, lambda valleys, limits: _strategy(plan, valleys, limits))


def _strategy(plan: Plan, space: Space, settings: Settings) -> Strategy:
    """Who chooses among points."""
    name = plan.sweep.sampler
    return (
        Chooser(space, settings) if name == "isoflop" else CurveByCurve(space, settings, name, plan.sweep.sampling.seed)
    )


def settings_of(plan: Plan) -> Settings:
    """What the sweep file says of sampling; limits that it leaves out are those of the planned grid."""
    sampling, limits = plan.sweep.sampling, plan.limits
    assert limits is not None
    return Settings(
        quantity=sampling.target,
        target_flops=sampling.target_flops,
        max_flops=limits.flops,
        max_runs=limits.runs,
        together=sampling.together,
        synchronous=sampling.synchronous,
        target_interval=plan.sweep.stop.target_interval,
    )
