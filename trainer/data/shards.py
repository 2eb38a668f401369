"""Token shards: files of 16-bit tokens that are mapped into memory, with the header of llm.c and modded-nanogpt.

A shard is 256 little-endian 32-bit integers (magic number, version, number of tokens, zeros), then the tokens as
little-endian unsigned 16-bit integers. nanoGPT writes the tokens alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from trainer.errors import CorpusError

MAGIC = 20240520
VERSION = 1
HEADER_INTS = 256
HEADER_BYTES = 4 * HEADER_INTS
MOST_IDS = 1 << 16
"""Token ids that 16 bits can tell apart."""

Tokens = np.ndarray[Any, np.dtype[np.uint16]]


def write_shard(path: Path, tokens: Tokens) -> str:
    """Write one shard to disk for good; gives the SHA-256 of its tokens."""
    header = np.zeros(HEADER_INTS, "<i4")
    header[:3] = MAGIC, VERSION, len(tokens)
    payload = np.ascontiguousarray(tokens, "<u2").tobytes()
    with path.open("wb") as file:
        file.write(header.tobytes())
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(payload).hexdigest()


def read_shard(path: Path) -> Tokens:
    """The tokens of a shard with a header, mapped into memory.

    Raises:
        CorpusError: It is missing, torn, of another byte order, or no shard.
    """
    size = _size(path)
    header = np.fromfile(path, "<i4", count=min(HEADER_INTS, size // 4))
    if len(header) and header[0] == np.int32(MAGIC).byteswap():
        raise CorpusError(
            f"{path} is of another byte order: its magic number reads {header[0]}; expected {MAGIC}, little-endian. "
            "Write the shard anew on a little-endian machine, or swap the bytes of header and tokens."
        )
    if len(header) < HEADER_INTS or header[0] != MAGIC or header[1] != VERSION:
        found = f"magic number {header[0]}, version {header[1]}" if len(header) > 1 else f"{size} bytes"
        raise CorpusError(
            f"{path} is no token shard: it begins with {found}; expected magic number {MAGIC}, version {VERSION}. "
            "For a file of tokens without a header: isoflop prepare --tokens FILE --vocab N --out DIR."
        )
    count, held = int(header[2]), (size - HEADER_BYTES) / 2
    if count != held:
        raise CorpusError(
            f"{path} is torn: its header says {count:,} tokens, the file holds {held:,g}; expected as many. "
            "Copy the shard anew, or prepare the data again."
        )
    return _mapped(path, HEADER_BYTES, count)


def read_tokens(path: Path) -> Tokens:
    """The tokens of a shard, or of a file of tokens without a header, as nanoGPT writes it.

    Raises:
        CorpusError: It is missing, torn, or of another byte order.
    """
    size = _size(path)
    magic = np.fromfile(path, "<i4", count=1) if size >= 4 else np.zeros(1, "<i4")
    if magic[0] in (MAGIC, np.int32(MAGIC).byteswap()):
        return read_shard(path)
    if size % 2:
        raise CorpusError(
            f"{path} is torn: {size:,} bytes are no whole number of 16-bit tokens; expected an even number. "
            "Copy the file anew."
        )
    return _mapped(path, 0, size // 2)


class Joined:
    """Several shards as one array of tokens, of which places are read by index."""

    def __init__(self, shards: Sequence[Tokens]) -> None:
        self.shards = shards
        self._ends = np.cumsum([len(shard) for shard in shards])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, places: Any) -> Tokens:
        """Tokens at `places`, an array of indices of any shape."""
        places = np.asarray(places)
        found = np.empty(places.shape, np.uint16)
        owner = np.searchsorted(self._ends, places, side="right")
        for number in np.unique(owner):
            here = owner == number
            begin = self._ends[number] - len(self.shards[number])
            found[here] = self.shards[number][places[here] - begin]
        return found


def joined(shards: Sequence[Tokens]) -> Tokens:
    """One array for all: the only shard itself, or a `Joined`, of which whole slices cannot be taken."""
    return shards[0] if len(shards) == 1 else cast(Tokens, Joined(shards))


def largest_token(tokens: Any) -> int:
    """The largest token of an array, several shards or one; 0 for none."""
    shards = tokens.shards if isinstance(tokens, Joined) else [tokens]
    return max((int(shard.max()) for shard in shards if len(shard)), default=0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise CorpusError(f"{path} is not there; expected a file of tokens. Correct the path.") from None


def _mapped(path: Path, offset: int, count: int) -> Tokens:
    if count == 0:
        return np.empty(0, np.uint16)
    return np.memmap(path, "<u2", mode="r", offset=offset, shape=(count,))
