"""Which files of a folder travel to a cluster, and the archive that they travel in.

Left out are what `.gitignore` and `.rayignore` name, and, whatever these say, what is never anybody else's: version
control, `.env` files, virtual environments, caches and stores. The archive of the same files is the same bytes, so that
Ray sends it once.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pathspec

from orchestrator.errors import SubmissionError

LARGEST_BYTES = 100_000_000
"""Bytes that are sent at most (chosen): the head holds the archive in memory, and every node fetches it."""

IGNORE_FILES = (".gitignore", ".rayignore")

NEVER_FOLDERS = {
    ".git": "version control",
    ".hg": "version control",
    ".svn": "version control",
    ".ssh": "keys",
    ".aws": "keys",
    ".venv": "virtual environment",
    "node_modules": "installed packages",
    "__pycache__": "cache",
}
"""Names of folders that never travel, and why."""

SHOWN_LARGEST = 3
"""Largest files that are named (chosen)."""

_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The only time that every archive has."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """What travels.

    Attributes:
        root: The folder that becomes the job's working folder.
        files: Path below the root, and bytes, of every file, in order.
        left_out: What never travels and is there: path below the root, and why.
    """

    root: Path
    files: tuple[tuple[str, int], ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size in self.files)

    @property
    def largest(self) -> list[tuple[str, int]]:
        """The largest files, largest first."""
        return sorted(self.files, key=lambda file: -file[1])[:SHOWN_LARGEST]

    def holds(self, path: Path) -> bool:
        """Whether a file, or every file that is below a folder, travels."""
        try:
            name = path.resolve().relative_to(self.root.resolve()).as_posix()
        except ValueError:
            return False
        return any(file == name or file.startswith(f"{name}/") or name == "." for file, _ in self.files)


def choose(root: Path, *, limit: int = LARGEST_BYTES) -> Package:
    """Choose what of a folder travels.

    Raises:
        SubmissionError: It is a home folder or the root of a disk, or holds more than `limit` bytes to send.
    """
    root = root.resolve()
    if root in (Path.home().resolve(), Path(root.anchor)):
        raise SubmissionError(
            f"{root} is a home folder or a whole disk; expected the folder of a project. "
            "Start isoflop submit in the folder that holds the sweep file."
        )
    left_out: list[tuple[str, str]] = []
    found = sorted(_files(root, root, _ignored_above(root), left_out))
    package = Package(root=root, files=tuple(found), left_out=tuple(sorted(left_out)))
    if package.size > limit:
        named = ", ".join(f"{name} ({size / 1e6:.1f} MB)" for name, size in package.largest)
        raise SubmissionError(
            f"{root} would send {len(package.files)} files, {package.size / 1e6:.0f} MB; at most {limit / 1e6:.0f} MB "
            f"are sent. Largest: {named}. Name in .gitignore or .rayignore what the runs do not need, and put large "
            "text into the nodes' image."
        )
    return package


def write_archive(package: Package, path: Path) -> None:
    """Write the files as a zip archive whose bytes depend on names, contents and executable bits alone."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, _ in package.files:
            source = package.root / name
            entry = zipfile.ZipInfo(name, date_time=_EARLIEST)
            executable = source.stat().st_mode & stat.S_IXUSR
            entry.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, source.read_bytes())


Rules = list[tuple[Path, pathspec.GitIgnoreSpec]]
"""Folders that hold an ignore file, outermost first, and what each says of paths below it."""


def _files(root: Path, folder: Path, above: Rules, left_out: list[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    rules = [*above, *_rules_in(folder)]
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        name = path.relative_to(root).as_posix()
        is_folder = entry.is_dir(follow_symlinks=False)
        reason = _never(path, root, is_folder=is_folder)
        if reason is not None:
            left_out.append((name, reason))
        elif _is_ignored(path, rules, is_folder=is_folder):
            continue
        elif is_folder:
            yield from _files(root, path, rules, left_out)
        elif path.is_file():
            yield name, path.stat().st_size


def _never(path: Path, root: Path, *, is_folder: bool) -> str | None:
    """Why a path never travels, whatever the ignore files say."""
    if path.is_symlink():
        if not path.resolve().is_relative_to(root):
            return "link that leads out of the folder"
        return "link to a folder" if path.is_dir() else None
    if not is_folder:
        is_secret = path.name == ".env" or path.name.startswith(".env.")
        return "may hold secrets" if is_secret or path.name in (".netrc", "auth_token") else None
    if path.name in NEVER_FOLDERS:
        return NEVER_FOLDERS[path.name]
    if path.name == ".env" or (path / "pyvenv.cfg").exists() or (path / "conda-meta").exists():
        return "virtual environment"
    return "store" if (path / "store.json").exists() else None


def _is_ignored(path: Path, rules: Rules, *, is_folder: bool) -> bool:
    """Whether the innermost ignore file with a word about a path says so, as git decides."""
    for folder, spec in reversed(rules):
        name = path.relative_to(folder).as_posix() + ("/" if is_folder else "")
        said = spec.check_file(name).include
        if said is not None:
            return said
    return False


def _rules_in(folder: Path) -> Rules:
    return [(folder, _spec(folder / name)) for name in IGNORE_FILES if (folder / name).is_file()]


def _spec(path: Path) -> pathspec.GitIgnoreSpec:
    return pathspec.GitIgnoreSpec.from_lines(path.read_text(errors="replace").splitlines())


def _ignored_above(root: Path) -> Rules:
    """Rules of the folders between the root of a git repository and this one, and the repository's own."""
    repository = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), None)
    if repository is None:
        return []
    exclude = repository / ".git/info/exclude"
    rules = [(repository, _spec(exclude))] if exclude.is_file() else []
    if repository == root:
        return rules
    between = [folder for folder in root.parents if folder.is_relative_to(repository)]
    return rules + [rule for folder in reversed(between) for rule in _rules_in(folder)]
