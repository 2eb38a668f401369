"""What is kept of the code that ran a sweep, and what is not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from orchestrator.provenance import git_state, made_with, without_credentials


@pytest.mark.parametrize(
    ("remote", "kept"),
    [
        ("https://me:ghp_secret@example.org/me/repo.git", "https://example.org/me/repo.git"),
        ("https://token@example.org:8443/me/repo.git?private_token=x#y", "https://example.org:8443/me/repo.git"),
        ("git@example.org:me/repo.git", "example.org:me/repo.git"),
        ("ssh://git@example.org/me/repo.git", "ssh://example.org/me/repo.git"),
        ("/srv/git/repo.git", "/srv/git/repo.git"),
    ],
)
def test_a_remote_is_kept_without_its_credentials(remote: str, kept: str) -> None:
    assert without_credentials(remote) == kept


def test_a_repository_is_named_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    assert git_state(tmp_path / "nowhere") is None
    git("init", "-q")
    (tmp_path / "sweep.yaml").write_text("name: a\n")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    git("remote", "add", "origin", "https://me:secret@example.org/repo.git")
    clean = {"commit": git("rev-parse", "HEAD"), "dirty": False, "remote": "https://example.org/repo.git"}
    assert git_state(tmp_path) == clean
    (tmp_path / "sweep.yaml").write_text("name: b\n")
    assert git_state(tmp_path) == {**clean, "dirty": True}
    monkeypatch.setenv("SOME_TOKEN", "hunter2")
    assert "hunter2" not in json.dumps(made_with(tmp_path))


def test_without_git_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    made = made_with(tmp_path)
    assert made["git"] is None
    assert made["isoflop"]
