"""Families of models in a sweep file: what is planned for each, what its rows say, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.reading import read_runs
from orchestrator.cost import CostModel
from orchestrator.errors import SweepError
from orchestrator.planning import Corpus, Plan, plan, point_row
from orchestrator.running import Options, run
from orchestrator.sweep.file import load_sweep
from trainer import LSTM, Transformer, count_params, flops_per_token

COST = CostModel(step_seconds=1e-3, token_seconds=0.0, flops_per_second=1e10)
CORPUS = Corpus(hash="c" * 64, train_tokens=10_000_000, exact=True)


def planned(*settings: str) -> Plan:
    sizes = "sizes={range: {min: 4e3, max: 3e4, count: 4}}"
    return plan(load_sweep("smoke", [sizes, "budgets=[1e10, 3e10]", "min_steps=5", *settings]), CORPUS, COST)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("model.activation=relu2", {"activation": "relu2"}),
        ("model={layers: 2, head_size: 4, kv_heads: 2}", {"kv_heads": 2}),
        ("model={layers: 1, head_size: 4, kv_heads: 1}", {"kv_heads": 1}),
        ("model.positions=learned", {"positions": "learned"}),
        ("model.qk_norm=true", {"qk_norm": True}),
        ("model={layers: 1, experts: 4, active_experts: 2}", {"experts": 4, "active_experts": 2}),
        ("model={family: lstm, layers: 2}", {"family": "lstm", "heads": None, "layers": 2}),
    ],
)
@pytest.mark.parametrize("convention", ["blocks+head", "active"])
def test_a_family_is_planned_at_its_own_counts(setting: str, expected: dict[str, object], convention: str) -> None:
    made = planned(setting, f"counting.params={convention}")
    assert made.points
    for point in made.points:
        shape = point.spec.model
        assert point.params == count_params(shape).under(convention)  # type: ignore[arg-type]
        assert point.flops == point.spec.tokens * flops_per_token(shape, "exact")
        row = point_row(made.sweep, point, made.corpus)
        assert {name: row.get(name) for name in expected} == expected


def test_kv_heads_decide_the_heads() -> None:
    for point in planned("model={layers: 1, head_size: 4, kv_heads: 2}").points:
        shape = point.spec.model
        assert isinstance(shape, Transformer)
        assert shape.heads % 2 == 0
        assert shape.width // shape.heads <= 4
    whole = planned("model={layers: 1, head_size: 4, kv_heads: 2}", "sizes={shapes: [{width: 8}]}").points[0].spec.model
    assert (whole.heads, whole.kv_heads) == (2, None)  # type: ignore[union-attr]  # as many as heads has one name


def test_settings_compare_families() -> None:
    made = planned("settings={transformer: {}, lstm: {model: {family: lstm, layers: 1}}}")
    kinds = {(point.setting, type(point.spec.model)) for point in made.points}
    assert kinds == {("transformer", Transformer), ("lstm", LSTM)}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model={family: lstm, kv_heads: 2}", r"kv_heads given for family lstm; expected only .*\. Leave"),
        ("model.family=lstm", r"activation, ffn_ratio given for family lstm; expected only .*\. Leave"),
        ("model={experts: 2, active_experts: 3}", r"active_experts is 3 of 2 experts; expected .*\. Lower"),
        ("model={kv_heads: 3}", r"width 8 has no even head size.*\(model\.kv_heads\); expected .*\. Set model"),
        ("model={family: mamba}", r"model\.family: .mamba. .*'transformer' or 'lstm'"),
    ],
)
def test_what_does_not_fit_is_refused(setting: str, words: str) -> None:
    with pytest.raises(SweepError, match=words):
        planned(setting)


def test_six_n_of_experts_that_are_not_used_is_refused() -> None:
    experts = "model={layers: 1, experts: 4}"
    with pytest.raises(SweepError, match=r"6nd and N counts all 4 experts, of which a token uses 1; expected .*\. Set"):
        planned(experts, "counting.flops=6nd")
    assert planned(experts, "counting={flops: 6nd, params: active}").points


@pytest.mark.parametrize("model", ["{family: lstm, layers: 1}", "{layers: 1, experts: 2, head_size: 4, kv_heads: 1}"])
def test_from_the_sweep_file_to_the_row(tmp_path: Path, model: str) -> None:
    settings = [f"model={model}", "budgets=[3e8, 1e9]", "sizes={shapes: [{width: 8}]}", "min_steps=5"]
    run(load_sweep("smoke", settings), tmp_path / "store", Options(inline=True))
    frame = read_runs(tmp_path / "store").frame
    assert (frame["status"] == "ok").all()
    assert frame["loss"].between(1, 5.6).all()
    assert (frame["flops"] == frame["tokens"] * 6 * frame["params_active"]).all() == ("lstm" in model)
