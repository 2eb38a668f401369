"""Prepared data: the same text gives the same corpus, nothing held out is trained on, nothing half made passes as whole."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from trainer import CorpusError
from trainer.data.corpus import SPLITS, load
from trainer.data.manifests import Manifest
from trainer.data.preparing import Document, prepare, unfinished
from trainer.data.tokenizing import Bytes, Tokenized, Tokenizer, open_tokenizer


def lines(size: int, seed: int) -> bytes:
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 8))) for _ in range(2000)]
    found: list[str] = []
    while len(found) * 40 < size:
        found += [" ".join(draw.choices(words, k=8)) + ".\n" for _ in range(200)]
    return "".join(found).encode()


TEXT, OTHER = lines(560_000, 0), lines(540_000, 1)


def made(documents: Sequence[Document], folder: Path, tokenizer: Tokenizer | None = None, **options: int) -> Manifest:
    return prepare(documents, tokenizer or Bytes(), folder, about="test", licence="none", notes={}, **options)


def texts(folder: Path, split: str) -> bytes:
    return b"".join(np.asarray(source.tokens(split)).astype(np.uint8).tobytes() for source in load(folder).sources)


def test_the_split_keeps_its_promises_for_every_source(tmp_path: Path) -> None:
    documents = [
        Document(source="a", name="a", content=TEXT),
        Document(source="b", name="b", content=OTHER + TEXT[:100_000]),  # part of it is in the other source, too
    ]
    manifest = made(documents, tmp_path / "corpus", shard_tokens=200_000, least_piece=512)
    assert [source.name for source in manifest.sources] == ["a", "b"]
    notes = dict(manifest.notes)
    assert notes["near_copies"] > 0  # of 200 pieces that repeat, cut at other places
    for source, size in zip(manifest.sources, (len(TEXT), len(OTHER)), strict=True):
        assert source.heldout.tokens >= 0.045 * size
        assert source.tuning.tokens >= 0.02 * size
        assert source.heldout.longest_document <= 512 + 1
        assert len(source.train.shards) >= 2
        assert sum(shard.tokens for shard in source.train.shards) == source.train.tokens
    trained = set(texts(tmp_path / "corpus", "train").split(b"\n"))
    for split in ("heldout", "tuning"):
        for document in texts(tmp_path / "corpus", split).split(b"\0"):
            held = [line for line in document.split(b"\n")[1:-1] if len(line) > 30]
            # two pieces with .4 in common are on one side; a sketch of 30 hashes knows that share within .09 (1 SE)
            assert sum(line in trained for line in held) <= max(0.67 * len(held), 3)


def test_the_order_and_the_names_of_documents_do_not_matter(tmp_path: Path) -> None:
    documents = [
        Document(source="", name=str(number), content=TEXT[start : start + 1000])
        for number, start in enumerate(range(0, len(TEXT) - 1000, 1000))
    ]
    first = made(documents, tmp_path / "first", least_piece=512)
    again = made([*documents[::-1], documents[3]], tmp_path / "again", least_piece=512)
    assert first.hash == again.hash
    assert dict(again.notes)["duplicates"] == 1
    assert first.sources[0].train.documents == again.sources[0].train.documents


def test_a_small_text_is_cut_into_contiguous_parts(tmp_path: Path) -> None:
    small = TEXT[:7000]
    manifest = made([Document(source="", name="README", content=small)], tmp_path / "corpus")
    assert dict(manifest.notes)["contiguous"] == [""]
    parts = [texts(tmp_path / "corpus", split).replace(b"\0", b"") for split in SPLITS]
    assert b"".join(parts) == small
    assert all(len(manifest.sources[0].split(split).documents) >= 2 for split in SPLITS)


@dataclass(frozen=True)
class Dying:
    """A tokenizer under which the process is killed once some of the corpus is on disk."""

    name: str = "bytes"
    vocab: int = 256

    def encode(self, texts: Sequence[bytes]) -> list[np.ndarray]:  # type: ignore[type-arg]
        import os

        if any(b"dies here" in text for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)
        return Bytes().encode(texts)  # type: ignore[return-value]

    def text_bytes(self, text: bytes) -> int:
        return len(text) + 1


def test_a_killed_preparation_leaves_nothing_that_passes_as_one(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from test_preparing import *\n"
        "documents = [Document(source=name, name=name, content=text) for name, text in "
        "(('a', TEXT[:50_000]), ('b', TEXT[50_000:90_000] + b'dies here'))]\n"
        "made(documents, Path(sys.argv[2]), Dying())\n"
    )
    out = tmp_path / "corpus"
    ended = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent), str(out)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not out.exists()
    (left,) = unfinished(out)
    assert list(left.glob("a-train-*.bin"))
    assert not (left / "manifest.json").exists()
    made([Document(source="", name="a", content=TEXT[:50_000])], out)
    assert load(out).manifest.sources[0].train.tokens > 0


def test_damage_to_a_shard_is_told(tmp_path: Path) -> None:
    manifest = made([Document(source="", name="a", content=TEXT[:50_000])], tmp_path / "corpus")
    path = tmp_path / "corpus" / manifest.train.shards[0].file
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorpusError, match="were changed after the snapshot"):
        load(tmp_path / "corpus")


def test_a_tokenizer_file(tmp_path: Path) -> None:
    library = pytest.importorskip("tokenizers", reason="needs isoflop[tokenizers]")
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([TEXT[:100_000].decode()], trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    opened = open_tokenizer(str(tmp_path / "tokenizer.json"))
    manifest = made([Document(source="", name="a", content=TEXT[:50_000])], tmp_path / "corpus", opened)
    assert manifest.vocab == 400
    assert manifest.bytes_per_token is not None
    assert 1.5 < manifest.bytes_per_token < 4
    corpus, split = load(tmp_path / "corpus"), manifest.sources[0].heldout
    assert all(corpus.heldout[offset - 1] == 0 for offset in split.documents[1:])  # <|endoftext|> is id 0
    whole = "".join(tokenizer.decode(np.asarray(corpus.sources[0].tokens(split)).tolist()) for split in SPLITS)
    assert whole == TEXT[:50_000].decode()
    assert split.text_bytes is not None
    assert split.bytes_per_token == pytest.approx(split.text_bytes / len(corpus.heldout))


def test_tokenizers_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"nowhere\.json' is not there; expected `bytes` or a tokenizer\.json"):
        open_tokenizer(str(tmp_path / "nowhere.json"))
    pytest.importorskip("tokenizers", reason="needs isoflop[tokenizers]")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CorpusError, match="is no tokenizer"):
        open_tokenizer(str(tmp_path / "tokenizer.json"))


def test_tokens_stay_as_they_are(tmp_path: Path) -> None:
    """Documents of tokens above 255: cut at whole tokens, none lost."""
    tokens = np.random.default_rng(0).integers(0, 5000, 30_000).astype("<u2")
    document = Document(source="", name="a", content=tokens.tobytes())
    manifest = made([document], tmp_path / "corpus", Tokenized(vocab=5000))
    corpus = load(tmp_path / "corpus")
    assert np.array_equal(np.concatenate([corpus.train, corpus.heldout, corpus.tuning]), tokens)
    assert manifest.bytes_per_token is None
    assert manifest.vocab == 5000
