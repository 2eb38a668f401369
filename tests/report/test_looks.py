"""The report on what runs were asked besides their loss."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from analysis.report.blocks import Grid, Section, Text
from analysis.report.looks import best_section, oracle_section
from analysis.report.summary import Summary, summarize
from tests.report.conftest import planted_rows, write_store


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    rows = planted_rows(budgets=(1e15,), sizes=6, seeds=1)
    return summarize(str(write_store(rows, tmp_path_factory.mktemp("plain") / "store")))


def asked(plain: Summary, **columns: object) -> Summary:
    return replace(plain, rows=plain.rows.assign(**columns))


def words(section: Section | None) -> tuple[str, Grid]:
    assert section is not None
    text, table = section.blocks
    assert isinstance(text, Text)
    assert isinstance(table, Grid)
    return text.text, table


def losses(excess: float) -> str:
    entry = {"bpb": None, "tokens": 1000}
    oracle = {"source": "oracle", "loss": 2.0, "loss_se": 0.01} | entry
    return json.dumps([oracle, {"source": "excess over oracle", "loss": excess, "loss_se": 0.002} | entry])


@pytest.mark.parametrize(
    ("excess", "said"),
    [
        (0.01, "No run is below the oracle by more than chance (lowest: +5.0 standard errors)"),
        (-0.02, "6 of 6 runs are more than 3 standard errors below the oracle: held-out text leaks into training"),
    ],
)
def test_losses_stand_against_the_oracle(excess: float, said: str, plain: Summary) -> None:
    text, table = words(oracle_section(asked(plain, losses=losses(excess))))
    assert said in text
    assert len(table.rows) == 6
    assert table.rows[0][3:6] == ("2.0000", f"{excess:.4f}", "0.0020")


def test_the_best_stands_beside_the_last(plain: Summary) -> None:
    text, table = words(best_section(asked(plain, best_loss=1.5, best_tokens=1000, epochs=16.0)))
    assert "6 of 6 runs were best before their end" in text
    assert all(row[6] == "1.500" for row in table.rows)


def test_runs_that_were_best_at_their_end_need_no_table(plain: Summary) -> None:
    section = best_section(asked(plain, best_loss=plain.rows["loss"], best_tokens=plain.rows["tokens"], epochs=1.0))
    assert section is not None
    (text,) = section.blocks
    assert isinstance(text, Text)
    assert "None of 6 runs was best before its end" in text.text


def test_a_plain_sweep_has_neither(plain: Summary) -> None:
    assert oracle_section(plain) is None
    assert best_section(plain) is None
