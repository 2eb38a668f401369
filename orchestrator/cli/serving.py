"""The verb `serve`."""

from __future__ import annotations

import contextlib
import socket
from typing import Annotated

import typer

from orchestrator.cli import app


@app.command()
def serve(
    store: Annotated[str, typer.Argument(metavar="STORE", help="The folder that holds a sweep.")],
    port: Annotated[int, typer.Option(help="Port on loopback; by default any that is free.")] = 0,
) -> None:
    """The report, live, as a web page of this machine."""
    from orchestrator.serving.server import open_server

    server = open_server(store, port)
    typer.echo(f"the report of {store}, live:\n\n    {server.url}\n")
    typer.echo(
        f"Whoever has this URL can read the sweep. Only this machine answers to it; from another one, first:\n\n"
        f"    ssh -N -L {server.port}:127.0.0.1:{server.port} {socket.gethostname()}\n\nCtrl-C ends it."
    )
    with contextlib.suppress(KeyboardInterrupt):
        server.serve()
    server.close()
