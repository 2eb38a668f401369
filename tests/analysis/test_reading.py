"""Any source becomes the same runs, and a wrong one says what is wrong with it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import ConventionError, FitError, SourceError, drop_highest, read_curves, read_runs


def sample(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"N": [1e6, 2e6, 4e6], "D": [8e8, 4e8, 2e8], "loss": [3.2, 3.0, 3.1]} | columns)


def written(frame: pd.DataFrame, folder: Path, kind: str) -> Path:
    path = folder / f"runs.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False)
    elif kind == "json":
        path.write_text(frame.to_json(orient="records"))
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")) + "\n")
    else:
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "parquet"])
def test_every_kind_of_file_gives_the_same_runs(kind: str, tmp_path: Path) -> None:
    expected = read_runs(sample())
    runs = read_runs(written(sample(), tmp_path, kind))
    pd.testing.assert_frame_equal(runs.frame, expected.frame, check_dtype=False)
    assert runs.derived == {"flops": "6 params tokens"}


def test_folder_of_parquet_and_json_columns(tmp_path: Path) -> None:
    for i in range(2):
        sample(seed=[i] * 3).to_parquet(tmp_path / f"part-{i}.parquet")
    assert len(read_runs(tmp_path)) == 6
    curves = pd.DataFrame({"run_id": ["r0"], "tokens": [1e6], "flops": [6e12], "train_loss": [3.0]})
    curves.to_parquet(tmp_path / "curves.parquet")
    assert len(read_runs(tmp_path)) == 6  # as the gallery keeps them: curves are no runs
    assert list(read_curves(tmp_path)["train_loss"]) == [3.0]
    (tmp_path / "columns.json").write_text(json.dumps(sample().to_dict("list")))
    assert len(read_runs(tmp_path / "columns.json")) == 3


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (sample().drop(columns="D").assign(C=6 * 1e6 * 8e8), {"tokens": "flops / (6 params)"}),
        (sample().drop(columns="N").assign(C=6 * 1e6 * 8e8), {"params": "flops / (6 tokens)"}),
        (sample(), {"flops": "6 params tokens"}),
        (sample().assign(C=4.8e15), {}),
        (
            sample().drop(columns="D").assign(compute_budget=4.8e15),
            {"flops": "budget", "tokens": "flops / (6 params)"},
        ),
    ],
)
def test_what_is_missing_is_derived_and_named(frame: pd.DataFrame, expected: dict[str, str]) -> None:
    runs = read_runs(frame)
    assert runs.derived == expected
    if expected:
        np.testing.assert_allclose(6 * runs.column("params") * runs.column("tokens"), runs.column("flops"), rtol=1e-12)
        assert runs.flops_rule == "6nd"


def test_map_goes_before_aliases_and_other_columns_stay() -> None:
    frame = sample().assign(**{"Model Size": [1.0, 2.0, 3.0], "note": ["a", "b", "c"]})
    runs = read_runs(frame, columns={"params": "Model Size"})
    assert runs.column("params").tolist() == [1.0, 2.0, 3.0]
    assert runs.frame["note"].tolist() == ["a", "b", "c"]
    assert runs.frame["N"].tolist() == [1e6, 2e6, 4e6]


def test_runs_that_did_not_end_well_are_left_out_and_counted() -> None:
    frame = sample(status=["ok", "diverged", "ok"], run_id=["a", "b", "c"]).assign(loss=[3.2, np.nan, 3.1])
    runs = read_runs(frame)
    assert len(runs) == 2
    assert [(d.run, d.reason) for d in runs.dropped] == [("b", "status diverged")]
    with pytest.raises(SourceError, match=r"no run with status ok \(error: 3\)"):
        read_runs(sample(status=["error"] * 3))


def test_recounting_parameters() -> None:
    parts = {"params_body": [10, 20, 30], "params_head": [1, 2, 3], "params_convention": ["total", "total", "blocks"]}
    runs = read_runs(sample(**parts), count="blocks+head")
    assert runs.column("params").tolist() == [11, 22, 33]
    assert runs.params_convention == "blocks+head"
    assert runs.derived["params"] == "params_body + params_head"
    with pytest.raises(SourceError, match="params_total is missing"):
        read_runs(sample(**parts), count="total")
    with pytest.raises(SourceError, match="unknown convention"):
        read_runs(sample(**parts), count="bodies")


@pytest.mark.parametrize(
    ("columns", "kind", "message"),
    [
        (
            {"params_convention": ["blocks+head", "blocks+head", "blocks"]},
            "count",
            r"count parameters in two ways \(blocks\+head: 2, blocks: 1\). Choose one: --count blocks\+head",
        ),
        ({"flops_rule": ["exact", "6nd", "exact"]}, "flops_rule", r"two rules \(exact: 2, 6nd: 1\)"),
        ({"context": [128, 128, 256]}, "evaluation", r"two context lengths"),
        ({"heldout_tokens": [100, 200, 300]}, "evaluation", r"3 numbers of held-out tokens"),
        ({"corpus": ["a", "a", None]}, "evaluation", r"two corpora \(a: 2, not stated: 1\)"),
        ({"decayed": [True, True, False]}, "decay", r"\(True: 2, False: 1\)"),
        ({"trunk": ["a", "b", None]}, "trunks", r"some do not\) \(shared: 2, alone: 1\)"),
    ],
)
def test_mixed_conventions_are_refused_unless_told_to(columns: dict[str, Any], kind: Any, message: str) -> None:
    with pytest.raises(ConventionError, match=message):
        read_runs(sample(**columns))
    assert len(read_runs(sample(**columns), allow_mixed=[kind])) == 3


def test_runs_left_out_do_not_count_as_a_mixture() -> None:
    frame = sample(status=["ok", "ok", "error"], params_convention=["total", "total", None])
    assert read_runs(frame).params_convention == "total"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (sample().drop(columns="loss"), "no column for loss; it has N, D. Expected"),
        (sample().drop(columns=["D", "N"]), "no column for params and tokens and flops"),
        (sample().assign(loss=["3.2", "n/a", "3.1"]), "loss in row 2 is 'n/a'; expected a number"),
        (sample().assign(loss=[3.2, -1.0, 3.1]), "loss in row 2 is -1.0; expected a positive finite number"),
        (sample().assign(loss=[3.2, np.nan, np.nan]), r"loss in row 2 is missing \(and in 1 more rows\)"),
        (sample().assign(N=[1e6, 0, 4e6]), "params in row 2 is 0.0"),
        (sample().assign(D=[1e6, np.inf, 4e6]), "tokens in row 2 is inf"),
        (pd.concat([sample(), sample()[1:2]]), "rows 2 and 4 are the same run"),
        (sample(run_id=["a", "b", "a"]), "rows 1 and 3 are the same run"),
        (sample()[:0], "has no rows"),
    ],
)
def test_bad_tables_get_one_clear_error(frame: pd.DataFrame, message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SourceError, match=message):
            read_runs(frame)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([[1, 2], 1e7, 1e8], r"\[1, 2\]"),
        ([{"N": 1}, 1e7, 1e8], "{'N': 1}"),
        ([True, True, False], "True"),
        ([1e7, True, 1e8], "True"),
        (pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"]), "Timestamp"),
        ([None, 1e7, 1e8], "missing"),
    ],
)
def test_values_of_other_types_are_no_numbers(values: Any, shown: str) -> None:
    with pytest.raises(SourceError, match=rf"params in row \d is .*{shown}.*; expected a (positive finite )?number"):
        read_runs(sample(params=values))


def test_all_runs_cannot_be_dropped() -> None:
    with pytest.raises(FitError, match="expected 0 to 2"):
        drop_highest(read_runs(sample()), 3)


def test_row_numbers_are_those_of_the_source() -> None:
    frame = sample(status=["error", "ok", "ok"]).assign(loss=[1.0, 2.0, -3.0])
    with pytest.raises(SourceError, match="loss in row 3"):
        read_runs(frame)


def test_a_column_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(SourceError, match="no column 'Model Sise'; it has N, D, loss"):
        read_runs(sample(), columns={"params": "Model Sise"})


def test_duplicates_can_be_dropped_or_kept() -> None:
    twice = pd.concat([sample(), sample()[1:2]])
    dropped = read_runs(twice, duplicates="drop")
    assert len(dropped) == 3
    assert dropped.dropped[0].reason == "the same run as row 2"
    assert len(read_runs(twice, duplicates="keep")) == 4
    assert len(read_runs(pd.concat([sample(), sample(loss=[3.21, 3.01, 3.11])]))) == 6


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("runs.csv", "", "cannot be read"),
        ("runs.csv", 'N,D,loss\n1,2,3\n1,2,"3,4,5,6\n', "cannot be read|row"),
        ("runs.json", "{", "runs.json:1 is not JSON"),
        ("runs.jsonl", '{"N": 1}\n{"N": }\n', "runs.jsonl:2 is not JSON"),
        ("runs.json", '{"a": 3}', "neither a list of objects nor columns"),
        ("runs.parquet", "not parquet", "cannot be read"),
        ("runs.xls", "", r"ends in .xls; expected one of .csv"),
    ],
)
def test_bad_files_get_one_clear_error(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=message):
        read_runs(tmp_path / name)


def test_no_such_file_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        read_runs(tmp_path / "runs.csv")
    with pytest.raises(SourceError, match="without Parquet files"):
        read_runs(tmp_path)


def test_the_highest_losses_are_dropped_by_name() -> None:
    runs = drop_highest(read_runs(sample(run_id=["a", "b", "c"])), 1)
    assert len(runs) == 2
    assert [(d.run, d.reason) for d in runs.dropped] == [("a", "among the 1 highest losses")]


def test_published_tables_read_with_their_maps(shared_data: Path) -> None:
    maps: dict[str, tuple[int, dict[str, str]]] = {
        "chinchilla_epoch.csv": (245, {"params": "Model Size", "flops": "Training FLOP"}),
        "chinchilla_kyo.csv": (234, {}),
        "chinchilla_isoflop.csv": (247, {}),
        "cs336_isoflops.json": (72, {"params": "parameters", "budget": "compute_budget", "loss": "final_loss"}),
        "gemstones_hot.jsonl": (220, {"params": "params_active_precise"}),
        "overtraining_gadre.csv": (69, {"loss": "loss_c4_val"}),
        "steplaw_dense.csv": (1911, {}),
        "scalebench_data_constrained_train.parquet": (161, {}),
    }
    for name, (rows, columns) in maps.items():
        assert len(read_runs(shared_data / name, columns=columns)) == rows, name
