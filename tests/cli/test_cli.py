"""The command line as a stranger meets it: what it prints, and what it exits with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def isoflop(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    import os

    command = [sys.executable, "-c", "from orchestrator.cli import main; main()", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **(env or {})}, check=False
    )


def test_status_tells_progress_to_people_and_programs(small_store: Path, tmp_path: Path) -> None:
    shown = isoflop("status", str(small_store), cwd=tmp_path)
    assert shown.returncode == 0
    assert "8 runs: 8 ok" in shown.stdout
    document = json.loads(isoflop("status", str(small_store), "--json", cwd=tmp_path).stdout)
    assert document["counts"]["ok"] == 8
    assert document["flops_spent"] == pytest.approx(document["flops_planned"])


def test_query_prints_rows_in_every_format(small_store: Path, tmp_path: Path) -> None:
    sql = "select budget, count(*) n from runs group by 1 order by 1"
    rows = json.loads(isoflop("query", str(small_store), sql, "--json", cwd=tmp_path).stdout)
    assert rows == [{"budget": 1e9, "n": 4}, {"budget": 3e9, "n": 4}]
    assert isoflop("query", str(small_store), sql, "--format", "csv", cwd=tmp_path).stdout.startswith('"budget","n"')
    assert "budget" in isoflop("query", str(small_store), sql, cwd=tmp_path).stdout
    assert "expected one of" in isoflop("query", str(small_store), sql, "--format", "xml", cwd=tmp_path).stderr


@pytest.mark.parametrize(
    "sql", ["copy runs to 'x'", "select * from read_csv('README.md')", "attach 'x.db'", "select 1; drop table runs"]
)
def test_a_query_only_reads_and_only_the_store(sql: str, small_store: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("a,b\n1,2\n")
    done = isoflop("query", str(small_store), sql, cwd=tmp_path)
    assert done.returncode == 1
    assert "expected one SELECT over runs" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_runs_of_others_are_imported_fitted_and_queried(tmp_path: Path) -> None:
    rows = [f"{n},{c / (6 * n)},{c},{3 - 0.1 * c / 1e18 + 0.01 * i * i}" for c in (1e18, 2e18, 3e18)
            for i, n in enumerate((1e7, 2e7, 4e7, 8e7, 16e7), -2)]  # fmt: skip
    (tmp_path / "theirs.csv").write_text("\n".join(["Model Size,D,C,eval", *rows]))
    mapped = ["--map", "params=Model Size,loss=eval,budget=C", "--convention", "total"]
    done = isoflop("import", "theirs.csv", "--store", "s", *mapped, cwd=tmp_path)
    assert done.stdout == "15 runs added, 0 were there before\n", done.stderr
    assert "0 runs added, 15 were" in isoflop("import", "theirs.csv", "--store", "s", *mapped, cwd=tmp_path).stdout
    fitted = json.loads(isoflop("fit", "s", "--method", "isoflop", "--json", cwd=tmp_path).stdout)
    assert fitted["n"] == 15
    counted = isoflop("query", "s", "select distinct params_convention as it from runs", "--json", cwd=tmp_path).stdout
    assert json.loads(counted) == [{"it": "total"}]


def test_a_wide_row_is_shown_one_value_a_line(small_store: Path, tmp_path: Path) -> None:
    shown = isoflop("query", str(small_store), "select * from runs limit 1", cwd=tmp_path).stdout
    assert any(line.startswith("loss ") for line in shown.splitlines())


def test_plan_prints_every_point_and_spends_nothing(tmp_path: Path) -> None:
    shown = isoflop("plan", "smoke", cwd=tmp_path)
    assert "total 8 runs" in shown.stdout
    assert list(tmp_path.iterdir()) == []
    document = json.loads(isoflop("plan", "smoke", "--json", cwd=tmp_path).stdout)
    assert len(document["points"]) == 8
    assert document["dropped"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "smoek"], 'Did you mean "smoke"'),
        (["plan", "smoke", "--set", "budgts=[1e9]"], 'Did you mean "budgets"'),
        (["run", "smoke", "--inline", "--set", "budgets=[1e3]"], "buys 0 steps"),
        (["run", "smoke", "--inline", "--set", "resources.gpus=1"], "Set resources.gpus: 0"),
        (["run", "smoke", "--set", "budgets=[1e18]", "--set", "data.allow_epochs=1e12"], "days"),
        (["run", "smoke", "--tracker", "mlflow=here"], "expected tensorboard=FOLDER or wandb=PROJECT"),
        (["run", "smoke", "--set", "stop.max_cost=3"], "has no price"),
        (["import", "nowhere.csv", "--store", "runs/s"], "nowhere.csv does not exist"),
        (["export", "nowhere"], "expected --optuna or --tracker"),
        (["export", "nowhere", "--optuna", "sqlite:///s.db"], "not a store"),
        (["status", "nowhere"], "not a store"),
        (["fit", "nowhere.csv"], "nowhere.csv"),
        (["allocate", "--flops", "-1"], "positive"),
        (["allocate", "--law", "nobody", "--flops", "1e21"], "unknown"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_1(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = isoflop(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["trainer.py", "analysis/__init__.py"])
def test_a_module_that_hides_ours_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("raise RuntimeError('never imported')\n")
    done = isoflop("run", "smoke", cwd=tmp_path, env={"PYTHONPATH": ""})
    assert done.returncode == 1
    assert "hides isoflop's own package" in done.stderr
    assert "Rename" in done.stderr


def test_a_closed_pipe_is_no_traceback(small_store: Path, tmp_path: Path) -> None:
    verb = f"{sys.executable} -c 'from orchestrator.cli import main; main()' query {small_store}"
    done = subprocess.run(
        ["bash", "-c", f"{verb} 'select * from curves' | head -1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_full_is_one_message(small_store: Path, tmp_path: Path) -> None:
    verb = [sys.executable, "-c", "from orchestrator.cli import main; main()"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*verb, "query", small_store, "select * from curves", "--format", "csv"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            check=False,
        )
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert "the disk is full" in done.stderr
    assert len(done.stderr.splitlines()) == 1
