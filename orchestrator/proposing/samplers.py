"""The sampler of a sweep: which of them the file names, over which points, one for each setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.planning import Plan, Point
from orchestrator.proposing.alternatives import CurveByCurve
from orchestrator.proposing.by_setting import BySetting, Part
from orchestrator.proposing.choosing import Chooser
from orchestrator.proposing.sampler import IsoFlopSampler, PointSampler, Strategy
from orchestrator.proposing.settings import Settings
from orchestrator.proposing.space import Space, space_of
from orchestrator.proposing.valleys import Valleys


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
