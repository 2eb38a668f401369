"""What of a folder travels to a cluster, and what never does."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from orchestrator.errors import SubmissionError
from orchestrator.packing import choose, write_archive


def write(root: Path, *names: str, text: str = "x") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def names(root: Path) -> list[str]:
    return [name for name, _ in choose(root).files]


def test_secrets_stores_environments_and_history_never_travel(tmp_path: Path) -> None:
    write(tmp_path, "sweep.yaml", "code/mine.py", ".git/config", ".env", ".env.local", "code/.env", ".netrc")
    write(tmp_path, "runs/one/store.json", "runs/one/commits/a.json", "runs/notes.txt")
    write(tmp_path, "env311/pyvenv.cfg", "env311/bin/python", ".venv/bin/python", "conda/conda-meta/history")
    write(tmp_path, "code/__pycache__/mine.pyc", "sub/.git/config", ".ssh/id_ed25519")
    package = choose(tmp_path)
    assert names(tmp_path) == ["code/mine.py", "runs/notes.txt", "sweep.yaml"]
    left_out = dict(package.left_out)
    assert left_out["runs/one"] == "store"
    assert left_out["env311"] == left_out["conda"] == "virtual environment"
    assert left_out[".env"] == "may hold secrets"


def test_an_ignore_file_cannot_ask_for_what_never_travels(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", ".env", "s/store.json")
    write(tmp_path, ".gitignore", text="!.env\n!s/\n")
    assert names(tmp_path) == [".gitignore", "a.txt"]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git to compare with")
def test_ignore_files_mean_what_git_means(tmp_path: Path) -> None:
    """Nested files, negation, anchors, folders, and those above the folder: the same files as git lists."""
    root = tmp_path / "project"
    write(root, "a.bin", "keep.bin", "data/x.txt", "deep/data/y.txt", "deep/er/z.log", "deep/er/keep.log", "top.md")
    write(root, "deep/top.md", "anchored/file.txt", "deep/anchored/file.txt", "secret.txt", "with space.txt")
    write(root, ".gitignore", text="*.bin\n!keep.bin\n/data/\n/top.md\n/anchored\nsecret.txt\n")
    write(root, "deep/.gitignore", text="*.log\n!keep.log\n")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    (root / ".git/info/exclude").write_text("deep/er/z*\n")
    for folder in (root, root / "deep"):
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--others", "--exclude-standard", "."],
            cwd=folder, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert names(folder) == sorted(listed.stdout.strip("\0").split("\0"))


def test_links_travel_as_files_and_never_lead_out(tmp_path: Path) -> None:
    root = tmp_path / "project"
    write(root, "a.txt", "folder/b.txt")
    write(tmp_path, "outside.txt")
    (root / "in").symlink_to("a.txt")
    (root / "out").symlink_to(tmp_path / "outside.txt")
    (root / "loop").symlink_to(root)
    assert names(root) == ["a.txt", "folder/b.txt", "in"]


def test_a_folder_too_large_names_its_largest_files(tmp_path: Path) -> None:
    write(tmp_path, "small.txt")
    write(tmp_path, "large.bin", text="x" * 5000)
    with pytest.raises(SubmissionError, match=r"2 files.*Largest: large.bin.*Name in .gitignore"):
        choose(tmp_path, limit=1000)


def test_a_home_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SubmissionError, match="home folder"):
        choose(tmp_path)


def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "one", "b.txt", "a/c.txt")
    (tmp_path / "one/run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "one/run.sh").chmod(0o755)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two/b.txt").touch()
    for name in ("one", "two"):
        write_archive(choose(tmp_path / name), tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["a/c.txt", "b.txt", "run.sh"]
        assert archive.getinfo("run.sh").external_attr >> 16 & 0o111
