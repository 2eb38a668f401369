"""docs/errors.md shows messages as they are printed: each is made anew here and compared, numbers aside."""

from __future__ import annotations

import json
import re
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import cli, load_sweep, run
from orchestrator.errors import OrchestratorError
from orchestrator.running import Options

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/errors.md").read_text()
SMOKE = (ROOT / "orchestrator/presets/smoke.yaml").read_text()

Isoflop = Callable[..., str]


def shown(heading: str, number: int = 0) -> str:
    """A message of the page, by its heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```text\n(.*?)\n```", section, flags=re.DOTALL)[number]


def wording(text: str) -> str:
    """Without what differs from machine to machine: paths, hashes, numbers, hours or days."""
    text = re.sub(r"/[\w./-]*/", "/", text)
    text = re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,16}\b", "#", text)
    text = re.sub(r"\d[\d.,]*(e[+-]?\d+)?[kMBT]?", "#", text)
    return " ".join(re.sub(r"# (days|hours)", "# days", text).split())


def assert_shown(printed: str, heading: str, number: int = 0) -> None:
    assert wording(shown(heading, number)) in wording(printed)


@pytest.fixture
def isoflop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Isoflop:
    """Run a command in this process, in a folder with `sweep.yaml`, without a terminal; gives all that it printed."""
    (tmp_path / "sweep.yaml").write_text(SMOKE)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, code: int = 1) -> str:
        monkeypatch.setattr(sys, "argv", ["isoflop", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capfd.readouterr()
        assert (end.value.code or 0) == code, printed.err
        return printed.out + printed.err

    return call


def write_curves(path: Path, budgets: dict[float, tuple[float, float]], conventions: tuple[str, ...] = ()) -> None:
    """IsoFLOP curves of the additive law with a little noise; sizes reach from a x N* to b x N*."""
    A, B, E, alpha, beta = 480.0, 2085.0, 1.8, 0.35, 0.37
    random = np.random.default_rng(0)
    rows = []
    for C, (low, high) in budgets.items():
        best = (alpha * A / (beta * B)) ** (1 / (alpha + beta)) * (C / 6) ** (beta / (alpha + beta))
        for N in best * np.geomspace(low, high, 7):
            D = C / 6 / N
            loss = E + A / N**alpha + B / D**beta + random.normal(0, 0.004)
            rows.append([f"{C:.6g}", f"{N:.6g}", f"{D:.6g}", f"{loss:.5f}"])
    header = ["budget", "params", "tokens", "loss"]
    if conventions:
        header.append("params_convention")
        rows = [[*row, conventions[i % len(conventions)]] for i, row in enumerate(rows)]
    path.write_text("\n".join(",".join(row) for row in [header, *rows]))


WIDE = (0.25, 4.0)


def test_a_typo(isoflop: Isoflop, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SMOKE.replace("budgets:", "budgts:"))
    assert_shown(isoflop("plan", "sweep.yaml"), "A typo in the sweep file")


def test_text_for_a_number(isoflop: Isoflop, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SMOKE.replace("[1e9, 3e9]", "[1e9, 3 billion]"))
    assert_shown(isoflop("plan", "sweep.yaml"), "Text where a number belongs")


def test_budgets_too_large(isoflop: Isoflop, tmp_path: Path) -> None:
    settings = ["--set", "budgets=[3e9,1e15]", "--set", "data.allow_epochs=1e9"]
    assert_shown(isoflop("run", "sweep.yaml", "--inline", *settings), "Budgets too large for the machine")
    assert not (tmp_path / "runs").exists()


def test_an_edge_minimum(isoflop: Isoflop, tmp_path: Path) -> None:
    write_curves(tmp_path / "edge.csv", {1e17: (1.5, 8.0), 3e17: WIDE, 1e18: WIDE, 3e18: WIDE})
    printed = isoflop("fit", "edge.csv", "--method", "isoflop", code=0)
    assert_shown(printed, "A curve whose minimum is at an edge")
    assert_shown(printed, "Too few budgets", 1)


def test_too_few_budgets(isoflop: Isoflop, tmp_path: Path) -> None:
    write_curves(tmp_path / "one.csv", {1e18: WIDE})
    assert_shown(isoflop("fit", "one.csv", "--method", "isoflop"), "Too few budgets")


def test_not_enough_text(isoflop: Isoflop) -> None:
    assert_shown(isoflop("plan", "sweep.yaml", "--set", "budgets=[1e9,3e12]"), "Not enough text")


def test_gpus_that_are_not_there(isoflop: Isoflop) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    printed = isoflop("run", "sweep.yaml", "--inline", "--set", "resources.gpus=1")
    assert_shown(printed, "GPUs that are not there")


def test_gpus_that_the_cluster_lacks() -> None:
    from orchestrator.execution.nodes import check_capacity

    node = {"Alive": True, "Resources": {"CPU": 2.0, "memory": 8e9}}
    ended = types.SimpleNamespace(RayError=ConnectionError)
    cluster = types.SimpleNamespace(nodes=lambda: [node], shutdown=lambda: None, exceptions=ended)
    with pytest.raises(OrchestratorError) as refused:
        check_capacity(cluster, {"CPU": 1.0, "GPU": 1.0}, on_cluster=True)
    assert_shown(str(refused.value), "GPUs that are not there", 1)


def test_a_cluster_that_wants_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray needs half a minute to say so, with these words; here a Ray says them at once."""
    from orchestrator.execution import ray as launcher

    def refuse(**options: Any) -> None:
        raise ConnectionError("Failed to connect to Ray cluster\nat 10.0.0.5:6379")

    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(init=refuse, is_initialized=lambda: False))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(OrchestratorError) as refused:
        launcher._connect("10.0.0.5:6379")
    assert_shown(str(refused.value), "A cluster that wants a token")


