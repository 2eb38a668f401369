"""Where a corpus comes from: the standard library, an installed package, or text files of the user's own.

Standard library only, so that a plan can size a corpus without numpy or torch.
"""

from __future__ import annotations

import glob
import os
import platform
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from trainer.errors import CorpusError

TEXT_SUFFIXES = frozenset(
    {".txt", ".md", ".rst", ".py", ".tex", ".html", ".xml", ".json", ".jsonl", ".csv", ".c", ".h"}
)
"""Files that a folder of text contributes; a path or glob that names a file takes it whatever its suffix."""

_NOT_SOURCES = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "encodings"})
_TRAIN_SHARE = 0.78
"""Bytes left for training of those on disk: .784 for the standard library of Python 3.11 (see `trainer.data.corpus`)."""


@dataclass(frozen=True, kw_only=True)
class StandardLibrary:
    """`.py` files of the running Python's standard library.

    Left out: tests; `encodings`, an eighth of all bytes in near-identical tables; and the `_sysconfigdata` and
    `config-*` files that an installation generates about its own machine.
    """


@dataclass(frozen=True, kw_only=True)
class TextFiles:
    """Text files of the user's own, read as bytes.

    Attributes:
        paths: Files, folders (taken whole, by suffix) and globs (`**` included).
        licence: What the user says about their licence; kept in the manifest.
    """

    paths: tuple[str, ...]
    licence: str = "not stated"


@dataclass(frozen=True, kw_only=True)
class Package:
    """`.py` files of an installed Python package, without its tests; the package is looked up and not imported.

    Attributes:
        name: Its import name, such as `sympy`, which comes with torch.
    """

    name: str


Source = StandardLibrary | TextFiles | Package


def describe(source: Source) -> tuple[str, str]:
    """One line about the source, and its licence."""
    if isinstance(source, StandardLibrary):
        return f"standard library of Python {platform.python_version()}", "PSF-2.0"
    if isinstance(source, Package):
        try:
            found = metadata.metadata(source.name).json
        except metadata.PackageNotFoundError:
            return f"package {source.name}", "not stated"
        licence = found.get("license_expression") or found.get("license") or "not stated"
        return f"package {source.name} {found['version']}", str(licence)
    return "text files: " + ", ".join(source.paths), source.licence


def files(source: Source) -> list[tuple[str, Path]]:
    """Name within the source, and path, of every file.

    Raises:
        CorpusError: A path is not there, or nothing was found.
    """
    if isinstance(source, StandardLibrary):
        root = Path(sysconfig.get_path("stdlib"))
        found = [(os.path.relpath(path, root), path) for path in _python_sources(root)]
    elif isinstance(source, Package):
        root = _package_root(source.name)
        found = [(os.path.relpath(path, root), path) for path in _python_sources(root)]
    else:
        found = [(str(path), path) for pattern in source.paths for path in _text_files(pattern)]
    if not found:
        raise CorpusError(
            f"no file in {describe(source)[0]}; expected text to train on. Name files or folders that hold some."
        )
    return sorted(set(found))


def estimate(source: Source) -> int:
    """Training bytes that a snapshot of `source` will hold, within a tenth or so, from file sizes alone.

    Duplicates and what is held out are taken off by a fixed share; `trainer.data.corpus.snapshot` gives the exact number.

    Raises:
        CorpusError: As `files`.
    """
    return int(_TRAIN_SHARE * sum(path.stat().st_size for _, path in files(source)))


def _package_root(name: str) -> Path:
    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise CorpusError(
            f"package {name!r} is not installed here; expected a package that every node has, such as sympy. Install it, "
            "or name another."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _python_sources(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _NOT_SOURCES and not name.startswith("config-")]
        for name in names:
            if name.endswith(".py") and not name.startswith("_sysconfigdata"):
                yield Path(folder, name)


def _text_files(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        return [file for file in path.rglob("*") if file.suffix.lower() in TEXT_SUFFIXES and file.is_file()]
    matches = [Path(match) for match in glob.glob(str(path), recursive=True)]
    found = [match for match in matches if match.is_file()]
    if not found:
        raise CorpusError(
            f"text file {pattern!r} is not there; expected a file, a folder or a glob that matches some. "
            "Correct the path (relative ones start at the working folder)."
        )
    return found
