"""Runs of others in a store: tables, W&B's exports and folders, nanochat's results; conventions that differ are refused."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from analysis import fit_isoflop, read_runs, store_rows
from analysis.errors import AnalysisError
from orchestrator.errors import SweepError
from orchestrator.foreign.wandb import _frames
from orchestrator.importing import import_runs
from orchestrator.query import query
from orchestrator.status import status

BUDGETS = (1e18, 2.15e18, 4.64e18)


def points() -> pd.DataFrame:
    """Three exact IsoFLOP curves: N* = 4e7 (C / 1e18)^.5."""
    rows = []
    for budget in BUDGETS:
        best = 4e7 * math.sqrt(budget / 1e18)
        for params in np.rint(best * np.geomspace(0.3, 3.3, 7)).astype(int):
            loss = 3.0 - 0.1 * math.log10(budget / 1e18) + 0.05 * math.log(params / best) ** 2
            rows.append({"N": int(params), "D": round(budget / (6 * params)), "C": budget, "final": loss})
    return pd.DataFrame(rows)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    points().to_csv(tmp_path / "theirs.csv", index=False)
    return tmp_path / "theirs.csv"


def test_a_table_becomes_runs_that_can_be_fitted_and_queried(table: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    done = import_runs(str(table), str(store), columns={"loss": "final", "budget": "C"}, convention="total")
    assert len(done.added) == 21
    rows = store_rows(store).to_pandas()
    assert set(rows["numerics"]) == {"foreign: table"}
    assert set(rows["sweep"]) == {"theirs"}
    assert set(rows["params_convention"]) == {"total"}
    assert set(rows["curve"]) == {0, 1, 2}
    assert (rows["flops_spent"] == 0).all()
    assert fit_isoflop(read_runs(store)).exponents["a"] == pytest.approx(0.5, abs=0.01)
    assert query(str(store), "select count(*) n from runs")["n"].to_pylist() == [21]
    assert len(pd.read_parquet(store / "tables/runs")) == 21


def test_commits_say_where_they_are_from_and_are_written_once(table: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    import_runs(str(table), str(store), columns={"loss": "final"})
    commits = sorted((store / "commits").iterdir())
    before = [path.read_bytes() for path in commits]
    document = json.loads(before[0])
    assert document["foreign"]["kind"] == "table"
    assert document["imported_from"] == str(table)
    assert document["spec"] is None
    again = import_runs(str(table), str(store), columns={"loss": "final"})
    assert (again.added, again.known) == ((), 21)
    frame = pd.read_csv(table).assign(final=lambda rows: rows["final"] + 1)
    frame.to_csv(table, index=False)
    third = import_runs(str(table), str(store), columns={"loss": "final"})
    assert (third.added, len(third.contradicting)) == ((), 21)
    assert [path.read_bytes() for path in commits] == before


def test_other_conventions_than_the_stores_are_refused(table: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    import_runs(str(table), store, columns={"loss": "final"}, convention="total")
    other = tmp_path / "other.csv"
    (points() * 2).to_csv(other, index=False)
    with pytest.raises(SweepError, match=r"params_convention total, these have blocks; .* isoflop compare"):
        import_runs(str(other), store, columns={"loss": "final"}, convention="blocks")
    with pytest.raises(SweepError, match="these have not stated"):
        import_runs(str(other), store, columns={"loss": "final"})
    assert len(store_rows(store)) == 21


def test_conventions_mixed_within_a_table_are_refused(tmp_path: Path) -> None:
    frame = points().assign(params_convention=["blocks", "total", "blocks"] * 7)
    frame.to_csv(tmp_path / "mixed.csv", index=False)
    with pytest.raises(AnalysisError, match="count parameters in two ways"):
        import_runs(str(tmp_path / "mixed.csv"), str(tmp_path / "store"), columns={"loss": "final"})
    assert not (tmp_path / "store").exists()


def test_a_missing_column_names_the_file_and_the_map(table: Path, tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match=r"theirs.csv has no column for loss; it has .* --map"):
        import_runs(str(table), str(tmp_path / "store"))


def nanochat_rows(*, parts: bool) -> pd.DataFrame:
    """As its results.csv has been: with one count of parameters, or with its parts."""
    theirs = points()
    counts = {"num_params": theirs["N"] * 2, "num_scaling_params": theirs["N"]}
    if parts:
        head = theirs["N"] // 4
        counts = {
            "params_wte": head, "params_value_embeds": head, "params_lm_head": head,
            "params_transformer": theirs["N"] - head, "params_scalars": 40, "params_total": theirs["N"] * 2,
        }  # fmt: skip
    return pd.DataFrame(
        {
            "flops_budget": theirs["C"], "depth": range(8, 29), "model_dim": 512, **counts, "num_iterations": 1000,
            "tokens_trained": theirs["D"] * 9 // 10, "val_bpb": theirs["final"] / 3, "core_score": 0.1, "train_time_sec": 60.0,
        }
    )  # fmt: skip


@pytest.mark.parametrize("parts", [False, True])
def test_nanochats_results(parts: bool, tmp_path: Path) -> None:
    nanochat_rows(parts=parts).to_csv(tmp_path / "results.csv", index=False)
    done = import_runs(str(tmp_path / "results.csv"), str(tmp_path / "store"), sweep="jan26")
    assert len(done.added) == 21
    assert any("nats per byte" in note for note in done.notes)
    rows = store_rows(tmp_path / "store").to_pandas().sort_values("layers")
    assert set(rows["params_convention"]) == {"blocks+head"}
    assert set(rows["flops_rule"]) == {"nanochat"}
    assert rows["params"].tolist() == points()["N"].tolist()
    assert rows["loss"].tolist() == pytest.approx((points()["final"] / 3 * math.log(2)).tolist())
    assert rows["bpb"].tolist() == pytest.approx((points()["final"] / 3).tolist())
    assert fit_isoflop(read_runs(tmp_path / "store")).exponents["a"] == pytest.approx(0.5, abs=0.01)


def test_nanochats_logs(tmp_path: Path) -> None:
    for i, row in enumerate(points().to_dict("records")):
        folder = tmp_path / "experiment" / f"flops{row['C']:g}_d{i}"
        folder.mkdir(parents=True)
        body = int(row["N"]) - 1000
        lines = [
            "summary of the plan: train it",
            f"params wte=900 value_embeds=900 lm_head=1000 transformer_matrices={body} scalars=4 total={body + 2804}",
            "step 00010/01000 (1.00%) | loss: 9.1",
            f"summary model_tag=x depth={i + 1} model_dim=64 num_params={body + 2804} num_scaling_params={row['N']} "
            f"num_iterations=10 total_batch_size=524288 tokens_trained={row['D']} train_time_sec=3.5 "
            f"target_flops={row['C']} val_bpb={row['final'] / 3:.6f} gpu='NVIDIA H100 80GB HBM3'",
        ]
        (folder / "base_train.log").write_text("\n".join(lines[: 3 if i == 20 else 4]))
    done = import_runs(str(tmp_path / "experiment"), str(tmp_path / "store"))
    assert len(done.added) == 20
    assert any("1 logs have no summary" in note for note in done.notes)
    rows = store_rows(tmp_path / "store").to_pandas()
    assert sorted(rows["params"]) == sorted(points()["N"][:20])
    assert set(rows["batch_tokens"]) == {524288}
    assert (rows["params_body"] + rows["params_head"] == rows["params"]).all()


def test_wandbs_folders(tmp_path: Path) -> None:
    for i, row in enumerate(points().to_dict("records")):
        files = tmp_path / f"wandb/run-20260101_00000{i}-id{i:04d}/files"
        files.mkdir(parents=True)
        config = {
            "wandb_version": 1,
            "model": {"desc": None, "value": {"params": int(row["N"])}},
            "_wandb": {"value": {}},
        }
        (files / "config.yaml").write_text(yaml.safe_dump(config))
        summary = {"tokens": int(row["D"]), "eval": {"loss": row["final"]}, "_step": 3, "_runtime": 2.0}
        (files / "wandb-summary.json").write_text(json.dumps(summary))
    columns = {"params": "model.params", "loss": "eval.loss"}
    done = import_runs(str(tmp_path), str(tmp_path / "store"), columns=columns)
    assert len(done.added) == 21
    assert set(store_rows(tmp_path / "store")["flops_rule"].to_pylist()) == {"6nd"}
    assert import_runs(str(tmp_path / "wandb"), str(tmp_path / "store"), columns=columns).known == 21


def test_wandbs_exported_table(tmp_path: Path) -> None:
    frame = points().assign(Name=[f"run {i}" for i in range(21)], State="finished", Runtime=5)
    frame.loc[3, "State"] = "crashed"
    frame.to_csv(tmp_path / "export.csv", index=False)
    done = import_runs(str(tmp_path / "export.csv"), str(tmp_path / "store"), columns={"loss": "final"})
    assert len(done.added) == 20
    assert done.notes == ("1 rows left out: status error",)


def log_of(records: list[bytes]) -> bytes:
    """Records as the client's binary log frames them: 32 KiB blocks, longer records in parts."""
    data = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
    for record in records:
        first = True
        while True:
            room = 32768 - len(data) % 32768
            if room < 7:
                data += bytes(room)
                continue
            part, record = record[: room - 7], record[room - 7 :]
            kind = (1 if not record else 2) if first else (4 if not record else 3)
            data += struct.pack("<IHB", 0, len(part), kind) + part
            first = False
            if not record:
                break
    return data


