"""Preparing data once, so that sweeps can name a folder: `isoflop prepare`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import inputs
from orchestrator.errors import DataError
from orchestrator.inputs import HubDataset, Input

if TYPE_CHECKING:
    from trainer.data.manifests import Manifest
    from trainer.data.tokenizing import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How data is prepared.

    Attributes:
        tokenizer: `bytes`, or the path of a `tokenizer.json`.
        vocab: For files of tokens: the number of token ids.
        separator: For files of tokens: the token that ends a document.
        bytes_per_token: For files of tokens: bytes of text for each.
        piece_bytes: Smallest piece that long documents are cut into where there are few; None for the usual.
        licence: What the user says about the text's licence.
    """

    tokenizer: str = "bytes"
    vocab: int | None = None
    separator: int | None = None
    bytes_per_token: float | None = None
    piece_bytes: int | None = None
    licence: str = "not stated"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A folder of prepared data.

    Attributes:
        folder: Where it lies.
        manifest: What it holds.
        repeated: Whether it was there already, made of the same files in the same way.
        started_over: Whether an unfinished preparation was thrown away first.
    """

    folder: Path
    manifest: Manifest
    repeated: bool
    started_over: bool


def prepare(wanted: Sequence[Input | HubDataset], out: Path, settings: Settings | None = None) -> Prepared:
    """Deduplicate, split, tokenise and write text into `out`.

    A preparation that was killed leaves nothing in `out`; repeated, it starts over. One that is complete is not made
    again.

    Raises:
        DataError: Nothing to prepare, files that cannot be read, or a folder that holds something else.
        CorpusError: A tokenizer that cannot be used, or text that cannot be split.
    """
    from trainer.data import preparing

    settings = settings or Settings()
    _check(wanted, settings)
    made_of = inputs.fingerprint(wanted, asdict(settings) | {"tokenizer": _tokenizer_key(settings)})
    if (out / "manifest.json").exists():
        return Prepared(folder=out, manifest=_same(out, made_of), repeated=True, started_over=False)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} holds other files; expected a new or an empty folder. Choose another --out.")
    stale = preparing.unfinished(out)
    for folder in stale:
        shutil.rmtree(folder, ignore_errors=True)
    manifest = preparing.prepare(
        inputs.documents(wanted, separator=settings.separator),
        _tokenizer(wanted, settings),
        out,
        about=inputs.describe(wanted),
        licence=settings.licence,
        notes={"inputs": made_of},
        least_piece=settings.piece_bytes or preparing.LEAST_PIECE,
    )
    return Prepared(folder=out, manifest=manifest, repeated=False, started_over=bool(stale))


def _check(wanted: Sequence[Input | HubDataset], settings: Settings) -> None:
    if not wanted:
        raise DataError(
            "there is nothing to prepare; expected text. Name it with --text, --jsonl, --parquet, --tokens, --dataset "
            "or --source NAME=FILES."
        )
    names = {one.source for one in wanted}
    if "" in names and len(names) > 1:
        named = ", ".join(sorted(names - {""}))
        raise DataError(
            f"some text has a source ({named}), some has none; expected a name for all of it. Use --source NAME=FILES."
        )
    kinds = {one.kind for one in wanted if isinstance(one, Input)}
    if "tokens" in kinds and (kinds != {"tokens"} or len(kinds) != len({type(one) for one in wanted})):
        raise DataError(
            "files of tokens and text are given together; expected one of the two. Prepare the text with the tokenizer "
            "that made the tokens, or each into a folder of its own."
        )
    if ("tokens" in kinds) != (settings.vocab is not None):
        given = "no --vocab" if settings.vocab is None else f"--vocab {settings.vocab}"
        raise DataError(
            f"{given} for {'files of tokens' if 'tokens' in kinds else 'text'}; expected --vocab for files of tokens "
            "alone, for these do not say how many ids there are. GPT-2's have 50257."
        )


def _tokenizer_key(settings: Settings) -> str:
    path = Path(settings.tokenizer).expanduser()
    if settings.tokenizer == "bytes" or not path.is_file():
        return settings.tokenizer
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def _tokenizer(wanted: Sequence[Input | HubDataset], settings: Settings) -> Tokenizer:
    from trainer.data.tokenizing import Tokenized, open_tokenizer

    if settings.vocab is None:
        return open_tokenizer(settings.tokenizer)
    _check_ids(wanted, settings.vocab)
    return Tokenized(vocab=settings.vocab, bytes_per_token=settings.bytes_per_token)


def _check_ids(wanted: Sequence[Input | HubDataset], vocab: int) -> None:
    from trainer.data.shards import MOST_IDS, read_tokens

    if not 2 <= vocab <= MOST_IDS:
        raise DataError(f"--vocab {vocab}; expected 2 to {MOST_IDS:,}, which is what 16 bits hold. Correct it.")
    for one in wanted:
        for path in inputs.paths(one) if isinstance(one, Input) else []:
            tokens = read_tokens(path)
            largest = int(tokens.max()) if len(tokens) else 0
            if largest >= vocab:
                raise DataError(
                    f"{path} has token {largest:,}, the vocabulary ends at {vocab - 1:,}; expected every token below "
                    f"--vocab. Give the vocabulary of the tokenizer that made it (at least {largest + 1:,}), or look "
                    "whether the file is of another byte order."
                )


def _same(out: Path, made_of: str) -> Manifest:
    """The manifest of a folder that was made of the same."""
    from trainer.data.corpus import load

    manifest = load(out).manifest
    if dict(manifest.notes).get("inputs") != made_of:
        raise DataError(
            f"{out} holds data that was prepared from other text or in another way ({manifest.source}); a preparation "
            "never replaces one. Expected a new folder: choose another --out, or delete this one."
        )
    return manifest
