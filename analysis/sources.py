"""Files and folders of runs as data frames, by their suffix, and what can be wrong with them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis.errors import SourceError
from analysis.stores import is_store, store_curves, store_rows

CURVES_FILE = "curves.parquet"
"""Loss curves beside the runs of a folder, as the gallery keeps them: no table of runs."""

_SUFFIXES = ".csv, .tsv, .json, .jsonl, .ndjson, .parquet"


def load_frame(source: str | os.PathLike[str] | pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """A source as a data frame with a fresh index, and the name that messages call it by.

    Raises:
        SourceError: It does not exist, is of an unknown kind, or is torn.
    """
    if isinstance(source, pd.DataFrame):
        return source.reset_index(drop=True), "the data frame"
    if "://" in os.fspath(source):
        stored: pd.DataFrame = store_rows(source).to_pandas()
        return stored, os.fspath(source)
    path = Path(source)
    if not path.exists():
        raise SourceError(f"{path} does not exist; expected a store or a file of runs ({_SUFFIXES}). Check the path.")
    try:
        frame = _load_folder(path) if path.is_dir() else _load_file(path)
    except (pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path} cannot be read: {error}. Expected a table with one row per run; check the file."
        ) from None
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise SourceError(f"{path} has two columns called {repeated[0]!r}; expected each name once. Rename one.")
    return frame.reset_index(drop=True), str(path)


def read_curves(source: str | os.PathLike[str] | pd.DataFrame) -> pd.DataFrame:
    """Loss curves of runs: `run_id`, `tokens`, `flops` and `train_loss`, one row per recorded step.

    Raises:
        SourceError: The source holds no curves, or lacks one of these columns.
    """
    if not isinstance(source, pd.DataFrame) and is_store(source):
        stored: pd.DataFrame = store_curves(source).to_pandas()
        return stored
    if not isinstance(source, pd.DataFrame) and has_curves(source):
        source = Path(source) / CURVES_FILE
    frame, name = load_frame(source)
    absent = [column for column in ("run_id", "tokens", "flops", "train_loss") if column not in frame]
    if absent:
        raise SourceError(
            f"{name} has no column {absent[0]!r}; it has {', '.join(map(str, frame.columns))}. "
            "Expected loss curves with run_id, tokens, flops and train_loss."
        )
    return frame


def has_curves(source: str | os.PathLike[str]) -> bool:
    """Whether a source is a store, or a folder with loss curves beside its runs."""
    return is_store(source) or (Path(source) / CURVES_FILE).is_file()


def _load_folder(path: Path) -> pd.DataFrame:
    if is_store(path):
        stored: pd.DataFrame = store_rows(path).to_pandas()
        return stored
    parts = [part for part in sorted(path.glob("*.parquet")) if part.name != CURVES_FILE]
    if not parts:
        raise SourceError(
            f"{path} is a folder without Parquet files, and not a store. Expected runs/NAME or a folder of .parquet."
        )
    return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)


def _load_file(path: Path) -> pd.DataFrame:
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return pd.read_csv(path, sep="\t" if suffix == ".tsv" else ",")
    if suffix == ".parquet":
        return pd.read_parquet(path)
    if suffix in (".jsonl", ".ndjson"):
        return _records(path, [_parsed(path, line, i) for i, line in enumerate(_lines(path), 1) if line.strip()])
    if suffix == ".json":
        return _records(path, _parsed(path, path.read_text(encoding="utf-8"), 1))
    raise SourceError(f"{path} ends in {suffix or 'nothing'}; expected one of {_SUFFIXES}. Convert it to one of these.")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _parsed(path: Path, text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SourceError(
            f"{path}:{line + error.lineno - 1} is not JSON: {error.msg}. Expected a list of objects (.json) or one "
            "object a line (.jsonl)."
        ) from None


def _records(path: Path, content: Any) -> pd.DataFrame:
    """A list of objects, a dictionary of columns, or either under the key `runs`."""
    if isinstance(content, dict) and "runs" in content:
        content = content["runs"]
    if isinstance(content, list) and all(isinstance(row, dict) for row in content):
        return pd.DataFrame.from_records(content)
    columns = list(content.values()) if isinstance(content, dict) else []
    if columns and all(isinstance(values, list) and len(values) == len(columns[0]) for values in columns):
        return pd.DataFrame(content)
    raise SourceError(
        f"{path} holds neither a list of objects nor columns of equal length. Expected one object per run."
    )
