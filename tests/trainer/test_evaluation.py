"""Held-out loss: the same windows always, sums that do not depend on how they are gathered."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer import CorpusError, RunSpec, evaluation
from trainer.data.corpus import Split, load
from trainer.data.heldout import clustered_standard_error, windows
from trainer.evaluation import evaluate, in_octaves, window_losses
from trainer.models.networks import build, initialize

SPLIT = Split(tokens=1000, text_bytes=1000, documents=(0, 100, 130, 600), names=("a", "b", "c", "d"))


def test_windows_lie_within_documents_and_reach_all_that_hold_one() -> None:
    starts, documents = windows(SPLIT, context=32, tokens=29 * 32)
    ends = np.array([*SPLIT.documents[1:], SPLIT.tokens])
    assert len(starts) == 29 == 3 + 0 + 14 + 12  # (length - 1) // 32 of each document
    assert (starts + 33 <= ends[documents]).all()
    assert len(set(starts.tolist())) == 29
    fewer, of_documents = windows(SPLIT, context=32, tokens=10 * 32)
    assert set(fewer.tolist()) <= set(starts.tolist())
    assert set(of_documents.tolist()) == {0, 2, 3}


@pytest.mark.parametrize("tokens", [31, 30 * 32])
def test_more_than_the_split_holds_is_refused(tokens: int) -> None:
    with pytest.raises(CorpusError, match=r"Set heldout_tokens between 32 and 928"):
        windows(SPLIT, context=32, tokens=tokens)


def test_does_not_depend_on_the_batch(spec: RunSpec, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = load(corpus)
    model = build(spec)
    flat = initialize(spec.model, spec.parametrization, seed=0)
    flat += 0.1 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(0))
    starts, _ = windows(opened.manifest.heldout, context=32, tokens=2048)
    whole, by_position = window_losses(model, flat, opened.heldout, starts)
    assert whole.sum() == pytest.approx(by_position.sum(), rel=1e-12)
    monkeypatch.setattr(evaluation, "EVALUATION_TOKENS", 7 * 32)
    again, by_position_again = window_losses(model, flat, opened.heldout, starts)
    assert again == pytest.approx(whole, rel=1e-6)
    assert by_position_again == pytest.approx(by_position, rel=1e-6)
    assert window_losses(model, flat, opened.heldout, starts[::-1])[0][::-1] == pytest.approx(whole, rel=1e-6)


def test_an_untrained_model_scores_eight_bits_a_byte(spec: RunSpec, corpus: Path) -> None:
    opened = load(corpus)
    flat = initialize(spec.model, spec.parametrization, seed=0)
    split = opened.manifest.heldout
    result = evaluate(build(spec), flat, opened.heldout, split, tokens=2048)
    assert result.loss == pytest.approx(math.log(256), abs=1e-5)
    assert result.bpb == pytest.approx(8.0, abs=1e-5)
    assert result.tokens == 2048


@pytest.mark.parametrize(
    ("context", "ends"), [(1, [1]), (2, [1, 2]), (5, [1, 2, 4, 5]), (8, [1, 2, 4, 8]), (32, [1, 2, 4, 8, 16, 32])]
)
def test_octaves_of_context_cover_every_position_once(context: int, ends: list[int]) -> None:
    parts = in_octaves(np.arange(1.0, context + 1))
    assert [part.last for part in parts] == ends
    assert [part.first for part in parts] == [1, *(end + 1 for end in ends[:-1])]
    assert [part.loss for part in parts] == [(part.first + part.last) / 2 for part in parts]


def test_losses_by_context_make_the_whole_loss(spec: RunSpec, corpus: Path) -> None:
    opened = load(corpus)
    flat = initialize(spec.model, spec.parametrization, seed=0)
    flat += 0.1 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(0))
    made = evaluate(build(spec), flat, opened.heldout, opened.manifest.heldout, tokens=2048)
    weighted = math.fsum(part.loss * (part.last - part.first + 1) for part in made.positions)
    assert weighted / spec.model.context == pytest.approx(made.loss, rel=1e-12)


def test_the_standard_error_is_that_of_documents() -> None:
    """Windows of one document that say the same count once: against the spread over drawn sets of documents."""
    generator = np.random.default_rng(0)
    estimates, means = [], []
    for _ in range(300):
        of_document = generator.normal(2.0, 0.3, size=40)
        documents = np.repeat(np.arange(40), generator.integers(1, 12, size=40))
        losses = (of_document[documents] + generator.normal(0, 0.05, size=len(documents))) * 32
        estimates.append(clustered_standard_error(losses, documents, 32))
        means.append(losses.mean() / 32)
    # 300 means give their own spread within 4 %; the estimator is biased low by a few percent at 40 clusters.
    assert np.mean(estimates) == pytest.approx(np.std(means), rel=0.15)
    assert clustered_standard_error(np.ones(3), np.zeros(3, np.int64), 32) is None
