"""What `run` shows while it runs, at moments made from a real store."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator import corpora
from orchestrator.cli import live
from orchestrator.cost import CostModel
from orchestrator.forecast import Forecast
from orchestrator.ledger import Ledger
from orchestrator.minima import curve_minima, minimum_text
from orchestrator.observing import Snapshot
from orchestrator.planning import plan
from orchestrator.store import Store
from orchestrator.store.contents import read_contents
from orchestrator.sweep.file import load_sweep

MODEL = CostModel(step_seconds=1e-3, token_seconds=1e-6, flops_per_second=8e10)


def moment(folder: Path, *settings: str, stopping: str | None = None) -> Snapshot:
    store = Store(folder)
    sweep = load_sweep("smoke", settings)
    corpus = corpora.known(sweep.data, store)
    assert corpus is not None
    made = plan(sweep, corpus, MODEL)
    ledger = Ledger(read_contents(store))
    known = [*ledger.losses(), *ledger.open_runs()]
    return Snapshot(
        plan=made,
        ledger=ledger,
        spent_flops=ledger.flops_spent,
        prediction=Forecast(made, ended=ledger.losses(), proposed=known).predict(MODEL),
        elapsed_seconds=61,
        slots=2,
        last="3e+09 x 13,568  loss 2.504  0.7 s",
        stopping=stopping,
        retries=Counter(lost=1),
    )


def shown(snapshot: Snapshot, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(live.render(snapshot, "isoflop run smoke", curve_minima(snapshot.ledger.table())))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def without(store: Path, tmp_path: Path, lost: Sequence[int]) -> Path:
    """A copy of a store from which some commits are missing."""
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    shutil.rmtree(copy / "tables")
    commits = sorted((copy / "commits").iterdir())
    for number in lost:
        commits[number].unlink()
    return copy


def test_a_curve_shows_its_minimum_as_soon_as_it_has_one(small_store: Path) -> None:
    lines = shown(moment(small_store))
    assert lines[0].split() == [
        "budget",
        "done",
        "running",
        "failed",
        "best",
        "N",
        "best",
        "loss",
        "N*",
        "±",
        "s.e.",
        "to",
        "go",
    ]
    assert [line.split()[:2] for line in lines[1:3]] == [["3e+09", "4/4"], ["1e+09", "4/4"]]
    assert all(" ± " in line for line in lines[1:3])
    assert lines[3].startswith("total 8/8   1:01 elapsed   about 0:00 to go   spent 1.6e+10 of 1.6e+10 FLOPs")
    assert lines[4].endswith("retries: 1 lost")
    assert max(map(len, lines)) <= 80


def test_an_unfinished_curve_says_what_is_missing_and_how_long_it_takes(small_store: Path, tmp_path: Path) -> None:
    lines = shown(moment(without(small_store, tmp_path, range(6))))
    assert any("needs 3 sizes" in line for line in lines)
    assert lines[3].startswith("total 2/8")
    assert any(line.split()[-1].startswith("0:0") for line in lines[1:3])


def test_prices_are_shown_as_estimates(small_store: Path) -> None:
    lines = shown(moment(small_store, "cost={per_cpu_hour: 900, currency: EUR}"))
    line = next(line for line in lines if line.startswith("cost so far"))
    assert "EUR (estimate)" in line
    assert not any("cost" in line for line in shown(moment(small_store)))


def test_a_sampler_shows_its_limits_and_what_it_has_proposed(small_store: Path) -> None:
    lines = shown(moment(small_store, "sampler=isoflop", "sampling={max_runs: 20, max_flops: 4e10}"), 100)
    total = next(line for line in lines if line.startswith("total"))
    assert total.startswith("total 8 of at most 20")
    assert "of at most 4e+10 FLOPs" in total


def test_runs_of_an_older_sweep_file_are_not_counted(small_store: Path) -> None:
    lines = shown(moment(small_store, "sizes={shapes: [{width: 8}, {width: 16}]}"))
    assert [line.split()[1] for line in lines[1:3]] == ["2/2", "2/2"]


def test_stopping_says_how_to_go_on(small_store: Path) -> None:
    assert shown(moment(small_store, stopping="interrupted"))[-1] == (
        "interrupted: finishing checkpoints; 8 of 8 done. Resume with: isoflop run smoke"
    )


def test_without_a_terminal_each_run_is_a_line(small_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = live.observer("smoke", "isoflop run smoke")
    snapshot = moment(small_store)
    row: dict[str, Any] = next(iter(snapshot.ledger.rows()))
    with lines:
        lines.update(snapshot)
        lines.finished(row)
    assert capsys.readouterr().out.startswith(f"[  9/8]   {row['budget']:.0e} x ")


@pytest.mark.parametrize(
    ("minimum", "complete", "text"),
    [
        (None, False, "needs 3 sizes"),
        ({"status": "edge", "params": None, "log_se": None}, False, "needs both sides"),
        ({"status": "edge", "params": None, "log_se": None}, True, "at an edge"),
        ({"status": "no_minimum", "params": None, "log_se": None}, True, "bends down"),
        ({"status": "inside", "params": 14_500.0, "log_se": 0.283}, True, "14.5k ± 4.1k"),
        ({"status": "inside", "params": 14_500.0, "log_se": None}, True, "14.5k ± ?"),
        ({"status": "inside", "params": 14_500.0, "log_se": 3.0}, True, "not identified"),
    ],
)
def test_minima_in_words(minimum: dict[str, Any] | None, complete: bool, text: str) -> None:
    assert minimum_text(minimum, complete=complete) == text
