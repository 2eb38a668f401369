"""Limits on FLOPs, GPU hours and money: nothing is started that does not fit, and what was not used is free again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cells import HERE as SUPPORT

from analysis import store_rows
from orchestrator import load_sweep, run
from orchestrator.budget import Budget, Spending
from orchestrator.errors import SweepError
from orchestrator.observing import Result
from orchestrator.prices import rate_of
from orchestrator.running import Options
from orchestrator.sweep import Sweep

NOTHING = Spending(flops=0.0, seconds=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tiny")
    shutil.copy(SUPPORT / "tiny.yaml", made)
    (made / "tiny.txt").write_text("".join(f"line {i * i % 9973} of words {i}\n" * 3 for i in range(20_000)))
    return made


def sweep_of(*settings: str) -> Sweep:
    return load_sweep("smoke", settings)


def drive(folder: Path, store: Path, *settings: str) -> Result:
    return run(load_sweep(folder / "tiny.yaml", settings), store, Options(inline=True))


def spent(store: Path) -> float:
    return float(sum(store_rows(store)["flops_spent"].to_pylist()))


def test_runs_under_way_count_before_they_have_spent_anything() -> None:
    budget = Budget(sweep_of("stop.max_flops=10"))
    one = Spending(flops=4.0, seconds=1.0)
    assert budget.refusal(NOTHING, [one], one) is None
    assert "max_flops 10" in str(budget.refusal(NOTHING, [one, one], one))
    assert budget.refusal(one, [one], Spending(flops=2.0, seconds=9e9)) is None


def test_gpu_hours_and_money_follow_from_worker_time() -> None:
    sweep = sweep_of("resources={cpus: 2, gpus: 0.5}", "cost={per_gpu_hour: 3, per_cpu_hour: 0.25, watts_per_gpu: 700}")
    rate = rate_of(sweep)
    assert rate.gpu_hours(7200) == 1.0
    assert rate.money(7200) == pytest.approx(2 * (0.5 * 3 + 2 * 0.25))
    assert rate.kilowatt_hours(7200) == pytest.approx(0.7)
    assert rate.text(7200) == "4.00 USD, 0.7 kWh (estimates)"
    limited = sweep.model_copy(update={"stop": sweep.stop.model_copy(update={"max_gpu_hours": 1.0})})
    assert "max_gpu_hours 1 " in str(Budget(limited).refusal(NOTHING, (), Spending(flops=0.0, seconds=7201.0)))
    limited = sweep.model_copy(update={"stop": sweep.stop.model_copy(update={"max_cost": 4.0})})
    assert Budget(limited).refusal(NOTHING, (), Spending(flops=0.0, seconds=7200.0)) is None
    assert "max_cost 4 " in str(Budget(limited).refusal(NOTHING, (), Spending(flops=0.0, seconds=7201.0)))


def test_without_prices_nothing_is_claimed() -> None:
    rate = rate_of(sweep_of())
    assert (rate.money(3600), rate.kilowatt_hours(3600), rate.text(3600)) == (None, None, "")


@pytest.mark.parametrize(
    ("setting", "said"),
    [("stop.max_gpu_hours=1", "runs use no GPU"), ("stop.max_cost=1", "has no price")],
)
def test_a_limit_that_nothing_counts_towards_is_refused(setting: str, said: str) -> None:
    with pytest.raises(SweepError, match=said):
        sweep_of(setting)


def test_what_does_not_fit_any_more_is_not_started(folder: Path, tmp_path: Path) -> None:
    result = drive(folder, tmp_path / "s", "stop.max_flops=5.1e8")
    assert "stop.max_flops 5.1e+08 is reached" in str(result.stopped)
    assert not result.interrupted
    assert 4e8 < spent(tmp_path / "s") <= 5.1e8


def test_a_run_that_failed_gives_back_what_it_did_not_use(folder: Path, tmp_path: Path) -> None:
    """Each of the runs would use up the limit; as they fail before their first step, one after the other is started."""
    result = drive(folder, tmp_path / "s", "stop.max_flops=2.1e8", "trainer=tiny_trainer:fail")
    assert "3 runs failed with the same error" in str(result.stopped)
    assert spent(tmp_path / "s") == 0.0


def test_a_sweep_stops_at_its_money_and_goes_on_with_more(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    prices = "cost={per_cpu_hour: 1e9}"
    first = drive(folder, store, prices, "stop.max_cost=1e-3")
    assert "stop.max_cost 0.001 is reached" in str(first.stopped)
    assert first.counts["ok"] < 6
    assert drive(folder, store, prices).counts == {"ok": 6}
