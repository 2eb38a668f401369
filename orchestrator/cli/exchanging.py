"""Verbs that exchange runs with other tools: import, export."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import app
from orchestrator.errors import SweepError


@app.command(name="import")
def import_(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Another store, a table, or a folder of W&B or nanochat runs.")
    ],
    store: Annotated[str, typer.Option(help="The store to add to; made where it is not there.")],
    kind: Annotated[str | None, typer.Option("--from", metavar="KIND", help="table, wandb or nanochat.")] = None,
    columns: Annotated[
        str | None,
        typer.Option("--map", metavar="params=COL,...", help="Columns for params, tokens, flops, loss, ...."),
    ] = None,
    count: Annotated[
        str | None, typer.Option(metavar="CONVENTION", help="Count N anew as blocks+head, blocks or total.")
    ] = None,
    convention: Annotated[
        str | None, typer.Option(metavar="CONVENTION", help="What N counts, where the source does not say.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the sweep in the imported rows.")] = None,
) -> None:
    """Bring runs of another store, or of others, into one."""
    from analysis.stores import is_store
    from orchestrator.cli.fits import column_map
    from orchestrator.importing import import_runs, import_store

    if kind is None and is_store(source):
        done = import_store(source, store)
    else:
        done = import_runs(
            source,
            store,
            kind=kind,
            columns=column_map(columns),
            count=count,
            convention=convention,
            sweep=name,
        )
    typer.echo(f"{len(done.added)} runs added, {done.known} were there before")
    for run_id in done.contradicting:
        typer.echo(f"{run_id}: was there before with another loss, which stands")
    for unreadable in done.unreadable:
        typer.echo(f"{unreadable}: cannot be read and was left out")
    for note in done.notes:
        typer.echo(note)


@app.command()
def export(
    store: Annotated[str, typer.Argument(metavar="STORE", help="The folder that holds a sweep; it is only read.")],
    optuna: Annotated[
        str | None, typer.Option(metavar="URL", help="Optuna storage for optuna-dashboard, such as sqlite:///study.db.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the Optuna study; by default the sweep's.")] = None,
    tracker: Annotated[
        list[str] | None, typer.Option(metavar="KIND=TARGET", help="tensorboard=FOLDER or wandb=PROJECT (offline).")
    ] = None,
) -> None:
    """Copy a store's runs to other tools: Optuna, TensorBoard, W&B."""
    from orchestrator import exporting
    from orchestrator.tracking.choosing import tracker_of

    chosen = [tracker_of(choice) for choice in tracker or ()]
    if optuna is None and not chosen:
        raise SweepError(
            "nothing to export to; expected --optuna or --tracker. For example --optuna sqlite:///study.db."
        )
    if optuna is not None:
        typer.echo(f"{exporting.export_study(store, optuna, name)} trials written to {optuna}")
    for kind, make in chosen:
        typer.echo(f"{exporting.export_runs(store, make())} runs written to {kind}")
