"""Mixtures, limits on unique tokens, and the synthetic source: what a run reads, and the best that it could do."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainer import (
    AdamW,
    CorpusError,
    Data,
    RunSpec,
    Schedule,
    SpecError,
    Transformer,
    from_dict,
    run_id,
    to_dict,
    train,
)
from trainer.data.batches import Feed, feed, stream
from trainer.data.corpus import load
from trainer.data.manifests import Manifest
from trainer.data.mixing import assign
from trainer.data.preparing import SplitTokens, write_corpus
from trainer.data.synthetic import Chain, write
from trainer.execution import Execution, Interrupted

CHAIN = Chain(order=2, symbols=8, zipf=1.3, seed=3)
POSITIONS = np.arange(10_000, dtype=np.uint16)


def test_every_stretch_has_each_source_in_its_share() -> None:
    weights = [0.7, 0.25, 0.05]
    sources, ranks = assign(weights, seed=5, first=0, count=20_000)
    for start in range(0, 20_000, 2500):
        counts = np.bincount(sources[start : start + 2500], minlength=3)
        assert np.abs(counts - 2500 * np.array(weights)).max() <= 4  # a Weyl sequence is off by O(log n)
    for source in range(3):
        assert np.array_equal(ranks[sources == source], np.arange((sources == source).sum()))
    assert not np.array_equal(sources, assign(weights, seed=6, first=0, count=20_000)[0])


@pytest.mark.parametrize("first", [1, 17, 4096, 19_990])
def test_a_position_does_not_depend_on_how_it_is_reached(first: int) -> None:
    whole = assign([0.3, 0.7], seed=1, first=0, count=20_000)
    part = assign([0.3, 0.7], seed=1, first=first, count=10)
    assert np.array_equal(part, np.array(whole)[:, first : first + 10])


def test_far_positions_need_no_way_there() -> None:
    sources, ranks = assign([0.5, 0.5], seed=1, first=10**12, count=4)
    assert np.abs(ranks - 10**12 / 2).max() < 50
    assert set(sources.tolist()) <= {0, 1}


def seen(limit: int | None, seed: int = 0, epochs: int = 1) -> set[int]:
    one = stream(POSITIONS, context=16, unique_tokens=limit)
    tokens = Feed(streams=(one,), weights=(1.0,), seed=seed).windows(0, epochs * one.windows)
    return set(tokens[:, 1:].ravel().tolist())


def test_unique_tokens_are_nested_and_stride_over_the_text() -> None:
    few, more = seen(1600, epochs=3), seen(3200, seed=1, epochs=2)
    assert len(few) == 1600  # whatever the epochs and the seed
    assert few < more
    assert np.bincount(np.array(sorted(few)) // 1000, minlength=10).min() >= 128  # 160 in each tenth, in windows of 16
    with pytest.raises(SpecError, match="15 unique tokens are no window of 16; expected at least 16"):
        seen(15)
    with pytest.raises(CorpusError, match="20,000 unique tokens are asked for, the text has 9,984 in whole windows"):
        seen(20_000)


@pytest.fixture(scope="module")
def two_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Symbols 0-7 drawn from a chain, and the same shifted to 8-15."""
    folder = tmp_path_factory.mktemp("two") / "corpus"
    parts = {}
    for name, shift in (("low", 0), ("high", 8)):
        parts[name] = {
            split: SplitTokens(
                names=[str(n) for n in range(documents)],
                tokens=list(CHAIN.draw(documents, 512, stream=name + split) + np.uint16(shift)),
                text_bytes=documents * 1024,
            )
            for split, documents in (("train", 100), ("heldout", 12), ("tuning", 6))
        }
    write_corpus(folder, parts, vocab=16, tokenizer="16", about="two", licence="none")
    return folder


@pytest.fixture
def spec(two_sources: Path) -> RunSpec:
    return RunSpec(
        model=Transformer(layers=1, width=16, heads=1, ffn_width=32, vocab=16, context=32),
        data=Data(corpus=load(two_sources).manifest.hash, heldout_tokens=4096),
        steps=40,
        batch_contexts=8,
        optimizer=AdamW(learning_rate=1e-2),
        schedule=Schedule(warmup_steps=4, decay_steps=36),
    )


def mixed(spec: RunSpec, *weights: tuple[str, float]) -> RunSpec:
    return replace(spec, data=replace(spec.data, weights=weights))


