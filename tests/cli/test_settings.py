"""Settings on the command line: chosen, compared, and asked for where they are missing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestrator import cli

Isoflop = Callable[..., str]


@pytest.fixture
def isoflop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Isoflop:
    """A command in this process; gives what it printed."""

    def call(*arguments: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["isoflop", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        assert (end.value.code or 0) == code, printed.err
        return printed.out if code == 0 else printed.err

    return call


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Two settings on four budgets; swiglu is .04 nats better."""
    rng = np.random.default_rng(0)
    rows = []
    for budget in (1e16, 3e16, 1e17, 3e17):
        for setting, offset in (("gelu", 0.0), ("swiglu", -0.04)):
            for params in np.geomspace(0.3, 3, 7) * (budget / 6) ** 0.5:
                loss = 1.7 + 400 / params**0.34 + 400 / (budget / 6 / params) ** 0.34 + offset
                loss += 0.003 * rng.standard_normal()
                rows.append({"setting": setting, "budget": budget, "params": params, "flops": budget, "loss": loss})
    path = tmp_path / "settings.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return str(path)


def test_a_fit_takes_one_setting(isoflop: Isoflop, table: str) -> None:
    assert "of 2 settings (gelu: 28, swiglu: 28)" in isoflop("fit", table, "--method", "isoflop", code=1)
    fitted = json.loads(isoflop("fit", table, "--method", "isoflop", "--setting", "swiglu", "--json"))
    assert fitted["n"] == 28
    assert "expected one of gelu, swiglu" in isoflop("fit", table, "--setting", "relu", code=1)


def test_two_settings_of_one_source_are_compared(isoflop: Isoflop, table: str) -> None:
    found = json.loads(isoflop("compare", table, "--setting", "gelu", "--setting", "swiglu", "--json"))
    assert found["offset"] == pytest.approx(-0.04, abs=0.01)
    assert found["multiplier"] > 1
    assert f"b: {table} swiglu" in isoflop("compare", table, "--setting", "gelu", "--setting", "swiglu")
    assert "expected two sources, or --setting twice" in isoflop("compare", table, "--setting", "gelu", code=1)
    assert "expected two sources, or --setting twice" in isoflop("compare", table, code=1)


def test_a_report_says_which_setting_it_fits(isoflop: Isoflop, table: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    isoflop("report", table, "--setting", "swiglu", "-o", str(page))
    assert "the sections below are fitted to swiglu" in page.read_text()
    assert "better than the baseline" in page.read_text()
