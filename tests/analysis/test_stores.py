"""A store's tables are right at any moment: compacted, not compacted, or half way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import SourceError, read_runs, store_curves, store_rows
from analysis.runs import RUNS_SCHEMA
from analysis.stores import FIRST_LOOK, scan_curves, scan_runs


def statuses(root: Path) -> dict[int, str]:
    table = store_rows(root)
    return dict(zip(table["seq"].to_pylist(), table["status"].to_pylist(), strict=True))


def test_objects_alone_give_the_table_in_order_of_proposals(store: Any) -> None:
    for seq in (11, 2, 0):
        store.run(seq)
    store.run(5, committed=False)
    store.run(6, committed=False, failures=2)
    assert statuses(store.root) == {0: "ok", 2: "ok", 5: "pending", 6: "lost", 11: "ok"}
    table = store_rows(store.root)
    assert table.schema.equals(RUNS_SCHEMA)
    assert table["seq"].to_pylist() == [0, 2, 5, 6, 11]


def test_tail_and_table_together_equal_the_objects(tmp_path: Path, store_at: Any) -> None:
    whole, partly = tmp_path / "whole", tmp_path / "partly"
    for root in (whole, partly):
        for seq in range(6):
            store_at(root).run(seq)
    store_at(partly).compact(committed=range(3), pending=[3], running=[4])
    assert store_rows(partly).equals(store_rows(whole))
    columns = ["run_id", "tokens"]
    order = [(name, "ascending") for name in columns]
    assert store_curves(partly).sort_by(order).equals(store_curves(whole).sort_by(order))


def test_compacted_store_opens_no_object(store: Any) -> None:
    for seq in range(5):
        store.run(seq)
    store.compact(committed=range(5))
    for path in [*store.root.glob("proposals/*.json"), *store.root.glob("commits/*.json")]:
        path.write_text("torn")
    assert scan_runs(store.root).unreadable == ()
    assert scan_curves(store.root).unreadable == ()
    assert len(store_rows(store.root)) == 5


def test_running_ends_with_the_attempt_that_the_table_does_not_know(store: Any) -> None:
    store.run(0, committed=False)
    store.compact(committed=[], running=[0])
    assert statuses(store.root) == {0: "running"}
    store.run(0, committed=False, failures=1)
    assert statuses(store.root) == {0: "lost"}
    store.run(0, failures=1)
    row = store_rows(store.root).to_pylist()[0]
    assert (row["status"], row["attempts"], row["flops_spent"]) == ("ok", 2, 1.5e10)


def test_unreadable_objects_are_named_and_cost_their_own_run_alone(store: Any) -> None:
    for seq in range(4):
        store.run(seq)
    (store.root / f"commits/{1:016x}.json").write_text('{"row": {"loss": 2')
    (store.root / "proposals/00000002.json").write_text("[]")
    store.commit(3, loss="two")
    scan = scan_runs(store.root)
    found = {row["run_id"]: row["status"] for row in scan.table.to_pylist()}
    assert found == {f"{0:016x}": "ok", f"{1:016x}": "pending", f"{2:016x}": "ok", f"{3:016x}": "pending"}
    assert set(scan.unreadable) == {f"commits/{1:016x}.json", "proposals/00000002.json", f"commits/{3:016x}.json"}


def test_commit_without_proposal_is_shown(store: Any) -> None:
    store.commit(7, params=5000)
    assert store_rows(store.root).to_pylist()[0]["params"] == 5000


def test_temporary_files_are_not_objects(store: Any) -> None:
    store.run(0)
    (store.root / "commits/.tmp-1f").write_text("{")
    (store.root / "proposals/00000001.json.part").write_text("{")
    assert scan_runs(store.root).unreadable == ()


def test_older_tables_get_null_columns_and_newer_ones_are_refused(store: Any) -> None:
    store.compact(committed=[0])
    path = store.root / "tables/runs/runs.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["finished_at"]), path)
    assert store_rows(store.root)["finished_at"].to_pylist() == [None]
    pq.write_table(table.replace_schema_metadata({"isoflop_schema": "99"}), path)
    with pytest.raises(SourceError, match="version 99; this isoflop reads up to"):
        store_rows(store.root)


def test_a_torn_table_is_read_from_the_objects_and_named(store: Any) -> None:
    for seq in range(3):
        store.run(seq)
    store.compact(committed=range(3))
    whole = store_rows(store.root)
    (store.root / "tables/runs/runs.parquet").write_bytes(b"PAR1 torn")
    read = scan_runs(store.root)
    assert read.table.equals(whole)
    assert read.unreadable == ("tables/runs/runs.parquet",)
    (store.root / "tables/curves").mkdir(exist_ok=True)
    (store.root / "tables/curves/9.parquet").write_bytes(b"PAR1 torn")
    assert scan_curves(store.root).unreadable == ("tables/curves/9.parquet",)


def test_torn_table_without_objects_and_no_store_are_said(store: Any) -> None:
    with pytest.raises(SourceError, match="not a store"):
        store_rows(store.root / "nowhere")
    (store.root / "tables/runs").mkdir(parents=True)
    (store.root / "tables/runs/runs.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(SourceError, match=r"not Parquet .*, and no commits say what it held"):
        store_rows(store.root)


def test_table_on_disk_is_what_a_plain_reader_sees(store: Any) -> None:
    store.compact(committed=range(3))
    assert pa.parquet.read_table(store.root / "tables/runs").num_rows == 3


def test_read_runs_takes_a_store_with_its_tail(store: Any) -> None:
    for seq in range(4):
        store.run(seq)
    store.run(4, status="diverged", loss=None)
    store.run(5, committed=False)
    store.compact(committed=range(2))
    runs = read_runs(store.root)
    assert len(runs) == 4
    assert {d.reason for d in runs.dropped} == {"status diverged", "status pending"}


def test_proposals_keep_what_was_known_before_the_run(store: Any) -> None:
    store.propose(0, width=64, family="gpt")
    row = store_rows(store.root).to_pylist()[0]
    assert (row["width"], row["family"], row["loss"]) == (64, "gpt", None)


@pytest.mark.parametrize(("wanted", "first_look"), [(0.3, FIRST_LOOK), (None, None)])
def test_a_sweep_that_watches_its_interval_is_known(store: Any, wanted: float | None, first_look: int | None) -> None:
    store.run(0)
    assert read_runs(store.root).first_look is None
    for number, target in enumerate((None, wanted)):
        store.put(f"sweeps/{number:06d}.json", {"format": 1, "sweep": {"stop": {"target_interval": target}}})
    assert read_runs(store.root).first_look == first_look


def test_the_samplers_first_look_is_the_one_assumed() -> None:
    from orchestrator.proposing.settings import LEAST_RUNS

    assert LEAST_RUNS == FIRST_LOOK
