"""A report is written whatever the data, and says what they do not show."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis import FitError, SourceError, read_runs
from analysis.report import Summary, ending_lines, summarize, write_report
from analysis.report.checklist import checklist
from analysis.report.outcome import Failed
from tests.report.conftest import ALPHA, BETA, planted_rows, read_page, write_store


def written(source: object, folder: Path) -> tuple[Summary, str]:
    made = write_report(source, folder / "report.html")  # type: ignore[arg-type]
    page = read_page(made.path)
    assert page.unclosed == []
    return made.summary, page.text


def test_a_store_without_a_finished_run(tmp_path: Path) -> None:
    rows = planted_rows(seeds=1).assign(status="pending", loss=None)
    summary, text = written(write_store(rows, tmp_path / "store"), tmp_path)
    assert isinstance(summary.headline, Failed)
    assert "21 pending" in text
    assert "has no run with status ok" in text
    assert ending_lines(summary)[0].startswith("no law yet: ")


def test_one_budget_shows_its_curve_and_says_what_is_missing(tmp_path: Path) -> None:
    summary, text = written(planted_rows((1e11,)), tmp_path)
    assert [minimum.status for minimum in summary.minima] == ["bracketed"]
    assert "isoflop-curves-title" in text
    assert "one budget only" in text


def test_two_budgets_have_no_interval(tmp_path: Path) -> None:
    summary, _ = written(planted_rows((3e10, 3e11)), tmp_path)
    lines = ending_lines(summary)
    assert "the exponent has no interval" in lines[0]
    assert any(line.startswith("backtest: ") and "Add budgets" in line for line in lines)


def test_three_single_seeds_over_a_decade_do_not_identify_the_exponent(tmp_path: Path) -> None:
    summary, text = written(planted_rows(seeds=1), tmp_path)
    assert "not identified beyond" in summary.weaknesses[0].message
    assert "not identified beyond" in "\n".join(ending_lines(summary))
    assert "not identified beyond" in text
    assert "single_seed" in {warning.code for warning in summary.warnings}


def test_one_size_at_each_budget_is_no_law_of_sizes() -> None:
    """As in a sweep over rates: what was trained is then no choice, let alone an optimum."""
    rows = planted_rows((1e10, 3e10, 1e11))
    first = rows.groupby("budget")["params"].transform("min")
    summary = summarize(rows[rows["params"] == first].reset_index(drop=True))
    assert isinstance(summary.headline, Failed)
    assert "1 size at every budget" in summary.headline.reason
    assert isinstance(summary.envelope, Failed)
    assert "no optimum" in summary.envelope.reason
    assert "envelope" not in summary.optima
    assert "edge_minimum" not in {warning.code for warning in summary.warnings}


@pytest.mark.parametrize(("seeds", "single"), [(2, False), (1, True)])
def test_seeds_of_tuned_points_count_as_seeds(seeds: int, single: bool) -> None:
    """A tuned point enters the curve as one row; the seeds behind it were run all the same."""
    summary = summarize(tuned_rows(seeds))
    assert ("single_seed" in {warning.code for warning in summary.warnings}) is single
    assert ("data", "seeds per point", str(seeds)) in checklist(summary).rows


def test_tuned_points_are_not_said_to_be_left_out_or_run_with_one_setting(tmp_path: Path) -> None:
    summary, text = written(tuned_rows(2), tmp_path)
    assert ("data", "left out, and why", "nothing") in checklist(summary).rows
    assert ("data", "runs fitted", "21 tuned points, of 126 runs") in checklist(summary).rows
    assert "21 points were tuned over peak" in text
    assert "Every point was run with one setting" not in text
    assert "Points are what tuning found to be best at each size" in text
    assert len(summary.tuned) == 21


def tuned_rows(seeds: int) -> pd.DataFrame:
    """Three rates at every point, the middle one best."""
    tries = [planted_rows(seeds=seeds).assign(tuned=f"peak={rate}", run_id=lambda f, r=rate: f["run_id"] + str(r))
             for rate in (0.004, 0.008, 0.016)]  # fmt: skip
    lifted = [one.assign(loss=one["loss"] + 0.02 * abs(k - 1)) for k, one in enumerate(tries)]
    return pd.concat(lifted, ignore_index=True)


def test_six_runs_are_too_few_for_a_law_but_not_for_a_report(tmp_path: Path) -> None:
    summary, text = written(planted_rows((1e10, 3e10), sizes=3, seeds=1), tmp_path)
    assert len(summary.rows) == 6
    assert "IsoFLOP curves" in text


def test_a_csv_with_other_names(tmp_path: Path) -> None:
    source = tmp_path / "runs.csv"
    rows = planted_rows()[["params", "flops", "loss"]]
    rows.rename(columns={"params": "N", "flops": "C", "loss": "L"}).to_csv(source, index=False)
    summary, text = written(source, tmp_path)
    assert summary.title == "runs.csv"
    assert "flops / (6 params)" in text
    assert "does not say with which learning rates" in text


def test_runs_without_common_budgets(tmp_path: Path) -> None:
    rows = planted_rows().drop(columns="budget")
    scattered = rows.assign(tokens=rows["tokens"] * (1 + 0.13 * (rows.index % 7)))
    scattered["flops"] = 6.0 * scattered["params"] * scattered["tokens"]
    summary, text = written(read_runs(scattered), tmp_path)
    assert summary.minima == ()
    assert "column `budget`" in text
    assert summary.headline.approach == "parametric"  # type: ignore[union-attr]


def test_a_source_that_makes_no_sense_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        write_report(tmp_path / "nothing", tmp_path / "report.html")
    with pytest.raises(SourceError, match="no column for"):
        write_report(pd.DataFrame({"x": [1.0]}), tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr("analysis.report.summary.fit_isoflop", broken)
    with pytest.raises(TypeError):
        summarize(planted_rows())


def test_the_ending_recovers_the_planted_law() -> None:
    summary = summarize(planted_rows((1e10, 3e10, 1e11, 3e11, 1e12), noise=0.001))
    headline = summary.headline
    assert not isinstance(headline, Failed)
    span = headline.exponent_interval
    assert span.low is not None
    assert span.high is not None
    assert span.low < BETA / (ALPHA + BETA) < span.high
    lines = ending_lines(summary)
    assert lines[0].startswith("N*(C) = ")
    assert ["(10x)" in line for line in lines].count(True) == 1
    assert ["(100x)" in line for line in lines].count(True) == 1
    assert any(line.startswith("backtest: fitted on 4 smaller budgets") for line in lines)
    assert len(summary.weaknesses) <= 3


def test_the_comparison_of_settings_comes_before_the_law_and_the_law_names_its_setting(tmp_path: Path) -> None:
    rows = planted_rows((3e10, 3e11))
    other = rows.assign(setting="wide", loss=rows["loss"] + 0.1, run_id="wide" + rows["run_id"])
    summary, text = written(pd.concat([rows.assign(setting="plain"), other], ignore_index=True), tmp_path)
    first = text.split('<section id="summary"', 1)[1].split("</section>", 1)[0]
    assert first.index("wide: worse than the baseline") < first.index("N*(C) =")
    assert "fitted to plain, one of 2 settings" in first
    assert any("fitted to plain, one of 2 settings" in line for line in ending_lines(summary))


def test_a_fit_error_becomes_a_section(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(*_: object, **__: object) -> None:
        raise FitError("no fit today")

    monkeypatch.setattr("analysis.report.summary.fit_form", refused)
    summary, text = written(planted_rows(), tmp_path)
    assert isinstance(summary.parametric, Failed)
    assert text.count("no fit today") >= 3
