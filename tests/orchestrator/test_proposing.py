"""The proposer of a planned grid: every point once, in the plan's order, whatever is known already."""

from __future__ import annotations

from pathlib import Path

import optuna

from orchestrator import cost
from orchestrator.planning import Corpus, Plan, plan
from orchestrator.proposing import Proposer
from orchestrator.sweep.file import load_sweep

COST = cost.first_guess()
CORPUS = Corpus(hash="c" * 64, train_tokens=10_000_000, exact=True)


def planned() -> Plan:
    return plan(load_sweep("quickstart"), CORPUS, COST)


def ask_all(proposer: Proposer) -> list[str]:
    runs = []
    while (point := proposer.ask()) is not None:
        runs.append(point.run_id)
    return runs


def test_the_proposer_hands_out_the_grid_in_the_plan_s_order() -> None:
    made = planned()
    proposer = Proposer(made, losses={}, proposed=[])
    assert proposer.left == len(made.points)
    assert ask_all(proposer) == [point.run_id for point in made.points]
    assert proposer.left == 0
    assert "grid" in str(proposer.ending)
    assert proposer.record(made.points[0].run_id) == {"why": "the planned grid"}


def test_the_proposer_asks_neither_for_committed_nor_for_proposed_runs() -> None:
    made = planned()
    runs = [point.run_id for point in made.points]
    proposer = Proposer(made, losses={runs[3]: 2.0, runs[5]: None, "imported": 1.0}, proposed=[runs[0], runs[7]])
    assert ask_all(proposer) == [run for index, run in enumerate(runs) if index not in (0, 3, 5, 7)]


def test_the_proposer_takes_every_kind_of_result() -> None:
    made = planned()
    runs = [point.run_id for point in made.points]
    proposer = Proposer(made, losses={}, proposed=[runs[0]])
    asked = ask_all(proposer)
    proposer.tell(asked[0], 2.5)
    proposer.tell(asked[1], None)
    proposer.fail(asked[2], "oom")
    proposer.tell(runs[0], 2.0)  # proposed by an earlier driver
    proposer.tell("of another sweep", 2.0)


def test_a_grid_s_study_holds_every_result_whenever_it_came(tmp_path: Path) -> None:
    made = planned()
    runs = [point.run_id for point in made.points]
    proposer = Proposer(made, losses={runs[3]: 2.0, "imported": 1.0}, proposed=[runs[0]])
    proposer.tell(runs[0], 2.5)
    proposer.fail(runs[1], "oom")
    storage = f"sqlite:///{tmp_path}/study.db"
    assert proposer.export(storage, "grid") == 3
    trials = optuna.load_study(storage=storage, study_name="grid").trials
    assert sorted(trial.value for trial in trials if trial.value is not None) == [2.0, 2.5]
    assert [trial.state.name for trial in trials].count("FAIL") == 1
