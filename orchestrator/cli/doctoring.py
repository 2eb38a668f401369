"""The verb `doctor`."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Annotated

import typer

from orchestrator.cli import app

MARKS = {"ok": "ok  ", "warning": "look", "error": "FAIL"}
WORDS = {"ok": "well", "warning": "to look at", "error": "failed"}


@app.command()
def doctor(
    data: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Prepared shards, or text to train on; by default the standard library."),
    ] = None,
    store: Annotated[str | None, typer.Option(help="Where a store is to be; by default ./runs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """What a sweep on this machine rests on, with fixes."""
    from orchestrator.doctor import examine

    findings = examine(data=data, store=store)
    failed = sum(finding.severity == "error" for finding in findings)
    if as_json:
        checks = [dataclasses.asdict(finding) for finding in findings]
        json.dump({"ok": not failed, "checks": checks}, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        for finding in findings:
            typer.echo(f"{MARKS[finding.severity]}  {finding.name:<18} {finding.found}")
            if finding.fix:
                typer.echo(f"{'':24} -> {finding.fix}")
        counts = ", ".join(f"{sum(one.severity == kind for one in findings)} {word}" for kind, word in WORDS.items())
        typer.echo(f"{len(findings)} checks: {counts}")
    sys.exit(3 if failed else 0)