def test_a_submission_that_wants_a_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from orchestrator.execution import jobs

    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    refused = jobs._about_token("http://127.0.0.1:8265", refused=False)
    assert_shown(str(refused), "A cluster that wants a token", 1)


def test_a_changed_sweep_file(isoflop: Isoflop, tmp_path: Path, small_store: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(small_store, store)
    shutil.rmtree(store / "tables")
    widest = [
        proposal["run_id"]
        for path in (store / "proposals").glob("*.json")
        if (proposal := json.loads(path.read_text()))["row"]["width"] == 24
    ]
    (store / "commits" / f"{widest[0]}.json").unlink()
    (tmp_path / "sweep.yaml").write_text(SMOKE.replace("{width: 24}", "{width: 20}"))
    printed = isoflop("run", "sweep.yaml", "--inline", "--store", str(store))
    assert_shown(printed, "A sweep file that changed")


def test_a_store_of_another_sweep(isoflop: Isoflop, small_store: Path) -> None:
    printed = isoflop("run", "sweep.yaml", "--inline", "--set", "name=other", "--store", str(small_store))
    assert_shown(printed.replace("/store holds", "/smoke holds"), "A store of another sweep")


def test_diverged_runs(isoflop: Isoflop, tmp_path: Path) -> None:
    settings = ["optimizer.learning_rate=1e5", "budgets=[1e9]", "sizes={shapes: [{width: 8}]}"]
    run(load_sweep("smoke", settings), tmp_path / "store", Options(inline=True))
    assert_shown(isoflop("status", "store", code=0), "Runs that diverged")


def test_mixed_conventions(isoflop: Isoflop, tmp_path: Path) -> None:
    write_curves(tmp_path / "mixed.csv", {1e17: WIDE, 3e17: WIDE, 1e18: WIDE}, ("blocks+head", "blocks"))
    assert_shown(isoflop("fit", "mixed.csv"), "Runs that count differently")


def test_the_page_has_the_twelve_mistakes() -> None:
    assert len(re.findall(r"^## ", PAGE, flags=re.MULTILINE)) == 12 + 1
