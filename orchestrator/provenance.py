"""Which code runs a sweep: kept beside the sweep file, shown in the report. No environment, no credentials, no user."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from orchestrator.version import code_version
from trainer import RECIPE_VERSION

PACKAGES = ("torch", "ray", "optuna", "numpy")

GIT_SECONDS = 5.0
"""Longest answer of git that is waited for (chosen): a repository on a slow mount must not hold a sweep."""


def made_with(folder: Path | None = None) -> dict[str, Any]:
    """Versions, and the git commit of a working folder.

    Args:
        folder: The folder; by default the one that the command was typed in.
    """
    return {
        "isoflop": code_version(),
        "recipe": RECIPE_VERSION,
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name)) is not None},
        "git": git_state(folder or Path.cwd()),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit, whether there are changes, and the remote without credentials; None outside a repository."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    remote = _git(folder, "config", "--get", "remote.origin.url")
    return {"commit": commit, "dirty": bool(changes), "remote": without_credentials(remote) if remote else None}


def without_credentials(remote: str) -> str:
    """A remote's address without user, password, query and fragment, any of which may hold a token."""
    if "://" not in remote:
        return remote.rpartition("@")[2]  # scp's form: user@host:path
    parts = urlsplit(remote)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
