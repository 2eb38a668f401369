"""SQL over a store: what it answers, and what it must not do."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import QueryError, StoreError
from orchestrator.query import Limits, query


def test_a_query_answers_over_runs_and_curves(small_store: Path) -> None:
    best = query(str(small_store), "select budget, min(loss) loss from runs where status = 'ok' group by 1 order by 1")
    assert best["budget"].to_pylist() == [1e9, 3e9]
    joined = query(str(small_store), "select count(*) n from curves join runs using (run_id)")
    assert joined["n"].to_pylist()[0] > 6


@pytest.mark.parametrize(
    "sql",
    [
        "copy runs to 'x'",
        "select 1; select 2",
        "create table x as select * from runs",
        "attach 'x.db'",
        "install httpfs",
        "set threads=1",
        "",
    ],
)
def test_only_one_select_is_run(small_store: Path, sql: str) -> None:
    with pytest.raises(QueryError, match="expected one SELECT"):
        query(str(small_store), sql)


@pytest.mark.parametrize(
    "source", ["read_csv('{file}')", "'{file}'", "glob('/*')", "read_text('{file}')", "read_parquet('{file}')"]
)
def test_no_file_can_be_read(small_store: Path, tmp_path: Path, source: str) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("secret\n1\n")
    with pytest.raises(QueryError, match="expected one SELECT over runs, curves and evaluations"):
        query(str(small_store), f"select * from {source.format(file=file)}")


def test_the_spill_folder_of_the_working_folder_is_closed_too(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".tmp").mkdir()
    (tmp_path / ".tmp/secret.txt").write_text("secret")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QueryError, match="disabled"):
        query(str(small_store), "select * from read_text('.tmp/secret.txt')")


def test_settings_and_logs_cannot_be_changed_by_a_select(small_store: Path, tmp_path: Path) -> None:
    for function in ("enable_logging(storage='file', storage_path='{}')", "enable_profiling(save_location='{}')"):
        with pytest.raises(QueryError):
            query(str(small_store), f"select * from {function.format(tmp_path / 'out')}")
    assert list(tmp_path.iterdir()) == []


def test_limits_on_rows_and_memory_hold(small_store: Path) -> None:
    limits = Limits(rows=3, memory_bytes=64 * 2**20)
    assert len(query(str(small_store), "select * from runs order by params", limits=limits)) == 3
    with pytest.raises(QueryError, match="Out of Memory"):
        query(str(small_store), "select string_agg(repeat('a', 1000000)) from range(1000)", limits=limits)


def test_a_column_that_is_not_there_is_named(small_store: Path) -> None:
    with pytest.raises(QueryError, match="nope"):
        query(str(small_store), "select nope from runs")


def test_a_folder_that_is_no_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a store"):
        query(str(tmp_path), "select 1")
