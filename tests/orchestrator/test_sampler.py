"""Samplers: what each may propose, that it depends on what is known alone, and what the law-informed one finds out."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import optuna
import pytest

from analysis.report import summarize
from analysis.report.blocks import Exhibit
from analysis.report.design import design_section
from orchestrator import cost
from orchestrator.errors import SweepError
from orchestrator.planning import Corpus, Plan, Point, plan
from orchestrator.proposing import Proposer
from orchestrator.proposing import settings as constants
from orchestrator.proposing.choosing import Choice, Chooser, Ending, _Free
from orchestrator.proposing.knowing import understand
from orchestrator.proposing.sampler import IsoFlopSampler
from orchestrator.proposing.samplers import point_sampler, settings_of
from orchestrator.proposing.space import Known, space_of
from orchestrator.running import Options, run
from orchestrator.status import status
from orchestrator.sweep.file import load_sweep

COST = cost.first_guess()
CORPUS = Corpus(hash="c" * 64, train_tokens=10**10, exact=True)
CURVES = ("budgets=[1e11,3e11,1e12,3e12]", "sizes={around: {params: 3e4, at: 3e11, factor: 8}}")
NAMES = ["isoflop", "random", "qmc", "tpe", "optuna.samplers.RandomSampler", "optuna.samplers:TPESampler"]
Losses = dict[str, float | None]


def planned(name: str = "isoflop", *settings: str, curves: tuple[str, ...] = CURVES) -> Plan:
    return plan(load_sweep("quickstart", [f"sampler={name}", *curves, *settings]), CORPUS, COST)


def law(point: Point, seed: int = 0) -> float:
    """An additive law with noise that belongs to the point and its seed, whatever the recipe and the heads."""
    noise = np.random.default_rng([seed, point.params, point.spec.tokens, point.spec.seed]).standard_normal()
    return float(1 + 0.8 * (point.params / 1e4) ** -0.4 + 0.9 * (point.spec.tokens / 1e6) ** -0.35 + 0.005 * noise)


def proposer(made: Plan, known: Mapping[str, float | None], proposed: list[str], order: list[str]) -> Proposer:
    return Proposer(made, losses=known, proposed=proposed, order=order)


def drive(
    made: Plan, *, kill: Callable[[], bool] = lambda: False, loss: Callable[[Point], float | None] = law
) -> tuple[list[str], Proposer]:
    """Ask all that may be under way, then finish one at a time; where `kill` says so, a new driver takes over."""
    points = {point.run_id: point for point in made.points}
    order: list[str] = []
    losses: Losses = {}
    asked = proposer(made, losses, [], order)
    while True:
        pending = [run_id for run_id in order if run_id not in losses]
        if kill():
            asked = proposer(made, dict(sorted(losses.items())), pending, order)
        elif (point := asked.ask()) is not None:
            order.append(point.run_id)
        elif pending:
            losses[pending[0]] = loss(points[pending[0]])
            asked.tell(pending[0], losses[pending[0]])
        else:
            return order, asked


@pytest.mark.parametrize("name", [*NAMES, pytest.param("gp", marks=pytest.mark.slow)])
def test_every_sampler_stays_within_points_and_limits_and_repeats_nothing(name: str) -> None:
    made = planned(name)
    order, asked = drive(made)
    points = {point.run_id: point for point in made.points}
    assert made.limits is not None
    assert len(set(order)) == len(order) <= made.limits.runs
    assert 0.6 * made.limits.flops < sum(points[run_id].flops for run_id in order) <= made.limits.flops * (1 + 1e-9)
    assert set(order) <= set(points)
    assert asked.ending


@pytest.mark.parametrize("name", NAMES)
def test_samplers_propose_what_is_known_and_not_in_which_order(name: str) -> None:
    made = planned(name)
    order, _ = drive(made)
    points = {point.run_id: point for point in made.points}
    losses = [(run_id, law(points[run_id])) for run_id in order[:14]]
    pending = order[14:16]
    nexts = set()
    for seed in range(4):
        random.Random(seed).shuffle(losses)
        shuffled = proposer(made, dict(losses), pending[:: 1 - 2 * (seed % 2)], [])
        point = shuffled.ask()
        assert point is not None
        nexts.add(point.run_id)
    assert len(nexts) == 1


@pytest.mark.parametrize("together", [1, 4])
def test_a_sampler_killed_anywhere_ends_with_the_same_points(together: int) -> None:
    """With one run under way, or in synchronous batches."""
    made = planned("isoflop", f"sampling={{together: {together}, synchronous: true, max_runs: 18}}")
    undisturbed, _ = drive(made)
    for seed in range(3):
        chance = random.Random(seed)
        disturbed, _ = drive(made, kill=lambda chance=chance: chance.random() < 0.25)  # type: ignore[misc]
        assert disturbed == undisturbed


def test_a_sampler_waits_for_results_when_enough_is_under_way() -> None:
    made = planned("isoflop", "sampling.together=3")
    asked = proposer(made, {}, [], [])
    first = [asked.ask() for _ in range(4)]
    assert [point is not None for point in first] == [True, True, True, False]
    assert "under way" in str(asked.ending)
    assert first[1] is not None
    asked.tell(first[1].run_id, law(first[1]))
    assert asked.ask() is not None
    assert asked.ask() is None


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_isoflop_sampler_brackets_first_and_then_learns(seed: int) -> None:
    made = planned("isoflop", "sampling={together: 1}")
    points = {point.run_id: point for point in made.points}
    order, asked = drive(made, loss=lambda point: law(point, seed))
    records = [asked.record(run_id) for run_id in order]
    stages = [record["stage"] for record in records]
    assert stages[:9] == ["bracket"] * 9
    assert {"learn"} <= set(stages[9:]) <= {"learn", "floor"}
    assert [points[run_id].curve for run_id in order[:6]] == [0, 0, 0, 1, 1, 1]
    assert points[order[8]].spec.seed == 1  # the middle again, to know the noise


def test_noise_alone_hardly_ever_fires_the_guard() -> None:
    """In one of thirty sweeps of a law that holds at most."""
    made = planned("isoflop", "sampling={together: 1}")
    fired = 0
    for seed in range(30):
        order, asked = drive(made, loss=lambda point, seed=seed: law(point, seed))  # type: ignore[misc]
        fired += any(asked.record(run_id)["stage"] == "symmetric" for run_id in order)
    assert fired <= 1


def test_flops_that_would_be_left_over_are_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    made = planned("isoflop", "sampling={together: 1, max_runs: 18}")
    flops = {point.run_id: point.flops for point in made.points}
    spent = []
    for plenty in (0.0, constants.PLENTY):
        monkeypatch.setattr(constants, "PLENTY", plenty)
        order, _ = drive(made)
        assert len(order) == 18
        spent.append(sum(flops[run_id] for run_id in order))
    assert spent[1] > 1.2 * spent[0]


def test_the_isoflop_sampler_steps_outward_until_the_minimum_is_inside() -> None:
    made = planned("isoflop", "sampling={together: 1}")

    def small_is_best(point: Point) -> float:
        return float(1 + 0.3 * np.log(point.params / 1e3) ** 2 / 10 + 1e-4 * point.curve)

    points = {point.run_id: point for point in made.points}
    order, _ = drive(made, loss=small_is_best)
    first = [points[run_id].params for run_id in order[:10] if points[run_id].curve == 0]
    assert min(first) == min(point.params for point in made.points if point.curve == 0)


def test_the_isoflop_sampler_learns_the_target_from_less_than_the_grid_spends() -> None:
    """The planted optimum lies in the 90 % interval about as often as it should, and close to the estimate."""
    made = planned("isoflop", "sampling={together: 4, max_flops: 1.2e13}")
    space = space_of(made)
    points = {point.run_id: point for point in made.points}
    flops = settings_of(made).target_flops or 10 * space.budgets[-1]
    sizes = np.geomspace(1e4, 1e7, 4001)
    ratio = np.interp(np.log(sizes), np.log(np.unique(space.params)), _flops_per_token(made))
    exact = 1 + 0.8 * (sizes / 1e4) ** -0.4 + 0.9 * (flops / (ratio * sizes) / 1e6) ** -0.35
    truth = sizes[exact.argmin()]
    inside, errors = 0, []
    for seed in range(8):
        order, _ = drive(made, loss=lambda point, seed=seed: law(point, seed))  # type: ignore[misc]
        knowledge = understand(space, Known(losses={r: law(points[r], seed) for r in order}), settings_of(made))
        assert knowledge.interval is not None
        value, low, high = knowledge.interval
        inside += low <= truth <= high
        errors.append(np.log10(value / truth))
    assert inside >= 6  # of 8 at 90 %: fewer has a chance of 3.8 %
    assert np.sqrt(np.mean(np.square(errors))) < 0.05


def _flops_per_token(made: Plan) -> np.ndarray:
    """FLOPs per token over N of every size, by rising size; beyond the largest it stays."""
    by_size = {point.params: point.flops / point.spec.tokens / point.params for point in made.points}
    return np.array([by_size[size] for size in sorted(by_size)])


def test_results_that_no_law_explains_bring_the_sampler_back_to_symmetric_brackets() -> None:
    made = planned("isoflop", "sampling={together: 1}")
    space = space_of(made)

    def jumping(point: Point) -> float:
        """Minima that jump between curves by more than a decade, with hardly any noise."""
        centre = np.log(2e4) + (1.6 if point.curve % 2 else -1.2)
        return float(2 + 0.05 * (np.log(point.params) - centre) ** 2 - 0.3 * point.curve)

    points = {point.run_id: point for point in made.points}
    order, asked = drive(made, loss=jumping)
    records = [asked.record(run_id) for run_id in order]
    fired = [record for record in records if not record.get("guard", {}).get("law_believed", True)]
    symmetric = [record for record in records if record["stage"] == "symmetric"]
    assert symmetric
    assert all("symmetric brackets" in record["why"] for record in symmetric)
    assert fired or all(record["target"]["value"] is None for record in symmetric)
    assert {points[run_id].curve for run_id in order} == set(range(len(space.budgets)))


def test_a_narrow_interval_ends_the_sampler() -> None:
    everything, _ = drive(planned("isoflop"))
    made = planned("isoflop", "stop={target_interval: 0.3}")
    order, asked = drive(made)
    assert 12 <= len(order) < len(everything)
    assert "stop.target_interval" in str(asked.ending)


@pytest.mark.parametrize("target", ["exponent", "loss"])
def test_a_sampler_can_be_for_the_exponent_or_the_loss(target: str) -> None:
    order, asked = drive(planned("isoflop", f"sampling={{target: {target}, target_flops: 1e14}}"))
    record = asked.record(order[-1])["target"]
    assert (record["quantity"], record["flops"]) == (target, 1e14)
    assert record["interval"]["low"] < record["value"] < record["interval"]["high"]


def test_a_record_says_what_a_proposal_was_based_on() -> None:
    made = planned("isoflop")
    order, asked = drive(made)
    record = json.loads(json.dumps(asked.record(order[-1]), allow_nan=False))
    assert record["committed"] + len(record["pending"]) == len(order) - 1
    assert len(record["pending"]) == 3
    learnt = [asked.record(run_id) for run_id in order if asked.record(run_id)["stage"] == "learn"]
    assert all(record["expected_se"] > 0 for record in learnt)
    widths = [width for run_id in order if (width := asked.record(run_id).get("target", {}).get("width"))]
    assert widths[-1] < 0.3 * widths[0]  # the interval's history


def test_a_failed_run_gives_its_flops_back_and_a_model_too_large_bounds_the_size() -> None:
    made = planned("isoflop", "sampling={together: 1, max_runs: 12}")
    points = {point.run_id: point for point in made.points}
    asked = proposer(made, {}, [], [])
    order: list[str] = []
    while (point := asked.ask()) is not None:
        order.append(point.run_id)
        if point.params > 5e4:
            asked.fail(point.run_id, "oom")
        elif len(order) == 1:
            asked.fail(point.run_id, "error")
        else:
            asked.tell(point.run_id, law(point))
    too_large = [points[run_id].params for run_id in order if points[run_id].params > 5e4]
    assert too_large == sorted(too_large, reverse=True)  # each smaller than the one before
    assert len(order) - len(too_large) - 1 == 12


def test_diverged_runs_are_results_without_a_loss() -> None:
    made = planned("isoflop", "sampling={together: 1}")
    order, _ = drive(made, loss=lambda point: None if point.params > 1e5 else law(point))
    assert len(set(order)) == len(order) > 12


def test_the_isoflop_sampler_serves_a_plain_optuna_study() -> None:
    made = planned()
    space = space_of(made)
    sampler = IsoFlopSampler(space, settings_of(made))
    study = optuna.create_study(sampler=sampler)
    chooser, losses = Chooser(space, settings_of(made)), {}
    points = {point.run_id: point for point in made.points}
    for _ in range(16):
        wanted = chooser.choose(Known(losses=losses))
        assert isinstance(wanted, Choice)
        trial = study.ask(dict(sampler.distributions))
        run_id = sampler.run_of(trial.params)
        assert run_id == wanted.run_id
        losses[run_id] = law(points[run_id])
        study.tell(trial, losses[run_id])
    with pytest.raises(ValueError, match="not a parameter of a point"):
        study.ask().suggest_float("rate", 0, 1)


def test_a_sampler_with_nothing_left_says_so() -> None:
    made = planned("isoflop", "sampling.max_runs=1")
    sampler = point_sampler(made)
    study = optuna.create_study(sampler=sampler)
    study.tell(study.ask(dict(sampler.distributions)), 2.0)
    assert isinstance(sampler.next(study), Ending)
    with pytest.raises(RuntimeError, match="nothing is left to propose: 1 runs"):
        study.ask(dict(sampler.distributions))


def test_candidates_of_a_sampler_reach_further_than_the_grid_and_carry_replicates() -> None:
    grid, made = planned("grid"), planned()
    assert made.limits is not None
    assert (made.runs, made.flops) == (len(grid.points), pytest.approx(grid.flops))
    assert max(p.params for p in made.points) > 2 * max(p.params for p in grid.points)
    assert {point.spec.seed for point in made.points} == {0, 1, 2}
    listed = planned(curves=())
    widths = {point.spec.model.width for point in listed.points if point.curve == 0}
    assert widths == {8, 12, 16, 20, 24, 32, 48}


def test_candidates_of_a_sampler_that_need_too_much_text_are_dropped_with_the_reason() -> None:
    corpus = Corpus(hash="c" * 64, train_tokens=3_000_000, exact=True)
    made = plan(load_sweep("quickstart", ["sampler=isoflop", *CURVES]), corpus, COST)
    assert all(point.spec.tokens <= 3_000_000 for point in made.points)
    assert any("allow_epochs" in drop.reason for drop in made.dropped)


def test_a_sampler_that_is_not_known_is_named() -> None:
    with pytest.raises(SweepError, match='Did you mean "isoflop"'):
        load_sweep("quickstart", ["sampler=isoflob"])
    for wrong in ("no.such.Sampler", "json.JSONDecoder"):
        with pytest.raises(SweepError, match="Check the path"):
            proposer(planned(wrong), {}, [], [])


def test_a_study_of_a_sampler_can_be_exported(tmp_path: Path) -> None:
    made = planned("isoflop", "sampling.max_runs=10")
    order, asked = drive(made)
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    assert asked.export(storage, "mine") == len(order)
    loaded = optuna.load_study(study_name="mine", storage=storage)
    assert [trial.user_attrs["run_id"] for trial in loaded.trials] == order
    assert all("why" in trial.user_attrs for trial in loaded.trials)


def test_status_of_a_sampler_says_why_and_how_the_interval_shrank(tmp_path: Path) -> None:
    """A whole sweep, trained in this process: its proposals carry their reasons, and its candidates do not count."""
    settings = [
        "sampler=isoflop", "budgets=[5e8,1e9]", "min_steps=10", "sampling={max_runs: 11, together: 2}",
        "sizes={shapes: [{width: 8}, {width: 12}, {width: 16}, {width: 20}, {width: 24}]}",
    ]  # fmt: skip
    store = tmp_path / "store"
    result = run(load_sweep("smoke", settings), store, Options(inline=True))
    assert result.enough is not None
    document = json.loads(json.dumps(status(str(store)), allow_nan=False))
    made = document["runs"]
    assert 8 <= document["counts"]["ok"] == made <= 11
    sampler = document["sampler"]
    assert [proposal["seq"] for proposal in sampler["proposals"]] == list(range(made))
    assert all(proposal["why"] for proposal in sampler["proposals"])
    assert sampler["history"][-1]["width"] == sampler["target"]["width"]
    flops = [step["flops"] for step in sampler["history"]]
    assert flops == sorted(flops)
    before = sorted((store / "proposals").iterdir())
    run(load_sweep("smoke", settings), store, Options(inline=True))  # repeated: nothing is left
    assert sorted((store / "proposals").iterdir()) == before


SETTINGS = "settings={swiglu: {}, gelu: {model.activation: gelu, model.ffn_ratio: 4}}"


def of_settings(point: Point) -> float:
    """Each setting has a law of its own."""
    return law(point) + (0.1 * (point.params / 1e4) ** 0.05 if point.setting == "gelu" else 0.0)


@pytest.mark.parametrize("name", ["isoflop", "random", "tpe"])
def test_every_setting_has_its_own_sampler_and_its_share(name: str) -> None:
    made = planned(name, SETTINGS)
    points = {point.run_id: point for point in made.points}
    assert made.limits is not None
    order, asked = drive(made, loss=of_settings)
    for setting, share in made.limits.shares.items():
        mine = [points[run_id] for run_id in order if points[run_id].setting == setting]
        assert len(mine) <= share.runs == made.limits.runs // 2
        assert 0.6 * share.flops < sum(point.flops for point in mine) <= share.flops * (1 + 1e-9)
    assert "swiglu: " in str(asked.ending)
    assert {asked.record(run_id)["setting"] for run_id in order} == {"swiglu", "gelu"}
    taken: dict[str | None, float] = dict.fromkeys(made.limits.shares, 0.0)
    largest = max(point.flops / made.limits.shares[point.setting].flops for point in made.points)
    for run_id in order[
        : -made.limits.runs // 3
    ]:  # until one may do no more, nobody is ever ahead by more than one run
        point = points[run_id]
        taken[point.setting] += point.flops / made.limits.shares[point.setting].flops
        assert abs(taken["swiglu"] - taken["gelu"]) <= largest * (1 + 1e-9)


def test_a_setting_s_points_are_those_that_it_would_have_alone() -> None:
    """Nothing is learnt of one setting from another; what is under way differs, so one run at a time."""
    alone, _ = drive(planned("isoflop", "sampling.together=1"), loss=of_settings)
    made = planned("isoflop", SETTINGS, "sampling.together=1")
    points = {point.run_id: point for point in made.points}
    both, _ = drive(made, loss=of_settings)
    assert [run_id for run_id in both if points[run_id].setting == "swiglu"] == alone


@pytest.mark.parametrize("name", ["isoflop", "tpe"])
def test_samplers_of_several_settings_are_pure(name: str) -> None:
    made = planned(name, SETTINGS, "sampling={together: 4, synchronous: true, max_runs: 26}")
    undisturbed, _ = drive(made, loss=of_settings)
    points = {point.run_id: point for point in made.points}
    for seed in range(2):
        chance = random.Random(seed)
        killed, _ = drive(made, kill=lambda chance=chance: chance.random() < 0.25, loss=of_settings)  # type: ignore[misc]
        assert killed == undisturbed
    losses = [(run_id, of_settings(points[run_id])) for run_id in undisturbed[:16]]
    sampler, nexts = point_sampler(made), set()
    for seed in range(3):
        random.Random(seed).shuffle(losses)
        chosen = sampler.strategy.choose(Known(losses=dict(losses)))
        assert isinstance(chosen, Choice)
        nexts.add(chosen.run_id)
    assert len(nexts) == 1


def test_status_of_a_sampler_over_settings_tells_them_apart(tmp_path: Path) -> None:
    settings = [
        "sampler=isoflop", SETTINGS, "budgets=[5e8,1e9]", "min_steps=10", "sampling={max_runs: 24, together: 2}",
        "sizes={shapes: [{width: 8}, {width: 12}, {width: 16}, {width: 20}, {width: 24}]}", "trainer=law_trainer:train",
    ]  # fmt: skip
    run(load_sweep("smoke", settings), tmp_path / "store", Options(inline=True))
    sampler = json.loads(json.dumps(status(str(tmp_path / "store")), allow_nan=False))["sampler"]
    assert {proposal["setting"] for proposal in sampler["proposals"]} == {"swiglu", "gelu"}
    assert set(sampler["settings"]) == {"swiglu", "gelu"}
    assert {step["setting"] for step in sampler["history"]} == {"swiglu", "gelu"}
    section = design_section(summarize(tmp_path / "store"))
    assert sum(isinstance(block, Exhibit) and block.name.startswith("target-history-") for block in section.blocks) == 2


TRUNKS = ("schedule={kind: wsd, warmup_steps: 20, trunks: true}", "batch=512")


def test_a_longer_run_costs_what_lies_beyond_its_trunk() -> None:
    made = planned("isoflop", *TRUNKS)
    space, settings = space_of(made), settings_of(made)
    by_trunk: dict[str, list[str]] = {}
    for cell in space.cells:  # the first seed of each cell, which is the run that would be made next
        by_trunk.setdefault(space.branches[cell.runs[0]].trunk, []).append(cell.runs[0])
    short, long = next(
        sorted(runs, key=lambda r: space.branches[r].steps)[:2] for runs in by_trunk.values() if len(runs) > 1
    )
    place, share = space.places[long], 1 - space.branches[short].step / space.branches[long].steps
    assert _Free(space, settings, Known(losses={})).price[place] == space.flops[place]
    assert _Free(space, settings, Known(losses={short: 3.0})).price[place] == pytest.approx(share * space.flops[place])
    paid = _Free(space, settings, Known(losses={short: 3.0, long: 2.9})).flops
    assert paid == pytest.approx(space.flops[space.places[short]] + share * space.flops[place])


def test_a_sampler_over_trunks_makes_runs_worth_more_than_it_may_pay() -> None:
    made = planned("isoflop", *TRUNKS, "sampling={max_flops: 2e13, max_runs: 90}")
    space = space_of(made)
    order, _ = drive(made)
    paid = _Free(space, settings_of(made), Known(losses=dict.fromkeys(order, 3.0))).flops
    assert paid <= 2e13 * (1 + 1e-9)
    assert sum(space.flops[space.places[run_id]] for run_id in order) > 2e13
