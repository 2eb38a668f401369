"""Verbs about sweeps and stores: plan, run, status, query, retry, cancel."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli import app

SweepArgument = Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep file, or a preset, such as quickstart.")]
StoreArgument = Annotated[str, typer.Argument(metavar="STORE", help="The folder that holds a sweep.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the sweep file.")
]
TrackerOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KIND=TARGET", help="Mirror runs: tensorboard=FOLDER or wandb=PROJECT (offline)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@app.command()
def plan(
    sweep: SweepArgument,
    settings: SetOption = None,
    store: Annotated[str | None, typer.Option(help="Store to plan against; by default runs/<sweep's name>.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What would run, and what it costs; spends nothing."""
    from orchestrator import corpora, cost, planning
    from orchestrator.cli import planned
    from orchestrator.store import Store
    from orchestrator.sweep.file import load_sweep

    wanted = load_sweep(sweep, settings or ())
    place = Store(store or default_store(wanted.name))
    corpus = corpora.known(wanted.data, place) if place.exists() else None
    made = planning.plan(wanted, corpus or corpora.estimated(wanted.data), cost.first_guess(wanted))
    if as_json:
        _print_json(planned.document(made))
    else:
        planned.show(made)


@app.command()
def run(
    sweep: SweepArgument,
    store: Annotated[str | None, typer.Option(help="Folder for the results; by default runs/<sweep's name>.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster, such as ray://HEAD:10001 or auto.")] = None,
    inline: Annotated[bool, typer.Option("--inline", help="Train in this process, without Ray.")] = False,
    settings: SetOption = None,
    max_hours: Annotated[float | None, typer.Option(help="Predicted hours that may start without a question.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Answer every question with yes.")] = False,
    take_over: Annotated[bool, typer.Option("--take-over", help="Take the store from another driver.")] = False,
    tracker: TrackerOption = None,
) -> None:
    """Run a sweep, or continue it; ends with fits and a report."""
    from orchestrator import running
    from orchestrator.cli import ending, live, planned
    from orchestrator.sweep.file import load_sweep
    from orchestrator.tracking.choosing import mirrored, tracker_of
    from orchestrator.version import refuse_other_than_submitted

    refuse_other_than_submitted()
    wanted = load_sweep(sweep, settings or ())
    place = store or default_store(wanted.name)
    repeat = _repeated_command()
    trackers = [tracker_of(choice) for choice in tracker or ()]
    shown = live.observer(wanted.name, repeat)
    options = running.Options(
        address=address,
        inline=inline,
        max_hours=running.DEFAULT_MAX_HOURS if max_hours is None else max_hours,
        take_over=take_over,
        confirm=lambda question: yes or (sys.stdin.isatty() and typer.confirm(question)),
        announce=lambda made, left, workers: planned.announce(made, left, workers, place),
    )
    with mirrored(shown, trackers, place) as observer:
        result = running.run(wanted, place, replace(options, observer=observer))
    sys.exit(ending.show(place, result, repeat))


@app.command()
def status(store: StoreArgument, as_json: JsonOption = False) -> None:
    """Progress, failures with reasons, and who drives."""
    from orchestrator import status as reading
    from orchestrator.cli import stored

    document = reading.status(store)
    if as_json:
        _print_json(document)
    else:
        stored.show_status(document)


@app.command()
def query(
    store: StoreArgument,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT over `runs` and `curves`.")],
    form: Annotated[str, typer.Option("--format", help="table, csv, json or parquet.")] = "table",
    as_json: JsonOption = False,
) -> None:
    """Query the results with SQL, while a sweep runs or after."""
    from orchestrator import query as querying
    from orchestrator.cli import stored

    stored.show_rows(querying.query(store, sql), "json" if as_json else form)


@app.command()
def retry(
    store: StoreArgument,
    run_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN_ID]...", help="By default every run that failed.")
    ] = None,
) -> None:
    """Have runs that failed tried again by the next run."""
    from orchestrator import requests

    asked = requests.retry(store, run_ids or [])
    typer.echo(f"{len(asked)} runs will be tried again by the next isoflop run.")


@app.command()
def cancel(store: StoreArgument) -> None:
    """Ask the driver to stop after checkpoints."""
    from orchestrator import requests

    typer.echo(requests.cancel(store))


def default_store(name: str) -> str:
    """Where a sweep lies unless it is said."""
    return str(Path("runs") / name)


def _repeated_command() -> str:
    import shlex

    return shlex.join(["isoflop", *sys.argv[1:]])


def _print_json(document: Any) -> None:
    json.dump(document, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")
