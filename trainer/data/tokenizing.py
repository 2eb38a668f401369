"""From text to tokens: bytes as they are, or the merges of a `tokenizer.json`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trainer.data.shards import MOST_IDS, Tokens
from trainer.errors import CorpusError

ENDS_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")
"""Tokens that end a document in known tokenizers, in the order in which they are looked for."""


class Tokenizer(Protocol):
    """What turns documents into tokens, each document with the token that ends it."""

    @property
    def name(self) -> str:
        """What tells its vocabulary from others: `bytes`, or a hash."""

    @property
    def vocab(self) -> int:
        """Number of token ids."""

    def encode(self, texts: Sequence[bytes]) -> list[Tokens]:
        """Tokens of each document, the one that ends it last."""

    def text_bytes(self, text: bytes) -> int | None:
        """Bytes of text that a document's tokens stand for, its end included; None where that is not known."""


@dataclass(frozen=True, kw_only=True)
class Bytes:
    """Every byte is a token; the zero byte ends a document."""

    name: str = "bytes"
    vocab: int = 256

    def encode(self, texts: Sequence[bytes]) -> list[Tokens]:
        """See `Tokenizer`."""
        return [np.frombuffer(text + b"\0", np.uint8).astype(np.uint16) for text in texts]

    def text_bytes(self, text: bytes) -> int | None:
        """See `Tokenizer`."""
        return len(text) + 1


@dataclass(frozen=True, kw_only=True)
class TokenizerFile:
    """A `tokenizer.json` of the `tokenizers` library.

    Attributes:
        name: SHA-256 of the file.
        vocab: Its token ids, and one more where it has none that ends a document.
        end: The token that ends a document.
        library: The tokenizer, opened.
    """

    name: str
    vocab: int
    end: int
    library: Any

    def encode(self, texts: Sequence[bytes]) -> list[Tokens]:
        """See `Tokenizer`. What is not UTF-8 is replaced."""
        decoded = [text.decode("utf-8", errors="replace") for text in texts]
        encoded = self.library.encode_batch_fast(decoded, add_special_tokens=False)
        return [np.array([*one.ids, self.end], np.uint16) for one in encoded]

    def text_bytes(self, text: bytes) -> int | None:
        """See `Tokenizer`. The token that ends a document stands for no text."""
        return len(text)


@dataclass(frozen=True, kw_only=True)
class Tokenized:
    """For files of tokens: documents are their tokens' bytes already.

    Attributes:
        vocab: Number of token ids.
        bytes_per_token: Bytes of text for each token, None where they are not known.
    """

    vocab: int
    bytes_per_token: float | None = None

    @property
    def name(self) -> str:
        """See `Tokenizer`."""
        return f"unknown tokenizer of {self.vocab} ids"

    def encode(self, texts: Sequence[bytes]) -> list[Tokens]:
        """See `Tokenizer`."""
        return [np.frombuffer(text, "<u2") for text in texts]

    def text_bytes(self, text: bytes) -> int | None:
        """See `Tokenizer`."""
        return None if self.bytes_per_token is None else round(len(text) / 2 * self.bytes_per_token)


def open_tokenizer(name: str) -> Tokenizer:
    """The tokenizer that a user names: `bytes`, or the path of a `tokenizer.json`.

    Raises:
        CorpusError: The file is missing or no tokenizer, the library is missing, or 16 bits do not hold its ids.
    """
    if name == "bytes":
        return Bytes()
    path = Path(name).expanduser()
    if not path.is_file():
        raise CorpusError(f"tokenizer {name!r} is not there; expected `bytes` or a tokenizer.json. Correct the path.")
    try:
        from tokenizers import Tokenizer as Library
    except ImportError:
        raise CorpusError(
            f"tokenizer {name!r} needs the library `tokenizers`, which is not installed; expected it beside isoflop. "
            "Install it: pip install 'isoflop[tokenizers]', or use --tokenizer bytes."
        ) from None
    try:
        library = Library.from_file(str(path))
    except Exception as error:  # the library raises bare exceptions
        raise CorpusError(
            f"{path} is no tokenizer ({error}); expected a tokenizer.json of the `tokenizers` library. "
            "Save one with Tokenizer.save."
        ) from None
    library.no_truncation()
    library.no_padding()
    size = library.get_vocab_size(with_added_tokens=True)
    known = [library.token_to_id(token) for token in ENDS_OF_TEXT]
    end = next((token for token in known if token is not None), size)
    vocab = max(size, end + 1, max(library.get_vocab().values(), default=0) + 1)
    if vocab > MOST_IDS:
        raise CorpusError(
            f"{path} has {vocab:,} token ids; expected at most {MOST_IDS:,}, which is what shards of 16 bits hold. "
            "Use a smaller vocabulary."
        )
    return TokenizerFile(name=hashlib.sha256(path.read_bytes()).hexdigest(), vocab=vocab, end=end, library=library)
