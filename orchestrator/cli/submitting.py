"""The verb submit: a sweep as a job of a cluster."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import app
from orchestrator.cli.sweeps import SetOption, SweepArgument

DETACHED = 130
"""Exit code where the log was left before the job had ended."""


FINISHED = (0, 2)
"""Exit codes of a sweep that ran to its end, with or without failed runs."""


@app.command()
def submit(
    sweep: SweepArgument,
    address: Annotated[str, typer.Option(help="The head's dashboard, http://HEAD:8265.")],
    store: Annotated[str, typer.Option(help="A bucket that every node may use, such as s3://BUCKET/sweep.")],
    settings: SetOption = None,
    shared: Annotated[bool, typer.Option("--shared", help="The store is a folder that every node mounts.")] = False,
    take_over: Annotated[bool, typer.Option("--take-over", help="Take the store from another driver.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Submit, and do not follow the log.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for a head that does not answer yet.")] = 60.0,
) -> None:
    """Run a sweep as a job of a Ray cluster; repeating the command attaches to it again."""
    from orchestrator import submitting
    from orchestrator.errors import InfrastructureError
    from orchestrator.execution.jobs import JobServer

    wanted = submitting.prepare(
        sweep, store, settings=settings or (), folder=Path.cwd(), shared=shared, take_over=take_over
    )
    for line in submitting.summary(wanted):
        _say(line)
    _say(f"runs  {wanted.command}")
    if dry_run:
        for name, size in wanted.package.files:
            typer.echo(f"{size:>12,}  {name}")
        return
    server = JobServer(address, wait_seconds=wait, note=_say)
    name, submitted, same = submitting.attach(server, wanted)
    _say(f"job   {name}, " + ("submitted" if submitted else "was under way: attached, nothing was sent"))
    if not same:
        _say("note  it runs another state of this folder or command; isoflop cancel STORE ends it, then submit again")
    _say(f"stop  isoflop cancel {shlex.quote(store)}        look  isoflop status {shlex.quote(store)}")
    if detach:
        return
    again = shlex.join(["isoflop", *sys.argv[1:]])
    try:
        job = server.follow(name, _show)
    except KeyboardInterrupt:
        _say(f"\ndetached; {name} goes on. Attach again: {again}")
        sys.exit(DETACHED)
    except InfrastructureError:
        _say(f"\n{name} does not need this machine and may go on. Attach again: {again}")
        raise
    code = submitting.exit_code(job)
    _say(f"job   {name} {job.status.lower()}" + (f": {_first_line(job.message)}" if code else ""))
    if code in FINISHED:
        _say(f"next  isoflop report {shlex.quote(store)} -o {wanted.sweep.name}.html")
    sys.exit(code)


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[0]


def _say(line: str) -> None:
    """Words of this machine's own go to stderr; stdout is the job's log."""
    typer.echo(line, err=True)


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
