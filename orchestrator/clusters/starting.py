"""How Ray is installed and started: a default that installs a nightly, an open dashboard, a token on one side only."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.clusters import shell
from orchestrator.clusters.document import Document
from orchestrator.clusters.findings import Finding

_CLOUDS = ("aws", "gcp")
"""Providers whose defaults, taken where a key is missing, install a nightly Ray and open the dashboard."""


def check_defaults(document: Document) -> Iterator[Finding]:
    """Commands that are missing, where Ray's own would be taken."""
    if document.text("provider", "type") not in _CLOUDS:
        return
    if not document.items("setup_commands") and not document.mapping("docker"):
        yield document.error(
            "default_setup_is_nightly",
            ("setup_commands",),
            wrong="no setup_commands, and Ray's default for this provider installs a nightly Ray",
            expected="commands that install the project and the driver's version of Ray",
            remedy="Take those of cluster.yaml.",
        )
    if not document.items("head_start_ray_commands"):
        yield document.warning(
            "open_dashboard",
            ("head_start_ray_commands",),
            wrong="no head_start_ray_commands, and Ray's default opens the dashboard on every interface",
            expected="a dashboard on loopback, and a token",
            remedy="Take those of cluster.yaml.",
        )


def check_head_command(document: Document) -> Iterator[Finding]:
    """The command that starts the head."""
    for path, command in document.commands("head_start_ray_commands"):
        if shell.opens_dashboard(command) and not shell.asks_for_token(command):
            yield document.error(
                "open_dashboard",
                path,
                wrong="the head opens the dashboard on every interface without a token",
                expected="a dashboard on loopback: whoever reaches it runs code on the cluster",
                remedy="Drop --dashboard-host and use `ray dashboard` (an ssh tunnel), or set RAY_AUTH_MODE=token.",
            )
        if shell.starts_head(command) and "--autoscaling-config" not in command:
            yield document.error(
                "no_autoscaling",
                path,
                wrong="ray start --head without --autoscaling-config",
                expected="--autoscaling-config=~/ray_bootstrap_config.yaml, or no worker is ever started",
                remedy="Add it.",
            )


def check_token(document: Document) -> Iterator[Finding]:
    """Token authentication: on the head and on the workers, or nobody can join."""
    head = [shell.asks_for_token(command) for _, command in document.commands("head_start_ray_commands")]
    worker = [shell.asks_for_token(command) for _, command in document.commands("worker_start_ray_commands")]
    if head and not any(head):
        yield document.warning(
            "no_token",
            ("head_start_ray_commands",),
            wrong="Ray starts without token authentication",
            expected="RAY_AUTH_MODE=token for the head and the workers",
            remedy="Prefix both start commands with it, and mount ~/.ray/auth_token.",
        )
    if any(head) != any(worker):  # a missing command is Ray's own, which sets no token
        yield document.error(
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
        yield document.warning(
            "ray_not_pinned",
            ("setup_commands",),
            wrong="no command pins Ray",
            expected=f"ray=={versions.expected or 'VERSION'} on every node",
            remedy="Install 'ray[default]' with ==, or under the project's constraints.txt.",
        )
