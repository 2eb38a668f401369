"""Documents to prepare: text files, JSON lines, Parquet, files of tokens, and Hugging Face datasets."""

from __future__ import annotations

import glob
import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from orchestrator.errors import DataError

if TYPE_CHECKING:
    from trainer.data.preparing import Document

Kind = Literal["text", "jsonl", "parquet", "tokens"]

SUFFIXES: dict[str, Kind] = {".jsonl": "jsonl", ".parquet": "parquet", ".bin": "tokens"}
"""Kinds that a file's name tells, a `.gz` at its end aside; every other file is text."""

NAME_LENGTH = 64


@dataclass(frozen=True, kw_only=True)
class Input:
    """Files of one kind that belong to one source.

    Attributes:
        source: Name of the source; empty where there is only one.
        kind: What the files hold.
        patterns: Files, folders of text, and globs.
        field: Field of JSON lines, or column of Parquet, that holds the text.
    """

    source: str
    kind: Kind
    patterns: tuple[str, ...]
    field: str = "text"


@dataclass(frozen=True, kw_only=True)
class HubDataset:
    """A dataset of the Hugging Face hub, or a folder that the `datasets` library reads.

    Attributes:
        source: Name of the source; empty where there is only one.
        name: Its name or path.
        config: Its configuration, None for the only one.
        split: Which of its splits.
        field: Column that holds the text.
    """

    source: str
    name: str
    config: str | None
    split: str
    field: str


def named(text: str) -> Input:
    """The input that `NAME=PATTERN` asks for; its kind follows from the file's name.

    Raises:
        DataError: There is no name, or one that is no file name.
    """
    name, equals, pattern = text.partition("=")
    if not equals or not pattern or not name.replace("-", "").replace("_", "").isalnum() or len(name) > NAME_LENGTH:
        raise DataError(
            f"--source {text}: expected NAME=FILES, the name of letters, digits, - and _. "
            "For example --source books=books/*.txt."
        )
    return Input(source=name, kind=kind_of(pattern), patterns=(pattern,))


def kind_of(path: str) -> Kind:
    """What a file's name says that it holds."""
    return SUFFIXES.get(Path(path.removesuffix(".gz")).suffix, "text")