def test_a_mixture_reads_sources_by_weight_and_scores_each_apart(spec: RunSpec, two_sources: Path) -> None:
    spec = mixed(spec, ("high", 0.8), ("low", 0.2))
    tokens = feed(spec, load(two_sources)).windows(0, 320)
    assert (tokens.min(1) >= 8).mean() == pytest.approx(0.8, abs=0.01)
    record = train(spec, Execution(corpus=two_sources))
    scores = {one.source: one for one in record.sources}
    assert set(scores) == {"low", "high"}
    assert abs(scores["high"].loss - scores["low"].loss) < 0.1  # both are learnt; 40 steps tell them hardly apart
    assert record.loss == pytest.approx(0.8 * scores["high"].loss + 0.2 * scores["low"].loss)
    assert scores["low"].tokens == 2048
    assert scores["low"].bpb == pytest.approx(scores["low"].loss / (2 * math.log(2)))
    assert record.loss_se == pytest.approx(
        math.hypot(0.8 * (scores["high"].loss_se or 0), 0.2 * (scores["low"].loss_se or 0))
    )


def test_a_source_without_weight_is_evaluated_alone(spec: RunSpec, two_sources: Path) -> None:
    record = train(mixed(spec, ("high", 1.0)), Execution(corpus=two_sources))
    scores = {one.source: one.loss for one in record.sources}
    assert record.loss == pytest.approx(scores["high"])
    assert scores["low"] > scores["high"] + 1
    with pytest.raises(SpecError, match="the mixture weighs middle; the corpus has low, high"):
        train(mixed(spec, ("middle", 1.0)), Execution(corpus=two_sources))


def test_sizes_are_the_weights_where_none_are_given(spec: RunSpec, two_sources: Path) -> None:
    assert feed(spec, load(two_sources)).weights == (0.5, 0.5)


def test_the_chain_is_what_it_says() -> None:
    entropies = [CHAIN.entropy(order) for order in range(3)]
    assert min(entropies[:2]) >= 1.1 * entropies[2]
    text = CHAIN.draw(200, 2048)
    # By counting: the share of each symbol after each context, over 400,000 symbols of 64 contexts.
    context, following = (text[:, :-2] * 8 + text[:, 1:-1]).ravel(), text[:, 2:].ravel()
    counts = np.bincount(context.astype(np.int64) * 8 + following, minlength=512).reshape(64, 8)
    shares = counts / counts.sum(1, keepdims=True)
    counted = float(-(counts * np.log(shares)).sum() / counts.sum())
    assert counted == pytest.approx(entropies[2], rel=0.005)
    windows = text[:, : 2 * 1024].reshape(-1, 64)
    best = CHAIN.window_losses(windows) / 63
    expected = (entropies[1] + 62 * entropies[2]) / 63  # the first target of a window is predicted from one symbol
    assert best.mean() == pytest.approx(expected, abs=4 * float(best.std()) / math.sqrt(len(best)))


def test_a_chain_that_cannot_be_is_refused() -> None:
    with pytest.raises(CorpusError, match="a chain of order 9 over 16 symbols has 68,719,476,736 contexts"):
        Chain(order=9, symbols=16)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("synthetic") / "corpus"
    return folder, write(CHAIN, folder, tokens=400_000)


