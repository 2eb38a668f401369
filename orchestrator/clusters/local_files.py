"""What `ray up` takes from this machine: ssh keys, and the files that it mounts."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from pathlib import Path

from orchestrator.clusters.document import Document
from orchestrator.clusters.findings import Finding, KeyPath
from orchestrator.clusters.schema import shown

_TOKEN_FILE = Path(".ray/auth_token")
_PRIVATE = (".git", ".env", "runs")
"""What must not leave the laptop: history, secrets, stores."""


def check_auth(document: Document) -> Iterator[Finding]:
    """The ssh user and key files, which Ray opens without a word of warning."""
    for name in ("ssh_private_key", "ssh_public_key"):
        given = document.text("auth", name)
        if given is None:
            continue
        key = Path(given).expanduser()
        if not key.is_file():
            yield document.error(
                "missing_key_file",
                ("auth", name),
                wrong=f"the key file {given} does not exist",
                expected="a file on this machine",
                remedy="Correct the path, or remove the key and let Ray make a key pair (AWS, GCP).",
            )
        elif name == "ssh_private_key" and key.stat().st_mode & 0o077:
            yield document.warning(
                "open_key_file",
                ("auth", name),
                wrong=f"the key file {given} can be read by others",
                expected="mode 600, or ssh refuses it",
                remedy=f"chmod 600 {given}",
            )
    # Without any `auth` the clouds' defaults apply, which log in as ubuntu.
    defaulted = document.at("auth") is None and document.text("provider", "type") in ("aws", "gcp")
    if document.text("auth", "ssh_user") is None and not defaulted:
        yield document.error(
            "missing_ssh_user",
            ("auth",),
            wrong="auth.ssh_user is missing",
            expected="the user to log in as; Ray ends in a KeyError without",
            remedy="Add 'ssh_user' below 'auth' (ubuntu on Ubuntu images).",
        )
    if document.text("provider", "type") == "aws" and document.at("auth", "ssh_private_key") is not None:
        for name in document.mapping("available_node_types"):
            if document.at("available_node_types", name, "node_config", "KeyName") is None:
                yield document.error(
                    "missing_key_name",
                    ("available_node_types", name, "node_config"),
                    wrong="no KeyName, with an ssh_private_key of your own",
                    expected="the name of that key pair in EC2, for every node type",
                    remedy="Add KeyName.",
                )


def check_mounts(document: Document) -> Iterator[Finding]:
    """Mounted files that are not there, or that would take private ones along."""
    excluded = [pattern.strip("/") for pattern in document.items("rsync_exclude") if isinstance(pattern, str)]
    for remote, local in document.mapping("file_mounts").items():
        path: KeyPath = ("file_mounts", remote)
        if not isinstance(local, str):
            wrong = f"the local path is {shown(local)}"
            yield document.error("wrong_value", path, wrong=wrong, expected="text", remedy="Correct it.")
            continue
        source = Path(local).expanduser()
        if not source.exists():
            yield _missing_mount(document, path, local)
            continue
        shipped = [name for name in _PRIVATE if (source / name).exists() and not _excluded(name, excluded)]
        if shipped:
            yield document.error(
                "ships_private_files",
                path,
                wrong=f"this would ship {', '.join(shipped)}",
                expected="code only: no history, no secrets, no stores",
                remedy="Mount the folders that are needed, or add these names to rsync_exclude.",
            )


def _missing_mount(document: Document, path: KeyPath, local: str) -> Finding:
    wrong = f"{local} does not exist"
    if Path(local).expanduser() == Path.home() / _TOKEN_FILE:
        remedy = "Run: ray get-auth-token --generate"
        return document.warning("missing_token", path, wrong=wrong, expected="the cluster's token", remedy=remedy)
    expected = "a file or folder, taken from the folder where ray up runs"
    return document.error("missing_mount", path, wrong=wrong, expected=expected, remedy="Correct it, or go there.")


def _excluded(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern.removeprefix("**/").removesuffix("/**")) for pattern in patterns)
