"""Studies that a report makes of a sweep: critical batches, repeated data, counts of N; planted laws are given back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import read_runs
from analysis.batch_sizes import fit_batches
from analysis.counting import fit_counts
from analysis.errors import FitError
from analysis.ladder import Score
from analysis.repeats import fit_repeats
from analysis.report import summarize
from analysis.report.experiments import experiment_sections
from analysis.report.ladder import sentence as ladder_sentence
from analysis.report.studies import batch_section
from analysis.report.uncertainty import uncertainty_section
from analysis.table import Runs


def batches(critical: float, *, growth: float = 0.0, noise: float = 0.0) -> Runs:
    """Loss of D useful tokens 1.5 + 40 D^-.3, of which a batch B wastes all but 1 / (1 + B / critical)."""
    rng = np.random.default_rng(0)
    rows = []
    for batch in (128, 256, 512, 1024, 2048, 4096):
        for tokens in 2.0 ** np.arange(17, 24):
            for rate in (2e-3, 4e-3, 8e-3, 16e-3):
                here = critical * (tokens / 2**20) ** growth
                loss = 1.5 + 40 * (tokens / (1 + batch / here)) ** -0.3 + 0.05 * np.log(rate / 6e-3) ** 2
                rows.append(
                    {"setting": f"batch={batch}", "tuned": f"peak={rate:g}", "batch_tokens": batch, "params": 4e4,
                     "tokens": tokens, "budget": 6 * 4e4 * tokens, "flops": 6 * 4e4 * tokens,
                     "loss": loss + noise * rng.standard_normal()}
                )  # fmt: skip
    return read_runs(pd.DataFrame(rows))


def test_the_critical_batch_is_given_back() -> None:
    for one in fit_batches(batches(700.0)):
        assert one.critical is not None
        assert one.critical.batch == pytest.approx(700, rel=0.1)  # losses are interpolated between doublings of D
    first, *_, last = fit_batches(batches(700.0, growth=0.4))
    assert first.critical is not None
    assert last.critical is not None
    assert last.loss < first.loss
    assert last.critical.batch > 1.3 * first.critical.batch


def test_a_batch_that_comes_nowhere_near_does_not_hide_the_others() -> None:
    plain = batches(700.0)
    huge = plain.frame[plain.frame["batch_tokens"] == 4096].assign(batch_tokens=65536, setting="batch=65536")
    both = read_runs(pd.concat([plain.frame, huge.assign(loss=huge["loss"] + 5)], ignore_index=True))
    for one, alone in zip(fit_batches(both), fit_batches(plain), strict=True):
        assert one.critical is not None
        assert alone.critical is not None
        assert one.critical.batch == pytest.approx(alone.critical.batch, rel=1e-9)


def test_the_report_gives_critical_batches_with_their_intervals_and_no_empty_table() -> None:
    summary = summarize(batches(700.0, noise=0.002))
    section = batch_section(summary)
    assert section is not None
    (answer,) = section.answers
    assert answer.count("tokens at loss") == answer.count("(90 %: ") == 2
    uncertainty = uncertainty_section(summary)  # one size: no approach has an exponent to list
    assert [block.kind for block in uncertainty.blocks] == ["missing"]


def test_a_law_is_held_against_each_simpler_method() -> None:
    law, pure, slope = (
        Score(method=name, errors=(0.01, -0.01), compute=(1.1, 1.1), hits=2, half_width=0.05, interval_score=score)
        for name, score in (("law", 0.11), ("power law", 0.2), ("local slope", 0.09))
    )
    said = ladder_sentence((law, pure, slope), 0.9)
    assert "better than that of the power law and worse than that of the local slope" in said


def test_settings_that_are_no_batches_are_refused() -> None:
    runs = batches(700.0)
    mixed = read_runs(runs.frame.assign(batch_tokens=np.arange(len(runs)) % 3))
    with pytest.raises(FitError, match="is not one batch size of one model"):
        fit_batches(mixed)


def repeats(half_life: float, *, rises: bool = False, noise: float = 0.002) -> Runs:
    """Text of 2^19 tokens repeated, beside fresh text, three seeds each."""
    rng = np.random.default_rng(0)
    unique = 2.0**19
    rows = []
    for setting, tokens in [("fresh", 2.0**k) for k in range(19, 25)] + [("limited", 2.0**k) for k in range(19, 25)]:
        for seed in range(3):
            epochs = tokens / unique if setting == "limited" else 0.1
            useful = (
                unique * (1 + half_life * (1 - np.exp(-(epochs - 1) / half_life))) if setting == "limited" else tokens
            )
            loss = 1.5 + 40 * useful**-0.3 + noise * rng.standard_normal() + (0.01 * max(epochs - 4, 0) if rises else 0)
            rows.append(
                {"setting": setting, "tokens": tokens, "params": 7e3, "budget": 6 * 7e3 * tokens, "flops": 6 * 7e3 * tokens,
                 "epochs": epochs, "unique_tokens": unique if setting == "limited" else 1e8, "loss": loss,
                 "best_loss": loss - 0.01, "seed": seed}
            )  # fmt: skip
    return read_runs(pd.DataFrame(rows))


def test_the_half_life_of_repeats_is_given_back() -> None:
    (one,) = fit_repeats(repeats(6.0))
    assert one.half_life == pytest.approx(6.0, rel=0.25)
    assert not one.rejected
    assert one.epochs.tolist() == [1, 2, 4, 8, 16, 32]
    assert one.fresh[0] == pytest.approx(one.loss[0], abs=0.01)
    assert (one.best < one.loss).all()


def test_a_loss_that_rises_with_epochs_rejects_the_form() -> None:
    (one,) = fit_repeats(repeats(6.0, rises=True))
    assert one.rises
    assert one.rejected


def test_a_count_of_n_changes_its_exponent_and_not_the_runs() -> None:
    rows = []
    for budget in (1e10, 1e11, 1e12):
        for width in np.geomspace(0.4, 2.5, 7) * 24 * (budget / 1e10) ** 0.2:
            body, head = 13 * width**2, 256 * width
            tokens = budget / 6 / (body + head)
            loss = 1.2 + 60 / (body + head) ** 0.5 + 60 / tokens**0.4
            rows.append(
                {"budget": budget, "params": body + head, "params_body": body, "params_head": head, "tokens": tokens,
                 "params_total": body + 2 * head, "flops": budget, "loss": loss, "params_convention": "blocks+head"}
            )  # fmt: skip
    fits = fit_counts(read_runs(pd.DataFrame(rows)))
    exponents = [fits[name].exponents["a"] or 0.0 for name in ("blocks", "blocks+head", "total")]
    assert exponents == sorted(exponents, reverse=True)
    assert exponents[0] - exponents[1] > 0.05
    assert fits["blocks"].runs.column("loss").tolist() == fits["total"].runs.column("loss").tolist()


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        (batches(700.0, noise=0.002), {"comparison", "batch"}),
        (repeats(6.0), {"comparison", "repeats"}),
    ],
)
def test_a_report_has_the_sections_that_its_sweep_asks_for(runs: Runs, names: set[str]) -> None:
    sections = experiment_sections(summarize(runs))
    assert {section.name for section in sections} == names
    for section in sections:
        assert section.answers
        for block in section.blocks:
            if block.kind == "exhibit":
                block.draw()
