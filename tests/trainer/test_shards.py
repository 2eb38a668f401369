"""Token shards: what is written is read, and what is damaged is told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer import CorpusError
from trainer.data.shards import HEADER_BYTES, joined, read_shard, read_tokens, write_shard

TOKENS = np.arange(1000, dtype=np.uint16) * 61


def test_a_shard_has_the_header_of_llm_c(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.bin", TOKENS)
    raw = (tmp_path / "a.bin").read_bytes()
    assert np.frombuffer(raw[:12], "<i4").tolist() == [20240520, 1, 1000]
    assert len(raw) == 256 * 4 + 2 * 1000
    assert np.array_equal(np.frombuffer(raw[1024:], "<u2"), TOKENS)
    assert np.array_equal(read_shard(tmp_path / "a.bin"), TOKENS)
    assert np.array_equal(read_tokens(tmp_path / "a.bin"), TOKENS)


def test_tokens_without_a_header_are_read(tmp_path: Path) -> None:
    TOKENS.tofile(tmp_path / "train.bin")
    assert np.array_equal(read_tokens(tmp_path / "train.bin"), TOKENS)
    (tmp_path / "train.bin").write_bytes(b"abc")
    with pytest.raises(CorpusError, match="no whole number of 16-bit tokens"):
        read_tokens(tmp_path / "train.bin")
    with pytest.raises(CorpusError, match="is no token shard: it begins with 3 bytes; expected magic number 20240520"):
        read_shard(tmp_path / "train.bin")


def test_damage_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_shard(path, TOKENS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(
        CorpusError, match=r"is torn: its header says 1,000 tokens, the file holds 995; .* Copy the shard"
    ):
        read_shard(path)
    swapped = np.frombuffer(whole[:HEADER_BYTES], "<i4").byteswap().tobytes() + TOKENS.byteswap().tobytes()
    path.write_bytes(swapped)
    for read in (read_shard, read_tokens):
        with pytest.raises(CorpusError, match=r"is of another byte order: .* expected 20240520, little-endian"):
            read(path)
    with pytest.raises(CorpusError, match="is not there"):
        read_shard(tmp_path / "b.bin")


def test_several_shards_are_read_as_one() -> None:
    whole = joined([TOKENS[:300], TOKENS[300:301], TOKENS[301:]])
    places = np.array([[0, 299, 300], [301, 999, 5]])
    assert len(whole) == 1000
    assert np.array_equal(whole[places], TOKENS[places])