def test_the_binary_log_of_wandb_is_read_up_to_where_it_was_cut_off() -> None:
    records = [b"a" * 10, b"b" * 32700, b"c" * 100_000, b"d" * 5]
    data = log_of(records)
    assert list(_frames(data)) == records
    assert list(_frames(data[:-2])) == records[:3]
    assert list(_frames(data[:50_000])) == records[:2]


def test_an_offline_run_of_a_new_client_is_read_by_the_client(tmp_path: Path) -> None:
    protocol = pytest.importorskip("wandb.proto.wandb_internal_pb2", reason="needs the wandb package")
    for i, row in enumerate(points().to_dict("records")):
        run = protocol.Record()
        run.run.config.update.add(key="params", value_json=str(int(row["N"])))
        history = protocol.Record()
        history.history.item.add(key="tokens", value_json=str(int(row["D"])))
        summary = protocol.Record()
        summary.summary.update.add(key="loss", value_json=str(row["final"]))
        folder = tmp_path / f"wandb/offline-run-20260101_000000-id{i:04d}"
        folder.mkdir(parents=True)
        written = log_of([record.SerializeToString() for record in (run, history, summary)])
        (folder / f"run-id{i:04d}.wandb").write_bytes(written)
    assert len(import_runs(str(tmp_path / "wandb"), str(tmp_path / "store")).added) == 21


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nanochat", "expected those of nanochat"),
        ("wandb", "expected those of wandb"),
        ("excel", "--from excel: not known"),
    ],
)
def test_a_source_of_another_kind_is_refused(kind: str, said: str, table: Path, tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=said):
        import_runs(str(table), str(tmp_path / "store"), kind=kind)


def test_published_runs_give_the_fit_that_they_give_as_a_file(shared_data: Path, tmp_path: Path) -> None:
    source, columns = (
        shared_data / "cs336_isoflops.json",
        {"params": "parameters", "budget": "compute_budget", "loss": "final_loss"},
    )
    import_runs(str(source), str(tmp_path / "store"), columns=columns)
    imported, direct = fit_isoflop(read_runs(tmp_path / "store")), fit_isoflop(read_runs(source, columns=columns))
    assert imported.exponents["a"] == pytest.approx(direct.exponents["a"], rel=1e-6)


def test_status_of_imported_runs_says_that_there_is_no_sweep(table: Path, tmp_path: Path) -> None:
    import_runs(str(table), str(tmp_path / "store"), columns={"loss": "final"})
    with pytest.raises(Exception, match="holds no sweep yet"):
        status(str(tmp_path / "store"))