def synthetic_run(corpus: str, steps: int, width: int, rate: float, batch_contexts: int = 16) -> RunSpec:
    return RunSpec(
        model=Transformer(layers=2, width=width, heads=width // 16, ffn_width=4 * width, vocab=8, context=64),
        data=Data(corpus=corpus, heldout_tokens=16_384),
        steps=steps,
        batch_contexts=batch_contexts,
        optimizer=AdamW(learning_rate=rate),
        schedule=Schedule(warmup_steps=steps // 20, decay_steps=steps - steps // 20),
    )


def test_no_model_beats_the_oracle(synthetic: tuple[Path, Manifest]) -> None:
    folder, manifest = synthetic
    record = train(synthetic_run(manifest.hash, 80, 16, 1e-2), Execution(corpus=folder))
    scores = {one.source: one for one in record.sources}
    excess = scores["excess over oracle"]
    assert record.loss == pytest.approx(scores["oracle"].loss + excess.loss)
    assert excess.loss_se is not None
    assert excess.loss >= -3 * excess.loss_se
    assert scores["oracle"].loss == pytest.approx(CHAIN.entropy(), rel=0.03)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_trained_model_comes_within_a_hundredth_of_the_entropy(tmp_path: Path) -> None:
    """Four million symbols, each read once: model minus oracle is neither below nor far above nothing."""
    manifest = write(CHAIN, tmp_path / "corpus", tokens=4_400_000)
    spec = synthetic_run(manifest.hash, 2500, 64, 5e-3)
    spec = replace(spec, model=replace(spec.model, layers=1, heads=2), data=replace(spec.data, heldout_tokens=131_072))
    record = train(spec, Execution(corpus=tmp_path / "corpus"))
    excess = next(one for one in record.sources if one.source == "excess over oracle")
    assert excess.loss_se is not None
    assert excess.loss >= -3 * excess.loss_se
    assert excess.loss <= 0.01 * CHAIN.entropy()


def test_evaluations_during_training_change_nothing_and_find_the_best(
    synthetic: tuple[Path, Manifest], tmp_path: Path
) -> None:
    folder, manifest = synthetic
    plain = synthetic_run(manifest.hash, 200, 16, 1e-2, batch_contexts=4)
    plain = replace(plain, data=replace(plain.data, unique_tokens=1280, heldout_tokens=4096))
    looking = replace(plain, data=replace(plain.data, during=6))
    record, watched = (train(one, Execution(corpus=folder)) for one in (plain, looking))
    assert watched.loss == record.loss
    looks = [point for point in watched.curve if point.heldout_loss is not None]
    assert [point.tokens // 256 for point in looks] == [2, 5, 13, 32, 80, 200]
    assert [point.train_loss for point in record.curve] == [
        point.train_loss for point in watched.curve if point.tokens in {p.tokens for p in record.curve}
    ]
    assert watched.best is not None
    assert watched.best.tuning_loss == min(point.heldout_loss or math.inf for point in looks)
    assert watched.best.tokens in {point.tokens for point in looks}
    assert watched.unique_tokens == 1280
    assert record.best is None
    last = looks[-1]
    assert (watched.best.loss < (watched.loss or 0)) == (watched.best.tokens < last.tokens)


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """Documents about one of four things: each has eight symbols of its own, so that its beginning tells its end."""
    folder = tmp_path_factory.mktemp("topics") / "corpus"
    topic_of = np.random.default_rng(0).integers(0, 4, 400)
    parts, first = {}, 0
    for split, count in (("train", 300), ("heldout", 60), ("tuning", 40)):
        shifts = (8 * topic_of[first : first + count, None]).astype(np.uint16)
        first += count
        tokens = list(CHAIN.draw(count, 256, stream=split) + shifts)
        parts[split] = SplitTokens(names=[str(n) for n in range(count)], tokens=tokens, text_bytes=None)
    return folder, write_corpus(folder, {"": parts}, vocab=32, tokenizer="32", about="topics", licence="none")


def test_a_choice_task_scores_chance_before_training_and_better_after(topics: tuple[Path, Manifest]) -> None:
    folder, manifest = topics
    data = Data(corpus=manifest.hash, heldout_tokens=4096, probe=160)
    trained = replace(synthetic_run(manifest.hash, 80, 16, 1e-2), data=data)
    trained = replace(trained, model=replace(trained.model, vocab=32))
    untrained = replace(
        trained, steps=1, optimizer=AdamW(learning_rate=1e-9), schedule=Schedule(warmup_steps=0, decay_steps=1)
    )
    before, after = (train(one, Execution(corpus=folder)).probe for one in (untrained, trained))
    assert before is not None
    assert after is not None
    assert before.log_prob == pytest.approx(math.log(0.25), abs=1e-3)
    assert before.brier == pytest.approx(0.75, abs=1e-3)
    assert after.questions == 160
    assert after.accuracy > 0.25 + 3 * (after.accuracy_se or 1)
    assert after.log_prob > before.log_prob + 3 * (after.log_prob_se or 1)
    with pytest.raises(CorpusError, match=r"evaluation\.probe asks 5 questions; its held-out text gives 8 to"):
        train(replace(trained, data=replace(data, probe=5)), Execution(corpus=folder))


def test_an_interrupted_run_remembers_its_best(synthetic: tuple[Path, Manifest], tmp_path: Path) -> None:
    """Bit for bit, through the loop's own checkpoints."""
    folder, manifest = synthetic
    spec = synthetic_run(manifest.hash, 120, 16, 1e-2, batch_contexts=4)
    spec = replace(spec, data=replace(spec.data, during=5, unique_tokens=1280, heldout_tokens=4096))
    whole = train(spec, Execution(corpus=folder))
    polls = iter([False] * 60 + [True] * 1000)
    stopping = Execution(
        corpus=folder, checkpoints=tmp_path / "kept", poll_seconds=0.0, should_stop=lambda: next(polls)
    )
    with pytest.raises(Interrupted, match="after step 61 of 120"):
        train(spec, stopping)
    resumed = train(spec, Execution(corpus=folder, checkpoints=tmp_path / "kept"))
    assert resumed.resumed_at_step == 61
    assert (resumed.loss, resumed.curve, resumed.best) == (whole.loss, whole.curve, whole.best)


def test_a_spec_with_a_mixture_survives_json(spec: RunSpec) -> None:
    mixture = replace(mixed(spec, ("high", 0.8), ("low", 0.2)), data=replace(spec.data, unique_tokens=4096, during=3))
    assert from_dict(json.loads(json.dumps(to_dict(mixture)))) == mixture
    assert "weights" not in to_dict(spec)["data"]  # so that a plain run keeps its identity
    assert run_id(mixture) != run_id(spec)
