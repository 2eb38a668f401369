"""Snapshots: what they hold, what is held out, and how damage is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from trainer import CorpusError
from trainer.data.corpus import SPLITS, Corpus, load, read_manifest, snapshot
from trainer.data.near_duplicates import near_duplicate_groups
from trainer.data.sources import Package, StandardLibrary, TextFiles, estimate, files
from trainer.data.splitting import DOCUMENT_CAP, HELDOUT_SHARE, TUNING_SHARE


@pytest.fixture(scope="module")
def standard_library(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("stdlib")
    snapshot(StandardLibrary(), folder)
    return load(folder)


def test_the_standard_library_is_split_as_promised(standard_library: Corpus) -> None:
    manifest = standard_library.manifest
    held = {name: getattr(manifest, name).tokens for name in SPLITS}
    total = sum(held.values()) + manifest.withdrawn_bytes
    assert held["heldout"] >= HELDOUT_SHARE * total
    assert held["tuning"] >= TUNING_SHARE * total
    lengths = np.diff([*manifest.heldout.documents, manifest.heldout.tokens])
    assert lengths.max() <= DOCUMENT_CAP * held["heldout"] + 1
    assert held["train"] > 5e6
    assert not any(
        "encodings" in name or "/test" in name for split in SPLITS for name in getattr(manifest, split).names
    )
    assert estimate(StandardLibrary()) == pytest.approx(held["train"], rel=0.15)
    assert "PSF" in manifest.licence


def test_nothing_held_out_is_trained_on(standard_library: Corpus) -> None:
    """By an independent method: no held-out document shares half of its longer lines with the training text."""
    trained = {line for line in bytes(standard_library.train).split(b"\n") if len(line) >= 50}
    for name in ("heldout", "tuning"):
        split, text = getattr(standard_library.manifest, name), bytes(getattr(standard_library, name))
        for start, end in zip(split.documents, [*split.documents[1:], split.tokens], strict=True):
            lines = [line for line in text[start : end - 1].split(b"\n")[1:-1] if len(line) >= 50]
            assert sum(line in trained for line in lines) <= max(0.5 * len(lines), 3)
    names = [set(getattr(standard_library.manifest, name).names) for name in SPLITS]
    assert not names[0] & names[1]
    assert not names[0] & names[2]
    assert not names[1] & names[2]


def test_near_duplicates_are_grouped() -> None:
    generator = np.random.default_rng(0)
    texts = [bytes(generator.integers(32, 127, size=4000).astype(np.uint8)) for _ in range(6)]
    edited = texts[0][:1500] + b"changed here" + texts[0][1510:]
    part = texts[1][1000:2500]
    shifted = b"x" * 5 + texts[2]
    labels = near_duplicate_groups([*texts, edited, part, shifted, b"", b"tiny"])
    assert labels == [0, 1, 2, 3, 4, 5, 0, 1, 2, 9, 10]


def test_does_not_depend_on_where_files_lie(text_file: Path, corpus: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "zz.txt"
    moved.parent.mkdir()
    shutil.copy(text_file, moved)
    assert snapshot(TextFiles(paths=(str(moved.parent),)), tmp_path / "corpus").hash == read_manifest(corpus).hash
    assert snapshot(TextFiles(paths=(str(moved),)), tmp_path / "corpus").hash == read_manifest(corpus).hash  # repeated


def test_documents_end_with_a_zero_byte(corpus: Path) -> None:
    opened = load(corpus)
    for name in SPLITS:
        split, text = getattr(opened.manifest, name), getattr(opened, name)
        assert len(text) == split.tokens
        assert all(text[offset - 1] == 0 for offset in split.documents[1:])
        assert text[-1] == 0


def test_a_missing_file_a_small_text_and_a_repetitive_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"nowhere\.txt' is not there"):
        estimate(TextFiles(paths=(str(tmp_path / "nowhere.txt"),)))
    small = tmp_path / "small.txt"
    small.write_bytes(b"too little\n" * 10)
    with pytest.raises(CorpusError, match="bytes of distinct text; expected at least"):
        snapshot(TextFiles(paths=(str(small),)), tmp_path / "corpus")
    for index in range(600):
        (tmp_path / f"same{index}.txt").write_bytes(
            b"%d\n" % index + b"the same line again and again, all through\n" * 40
        )
    with pytest.raises(CorpusError, match="too few or too large"):
        snapshot(TextFiles(paths=(str(tmp_path / "same*.txt"),)), tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize("damage", ["flipped", "short", "missing", "manifest", "format", "none"])
def test_damage_is_told_apart(corpus: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(corpus, folder)
    train, manifest = folder / "train.bin", folder / "manifest.json"
    if damage == "flipped":
        content = bytearray(train.read_bytes())
        content[1000] ^= 1
        train.write_bytes(content)
    elif damage == "short":
        train.write_bytes(train.read_bytes()[:-1])
    elif damage == "missing":
        train.unlink()
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:-20])
    elif damage == "format":
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 99}))
    else:
        manifest.unlink()
    expected = {
        "flipped": "changed after the snapshot",
        "short": "It is torn",
        "missing": "is not there",
        "manifest": "is torn",
        "format": "has format 99; expected 1 or 2",
        "none": "no corpus in",
    }
    with pytest.raises(CorpusError, match=expected[damage]):
        load(folder)


def test_the_wrong_corpus_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="the run expects 000000000000"):
        load(corpus, expect="0" * 64)
    shutil.copytree(corpus, tmp_path / "held")
    other = tmp_path / "other.txt"
    other.write_bytes(bytes(np.random.default_rng(0).integers(10, 127, size=200_000).astype(np.uint8)))
    with pytest.raises(CorpusError, match="holds another corpus"):
        snapshot(TextFiles(paths=(str(other),)), tmp_path / "held")


def test_an_installed_package_is_text_too(tmp_path: Path) -> None:
    found = files(Package(name="yaml"))
    assert "__init__.py" in {name for name, _ in found}
    assert all(path.suffix == ".py" for _, path in found)
    with pytest.raises(CorpusError, match=r"package 'no_such_package' is not installed here; expected .* sympy"):
        files(Package(name="no_such_package"))
