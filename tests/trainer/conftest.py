"""A small text of known make, its snapshot, and specs to train on it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from trainer import AdamW, Data, RunSpec, Schedule, Transformer
from trainer.data.corpus import Manifest, snapshot
from trainer.data.sources import TextFiles


def make_text(size: int, seed: int = 0) -> bytes:
    """Lines of words drawn by a Zipf rule, about `size` bytes."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 8))) for _ in range(2000)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    lines, length = [], 0
    while length < size:
        lines.append(" ".join(draw.choices(words, weights, k=8)) + ".\n")
        length += len(lines[-1])
    return "".join(lines).encode()


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_bytes(make_text(400_000))
    return path


@pytest.fixture(scope="session")
def corpus(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    snapshot(TextFiles(paths=(str(text_file),)), folder)
    return folder


@pytest.fixture(scope="session")
def manifest(corpus: Path) -> Manifest:
    from trainer.data.corpus import read_manifest

    return read_manifest(corpus)


@pytest.fixture
def spec(manifest: Manifest) -> RunSpec:
    """A run of 60 steps of 4 windows of 32 tokens."""
    return RunSpec(
        model=Transformer(layers=1, width=16, heads=2, ffn_width=64, vocab=256, context=32),
        data=Data(corpus=manifest.hash, heldout_tokens=2048),
        steps=60,
        batch_contexts=4,
        optimizer=AdamW(learning_rate=1e-2, weight_decay=0.01),
        schedule=Schedule(warmup_steps=5, decay_steps=55),
        seed=1,
    )


Reshape = Callable[..., RunSpec]


@pytest.fixture(scope="session")
def with_shape() -> Reshape:
    """A function that changes fields of a spec's model."""
    return lambda spec, **changes: replace(spec, model=replace(spec.model, **changes))
