"""Checks of a file for `ray up`, beyond Ray's schema: sizes, the head, keys, mounts and start commands."""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Iterator
from pathlib import Path

from orchestrator.clusters import shell
from orchestrator.clusters.document import Document
from orchestrator.clusters.findings import Finding, KeyPath, did_you_mean
from orchestrator.clusters.schema import shown

_TOKEN_FILE = Path(".ray/auth_token")
_PRIVATE = (".git", ".env", "runs")
"""What must not leave the laptop: history, secrets, stores."""


def check_sizes(document: Document) -> Iterator[Finding]:
    """Numbers of workers that contradict each other, and node types that do not exist."""
    if document.text("provider", "type") == "local":
        return
    yield from _check_head_type(document)
    total, minimum_sum = document.count("max_workers"), 0
    head = document.text("head_node_type")
    workers = 0
    for name in document.mapping("available_node_types"):
        path: KeyPath = ("available_node_types", name)
        low, high = document.count(*path, "min_workers") or 0, document.count(*path, "max_workers")
        minimum_sum += max(low, 0)
        workers += 0 if name == head else (total or 0) if high is None else high
        for key, value in (("min_workers", low), ("max_workers", high or 0)):
            if value < 0:
                yield _number(document, "error", "negative", (*path, key), f"{key} is {value}", "0 or more")
            if value > 0 and name == head:
                wrong = f"{key} is {value} for the head's own node type"
                yield _number(document, "error", "head_takes_work", (*path, key), wrong, "0: it would start as worker")
        if high is not None and low > high:
            wrong = f"min_workers {low} is above max_workers {high}"
            yield _number(document, "error", "min_above_max", (*path, "min_workers"), wrong, f"at most {high}")
        if high is not None and total is not None and high > total:
            wrong = f"max_workers {high} is above the cluster's max_workers {total}"
            yield _number(document, "warning", "max_above_total", (*path, "max_workers"), wrong, f"at most {total}")
    if total is None:
        wrong = "max_workers is missing, and Ray takes 2"
        yield _number(document, "warning", "default_max_workers", (), wrong, "the number you are ready to pay for")
    elif minimum_sum > total:
        wrong = f"the min_workers of all node types add up to {minimum_sum}, above max_workers {total}"
        yield _number(document, "error", "sum_above_max", ("max_workers",), wrong, f"at least {minimum_sum}")
    elif document.mapping("available_node_types") and workers == 0:
        wrong = "no worker can ever start"
        yield _number(document, "error", "no_workers", ("max_workers",), wrong, "a node type beside the head's")


def check_head(document: Document) -> Iterator[Finding]:
    """A head that would take work: a run there fights the driver for memory, and may end it with every worker."""
    if document.text("provider", "type") == "local":
        for path, command in _commands(document, "head_start_ray_commands"):
            flags = [flag for flag in ("--num-cpus", "--num-gpus") if _flag(command, flag) != "0"]
            if shell.starts_head(command) and flags:
                yield _head_takes_work(document, path, f"no {' and no '.join(f'{flag}=0' for flag in flags)}")
        return
    name = document.text("head_node_type")
    if name is None or name not in document.mapping("available_node_types"):
        return
    path = ("available_node_types", name, "resources")
    for resource in ("CPU", "GPU"):
        given = document.at(*path, resource)
        if given != 0 or isinstance(given, bool):
            wrong = f"no {resource}, which Ray then counts itself" if given is None else f"{resource}: {shown(given)}"
            yield _head_takes_work(document, path, wrong)


