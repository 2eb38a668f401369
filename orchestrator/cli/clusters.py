"""Verbs about cluster files."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Annotated

import typer

from orchestrator.cli import app

cluster = typer.Typer(help="Cluster files for `ray up` and KubeRay.", no_args_is_help=True)
app.add_typer(cluster, name="cluster")


@cluster.callback()
def _cluster() -> None:
    """Cluster files for `ray up` and KubeRay."""


@cluster.command()
def validate(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A cluster file, such as cluster.yaml.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Check a cluster file against Ray's schema, and for what that schema lets pass."""
    from orchestrator.clusters.validate import validate_cluster_file

    findings = validate_cluster_file(file)
    if as_json:
        json.dump([dataclasses.asdict(finding) for finding in findings], sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        for finding in findings:
            typer.echo(str(finding))
        typer.echo(f"{file}: {sum(finding.severity == 'error' for finding in findings)} errors")
    sys.exit(1 if any(finding.severity == "error" for finding in findings) else 0)