def fingerprint(inputs: Sequence[Input | HubDataset], settings: dict[str, Any]) -> str:
    """Hash over the contents of all files and all settings: whether a preparation was made of the same."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for one in inputs:
        if isinstance(one, HubDataset):
            digest.update(repr(one).encode())
            continue
        for path in paths(one):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(json.dumps([one.source, one.kind, one.field, content]).encode())
    return digest.hexdigest()


def describe(inputs: Sequence[Input | HubDataset]) -> str:
    """One line about where the documents come from."""
    return ", ".join(one.name if isinstance(one, HubDataset) else " ".join(one.patterns) for one in inputs)


def paths(wanted: Input) -> list[Path]:
    """The files of an input, in order.

    Raises:
        DataError: A pattern names none.
    """
    found: list[Path] = []
    for pattern in wanted.patterns:
        if wanted.kind == "text":
            found += _text_files(pattern)
            continue
        matches = [Path(match) for match in sorted(glob.glob(str(Path(pattern).expanduser()), recursive=True))]
        files = [match for match in matches if match.is_file()]
        if not files:
            raise DataError(
                f"{pattern} is not there; expected a {wanted.kind} file or a glob that matches some. Correct the path."
            )
        found += files
    return found


def documents(inputs: Sequence[Input | HubDataset], *, separator: int | None = None) -> Iterator[Document]:
    """All documents of all inputs.

    Args:
        inputs: Where they lie.
        separator: For files of tokens: the token that ends a document; None takes a file as one document.

    Raises:
        DataError: A file cannot be read as what it is said to be.
    """
    for one in inputs:
        if isinstance(one, HubDataset):
            yield from _of_dataset(one)
        else:
            for path in paths(one):
                try:
                    yield from _of_file(one, path, separator)
                except OSError as error:
                    raise DataError(
                        f"cannot read {path}: {error.strerror}. Make it readable, or leave it out."
                    ) from None


def _of_file(one: Input, path: Path, separator: int | None) -> Iterator[Document]:
    from trainer.data.preparing import Document

    if one.kind == "text":
        with _opened(path) as file:
            yield Document(source=one.source, name=str(path), content=file.read())
    elif one.kind == "jsonl":
        yield from _of_lines(one, path)
    elif one.kind == "parquet":
        yield from _of_parquet(one, path)
    else:
        yield from _of_tokens(one, path, separator)


def _of_lines(one: Input, path: Path) -> Iterator[Document]:
    from trainer.data.preparing import Document

    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                text = json.loads(line)[one.field]
            except ValueError as error:
                raise DataError(
                    f"{path}:{number}: not JSON ({error}); expected one JSON object a line. Correct or remove the line."
                ) from None
            except (KeyError, TypeError):
                raise DataError(
                    f'{path}:{number}: no field "{one.field}"; expected an object with the text there. '
                    "Name the field with --field."
                ) from None
            if not isinstance(text, str):
                raise DataError(
                    f'{path}:{number}: "{one.field}" is {type(text).__name__}; expected text. Name another with --field.'
                )
            yield Document(source=one.source, name=f"{path}:{number}", content=_encoded(text))


def _of_parquet(one: Input, path: Path) -> Iterator[Document]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from trainer.data.preparing import Document

    try:
        file = pq.ParquetFile(path)
        columns = file.schema_arrow.names
        if one.field not in columns:
            raise DataError(
                f'{path} has no column "{one.field}"; it has {", ".join(columns)}. Name the text\'s with --column.'
            )
        row = 0
        for batch in file.iter_batches(columns=[one.field]):
            for value in batch.column(0).to_pylist():
                row += 1
                if isinstance(value, str):
                    yield Document(source=one.source, name=f"{path}:{row}", content=_encoded(value))
                elif value is not None:
                    raise DataError(
                        f'{path}: column "{one.field}" holds {type(value).__name__}; expected text. '
                        "Name another with --column."
                    )
    except pa.ArrowException as error:
        raise DataError(
            f"{path} is no Parquet file ({error}); expected one. Correct the path, or copy it anew."
        ) from None


def _of_tokens(one: Input, path: Path, separator: int | None) -> Iterator[Document]:
    import numpy as np

    from trainer.data.preparing import Document
    from trainer.data.shards import read_tokens

    tokens = read_tokens(path)
    if separator is None:
        yield Document(source=one.source, name=str(path), content=tokens.tobytes())
        return
    ends = np.flatnonzero(tokens == separator) + 1
    for begin, end in zip([0, *ends.tolist()], [*ends.tolist(), len(tokens)], strict=True):
        if end > begin:
            yield Document(source=one.source, name=f"{path}:{begin}", content=tokens[begin:end].tobytes())


def _of_dataset(one: HubDataset) -> Iterator[Document]:
    from trainer.data.preparing import Document

    try:
        from datasets import load_dataset
    except ImportError:
        raise DataError(
            f"dataset {one.name} needs the library `datasets`, which is not installed; expected it beside isoflop. "
            "Install it: pip install 'isoflop[datasets]', or save the data as Parquet and use --parquet."
        ) from None
    try:
        table = load_dataset(one.name, one.config, split=one.split)
    except Exception as error:  # the library's errors have no common root
        said = " ".join(str(error).split())
        raise DataError(
            f"dataset {one.name} cannot be loaded ({said}); expected one of the hub, or a folder of Parquet or JSON lines. "
            "Look at --dataset, --config and --split, or save the data as Parquet and use --parquet."
        ) from None
    if one.field not in table.column_names:
        raise DataError(
            f'dataset {one.name} has no column "{one.field}"; it has {", ".join(table.column_names)}. '
            "Name the text's with --column."
        )
    for number, row in enumerate(table):
        yield Document(source=one.source, name=f"{one.name}:{number}", content=_encoded(row[one.field] or ""))


def _text_files(pattern: str) -> list[Path]:
    from trainer.data.sources import TextFiles, files

    return [path for _, path in files(TextFiles(paths=(pattern,)))]


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")