def check_auth(document: Document) -> Iterator[Finding]:
    """The ssh user and key files, which Ray opens without a word of warning."""
    for name in ("ssh_private_key", "ssh_public_key"):
        given = document.text("auth", name)
        if given is None:
            continue
        key = Path(given).expanduser()
        if not key.is_file():
            yield document.finding(
                "error",
                "missing_key_file",
                ("auth", name),
                wrong=f"the key file {given} does not exist",
                expected="a file on this machine",
                remedy="Correct the path, or remove the key and let Ray make a key pair (AWS, GCP).",
            )
        elif name == "ssh_private_key" and key.stat().st_mode & 0o077:
            yield document.finding(
                "warning",
                "open_key_file",
                ("auth", name),
                wrong=f"the key file {given} can be read by others",
                expected="mode 600, or ssh refuses it",
                remedy=f"chmod 600 {given}",
            )
    if document.text("auth", "ssh_user") is None:
        yield document.finding(
            "error",
            "missing_ssh_user",
            ("auth",),
            wrong="auth.ssh_user is missing",
            expected="the user to log in as; Ray ends in a KeyError without",
            remedy="Add 'ssh_user' below 'auth' (ubuntu on Ubuntu images).",
        )
    if document.text("provider", "type") == "aws" and document.at("auth", "ssh_private_key") is not None:
        for name in document.mapping("available_node_types"):
            if document.at("available_node_types", name, "node_config", "KeyName") is None:
                yield document.finding(
                    "error",
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
            yield document.finding("error", "wrong_value", path, wrong=wrong, expected="text", remedy="Correct it.")
            continue
        source = Path(local).expanduser()
        if not source.exists():
            is_token = source == Path.home() / _TOKEN_FILE
            yield document.finding(
                "warning" if is_token else "error",
                "missing_token" if is_token else "missing_mount",
                path,
                wrong=f"{local} does not exist",
                expected="a file or folder, taken from the folder where ray up runs",
                remedy="Run: ray get-auth-token --generate"
                if is_token
                else "Correct it, or run from the right folder.",
            )
            continue
        shipped = [name for name in _PRIVATE if (source / name).exists() and not _excluded(name, excluded)]
        if shipped:
            yield document.finding(
                "error",
                "ships_private_files",
                path,
                wrong=f"this would ship {', '.join(shipped)}",
                expected="code only: no history, no secrets, no stores",
                remedy="Mount the folders that are needed, or add these names to rsync_exclude.",
            )


def check_commands(document: Document) -> Iterator[Finding]:
    """How Ray is installed and started: defaults that install a nightly, open dashboards, tokens on one side only."""
    kind = document.text("provider", "type")
    if kind in ("aws", "gcp") and not document.items("setup_commands") and not document.mapping("docker"):
        yield document.finding(
            "error",
            "default_setup_is_nightly",
            ("setup_commands",),
            wrong="no setup_commands, and Ray's default for this provider installs a nightly Ray",
            expected="commands that install the project and the driver's version of Ray",
            remedy="Take those of cluster.yaml.",
        )
    heads = [(path, command) for path, command in _commands(document, "head_start_ray_commands")]
    workers = [command for _, command in _commands(document, "worker_start_ray_commands")]
    token_at_head = any(shell.asks_for_token(command) for _, command in heads)
    if kind in ("aws", "gcp") and not heads:
        yield _open_dashboard(document, "warning", ("head_start_ray_commands",), "Ray's default start command")
    for path, command in heads:
        if shell.opens_dashboard(command) and not shell.asks_for_token(command):
            yield _open_dashboard(document, "error", path, "the head")
        if shell.starts_head(command) and "--autoscaling-config" not in command:
            yield document.finding(
                "error",
                "no_autoscaling",
                path,
                wrong="ray start --head without --autoscaling-config",
                expected="--autoscaling-config=~/ray_bootstrap_config.yaml, or no worker is ever started",
                remedy="Add it.",
            )
    if heads and not token_at_head:
        yield document.finding(
            "warning",
            "no_token",
            ("head_start_ray_commands",),
            wrong="Ray starts without token authentication",
            expected="RAY_AUTH_MODE=token for the head and the workers",
            remedy="Prefix both start commands with it, and mount ~/.ray/auth_token.",
        )
    if workers and token_at_head != any(map(shell.asks_for_token, workers)):
        yield document.finding(
            "error",
            "token_on_one_side",
            ("worker_start_ray_commands",),
            wrong="token authentication on the head or on the workers only",
            expected="the same on both, or no worker can join",
            remedy="Set RAY_AUTH_MODE=token in both start commands.",
        )


def check_ray_is_installed(document: Document, versions: shell.RayVersions) -> Iterator[Finding]:
    """A setup that never says which Ray it installs."""
    commands = [text for path, text in document.strings() if path and str(path[0]).endswith("setup_commands")]
    images = [text for path, text in document.strings() if "image" in str(path[-1])]
    silent = not any(map(shell.ray_installed_by, commands + images)) and not any(map(shell.names_constraints, commands))
    if commands and silent and not document.mapping("docker"):
        yield document.finding(
            "warning",
            "ray_not_pinned",
            ("setup_commands",),
            wrong="no command pins Ray",
            expected=f"ray=={versions.expected or 'VERSION'} on every node",
            remedy="Install 'ray[default]' with ==, or under the project's constraints.txt.",
        )


def _check_head_type(document: Document) -> Iterator[Finding]:
    types, head = document.mapping("available_node_types"), document.at("head_node_type")
    for key in ("available_node_types", "head_node_type"):
        if not document.at(key):
            yield document.finding(
                "error",
                "missing_key",
                (),
                wrong=f"{key!r} is missing",
                expected="your own; Ray falls back to its example machines or ends in an error",
                remedy=f"Add {key!r}.",
            )
    if isinstance(head, str) and types and head not in types:
        yield document.finding(
            "error",
            "unknown_head_type",
            ("head_node_type",),
            wrong=f"head_node_type is {head!r}",
            expected=f"one of available_node_types: {', '.join(types)}",
            remedy=did_you_mean(head, types).replace("Remove it.", "Choose one of them."),
        )
    if document.at("min_workers") is not None:
        wrong = "min_workers at the top, which Ray ignores"
        yield _number(document, "warning", "ignored_key", ("min_workers",), wrong, "min_workers in a node type")


def _number(document: Document, severity: str, code: str, path: KeyPath, wrong: str, expected: str) -> Finding:
    return document.finding(
        "error" if severity == "error" else "warning",
        code,
        path,
        wrong=wrong,
        expected=expected,
        remedy="Correct the numbers.",
    )


def _head_takes_work(document: Document, path: KeyPath, wrong: str) -> Finding:
    return document.finding(
        "error",
        "head_takes_work",
        path,
        wrong=f"the head would take work ({wrong})",
        expected="CPU 0 and GPU 0 on the head, which keeps the driver alive",
        remedy="Set both to 0 and let workers train.",
    )


def _open_dashboard(document: Document, severity: str, path: KeyPath, who: str) -> Finding:
    return document.finding(
        "error" if severity == "error" else "warning",
        "open_dashboard",
        path,
        wrong=f"{who} opens the dashboard on every interface without a token",
        expected="a dashboard on loopback: whoever reaches it runs code on the cluster",
        remedy="Drop --dashboard-host and use `ray dashboard` (an ssh tunnel), or set RAY_AUTH_MODE=token.",
    )


def _commands(document: Document, key: str) -> list[tuple[KeyPath, str]]:
    return [((key, index), text) for index, text in enumerate(document.items(key)) if isinstance(text, str)]


def _flag(command: str, flag: str) -> str | None:
    """The value of a flag in a command, given as `--flag=value` or `--flag value`."""
    try:
        words = shlex.split(command)
    except ValueError:  # an open quote, which the shell will report
        words = command.split()
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.partition("=")[2].rstrip(";")
    return None


def _excluded(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern.removeprefix("**/").removesuffix("/**")) for pattern in patterns)
