"""The ladder: predictions are written before their runs, kept whatever happens, and scored."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from analysis import read_runs
from analysis.ladder import name_of, predict_targets, read_predictions, score_predictions
from analysis.stores import store_rows
from orchestrator import load_sweep, run
from orchestrator.errors import StoreError, SweepError
from orchestrator.execution.inline import InlineLauncher
from orchestrator.execution.task import Outcome, Task
from orchestrator.running import Options
from orchestrator.store import Store
from orchestrator.sweep import Resources, Sweep

TARGET = "ladder={target: {flops: 1e10, seeds: 2, sizes: {shapes: [{width: 16}, {width: 24}, {width: 32}]}}}"


def tiny(*settings: str) -> Sweep:
    """Three budgets to fit and one to predict, trained by a function that knows the law."""
    return load_sweep(
        "smoke",
        [
            "name=ladder", "budgets=[1e9, 2e9, 4e9]", "seeds=2", "min_steps=5", "trainer=law_trainer:train",
            "sizes={shapes: [{width: 4}, {width: 6}, {width: 8}, {width: 12}, {width: 16}, {width: 24}]}", TARGET,
            *settings,
        ],
    )  # fmt: skip


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("ladder") / "store"
    result = run(tiny(), store, Options(inline=True))
    assert result.counts == Counter(ok=42)
    return store


class Interrupted(InlineLauncher):
    """Ends the driver, as a power cut would, once so many attempts were handed over."""

    def __init__(self, after: int) -> None:
        super().__init__(Resources())
        self.left = after

    def submit(self, task: Task) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        super().submit(task)

    def wait(self, seconds: float) -> list[Outcome]:
        return list(super().wait(seconds))


def test_targets_are_predicted_before_the_first_of_them_is_proposed(climbed: Path) -> None:
    store = Store(climbed)
    ((name, document),) = read_predictions(climbed)
    assert name_of(document) == name
    proposals = [store.read(f"proposals/{each}") for each in sorted(store.objects.names("proposals"))]
    targets = {run_id for target in document["targets"] for run_id in target["run_ids"]}
    named = {proposal["run_id"] for proposal in proposals if proposal["based_on"].get("predictions") == name}
    assert named == targets
    first = min(proposal["seq"] for proposal in proposals if proposal["run_id"] in targets)
    assert all(proposal["run_id"] in set(document["fitted"]) for proposal in proposals if proposal["seq"] < first)
    assert len(document["fitted"]) == 36


def test_the_law_is_averaged_over_floors_and_powers(climbed: Path) -> None:
    ((_, document),) = read_predictions(climbed)
    low, high = document["averaged"]["E"]
    assert document["form"] == "gamma"
    assert low < document["coefficients"]["E"] < high
    assert document["averaged"]["autocorrelations"] > 30


def test_a_named_form_predicts_by_its_best_fit(climbed: Path) -> None:
    from analysis import fit_form
    from analysis.ladder import Target

    runs = read_runs(climbed)
    target = Target(params=4000.0, tokens=2e5, flops=1e10, run_ids=("a", "b"))
    document = predict_targets(runs, [target], form="additive")
    assert document["form"] == "additive"
    assert document["coefficients"] == dict(fit_form(runs, "additive").coefficients)
    assert "averaged" not in document


def test_predictions_are_scored_by_the_runs_that_followed(climbed: Path) -> None:
    ((_, document),) = read_predictions(climbed)
    scores, table = score_predictions(document, store_rows(climbed).to_pandas())
    by_method = {score.method: score for score in scores}
    assert len(table) == 3
    assert by_method["law"].mean_absolute < 0.02  # its own form, with noise of .005
    assert by_method["law"].mean_absolute < by_method["power law"].mean_absolute
    for score in scores:
        assert score.interval_score >= 2 * score.half_width
        assert all(factor >= 1 for factor in score.compute)


def test_a_ladder_that_is_cut_off_anywhere_ends_with_the_same_predictions(climbed: Path, tmp_path: Path) -> None:
    ((name, document),) = read_predictions(climbed)
    store = tmp_path / "store"
    for after in (10, 26, 3):  # within the fits, at the first target, within the targets
        with pytest.raises(KeyboardInterrupt):
            run(tiny(), store, Options(launcher=Interrupted(after)))
    assert run(tiny(), store, Options(inline=True)).counts == Counter(ok=42)
    ((again, predicted),) = read_predictions(store)
    assert predicted["targets"] == document["targets"]
    assert again == name


def test_a_prediction_is_not_made_again_from_other_runs(climbed: Path) -> None:
    with pytest.raises(
        StoreError, match=r"predicts 6 runs from 36 others, and the sweep now has 6 targets and 24 runs"
    ):
        run(tiny("budgets=[1e9, 4e9]"), climbed, Options(inline=True, confirm=lambda question: True))


def test_predictions_that_were_changed_do_not_count(climbed: Path) -> None:
    ((_, document),) = read_predictions(climbed)
    document["targets"][0]["predictions"]["law"]["loss"] += 0.1
    place = Store(climbed)
    place.add_predictions("0" * 16, document)
    assert len(read_predictions(climbed)) == 1
    place.objects.delete(f"predictions/{'0' * 16}.json")


def test_intervals_of_the_law_widen_with_the_distance(climbed: Path) -> None:
    from analysis.ladder import Target

    runs = read_runs(climbed)
    near, far = (
        Target(params=4000.0 * factor, tokens=2e5 * factor, flops=1e10 * factor**2, run_ids=("a", "b"))
        for factor in (1.0, 30.0)
    )
    document = predict_targets(runs, [near, far])
    halves = [target["predictions"]["law"]["half_width"] for target in document["targets"]]
    assert halves[0] < halves[1]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("ladder={target: 4e9}", "ladder.target is 4e+09 FLOPs and the largest budget 4e+09; expected more"),
        ("axes={batch: [64, 128]}", "expected two budgets or more, sampler: grid, and no settings or axes"),
        ("sampler=isoflop", "expected two budgets or more, sampler: grid, and no settings or axes"),
        ("budgets=[1e9]", "expected two budgets or more"),
    ],
)
def test_a_target_that_cannot_be_predicted_is_refused(setting: str, said: str) -> None:
    with pytest.raises(SweepError) as caught:
        tiny(setting)
    assert said in str(caught.value)


def test_the_report_says_how_the_predictions_did(climbed: Path, tmp_path: Path) -> None:
    from analysis.report import write_report

    page = write_report(climbed, tmp_path / "report.html").path.read_text()
    ((name, _),) = read_predictions(climbed)
    assert "Predicted, then trained" in page
    assert name in page
    assert "of 3 points lie in their" in page
