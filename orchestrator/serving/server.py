"""A socket on loopback and the loop that serves it."""

from __future__ import annotations

import logging
import secrets
import socket
from dataclasses import dataclass
from typing import Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from orchestrator.errors import SweepError
from orchestrator.serving.guard import Guard
from orchestrator.serving.live import LiveReport
from orchestrator.serving.site import Site
from orchestrator.serving.sql import Queries
from orchestrator.store import Store

LOOPBACK = "127.0.0.1"
"""Never another address: a shared machine's network is not ours to open."""

log = logging.getLogger(__name__)


class _Handler(WSGIRequestHandler):
    """Says nothing about requests, whose URLs may hold the token, nor about versions; drops who dawdles."""

    timeout = 30

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        """Errors, without the request."""
        log.debug(message, *args)

    def version_string(self) -> str:
        """See above."""
        return "isoflop"


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that is ready to serve.

    Attributes:
        url: Its address, with the token.
        port: Its port.
    """

    url: str
    port: int
    _server: BaseWSGIServer

    def serve(self) -> None:
        """Serve until `stop`, or Ctrl-C."""
        self._server.serve_forever()

    def stop(self) -> None:
        """End `serve`, from another thread."""
        self._server.shutdown()

    def close(self) -> None:
        """Give the port back."""
        self._server.server_close()


def open_server(location: str, port: int = 0, *, token: str | None = None) -> Server:
    """Bind a port of loopback for the live pages of a store.

    Args:
        location: The store.
        port: 0 for any that is free.
        token: The secret; None draws one.

    Raises:
        StoreError: No such store.
        SweepError: The port is taken.
    """
    store = Store(location)
    store.header()
    token = token or secrets.token_urlsafe(32)
    try:
        bound = socket.create_server((LOOPBACK, port))
    except (OSError, OverflowError) as error:
        raise SweepError(f"port {port} cannot be had ({error}); expected a free one. Choose another --port.") from None
    with bound:
        number = bound.getsockname()[1]
        guard = Guard(token=token, cookie=f"isoflop-{number}")
        site = Site(store.location, guard, LiveReport(store.location), Queries(store.location))
        server = make_server(LOOPBACK, number, site, threaded=True, request_handler=_Handler, fd=bound.fileno())
    return Server(url=f"http://{LOOPBACK}:{number}/?token={token}", port=number, _server=server)
