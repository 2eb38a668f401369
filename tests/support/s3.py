"""A real S3 server program on loopback, and a proxy before any such that can refuse, delay or forget to answer."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from processes import wait_until

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
"""What every S3 client asks for; this server takes anything."""

ANSWERS = {
    "503": (503, "SlowDown"),
    "409": (409, "ConditionalRequestConflict"),
    "500": (500, "InternalError"),
    "401": (401, "InvalidAccessKeyId"),
    "403": (403, "AccessDenied"),
}
"""Refusals by status."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def server() -> Iterator[int]:
    """The port of a moto server; file systems that this process made for an earlier one are forgotten."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    port = free_port()
    command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with serving(command, port):
        yield port


@contextlib.contextmanager
def serving(command: Sequence[str | Path], port: int) -> Iterator[None]:
    """A server program, from when it answers on its port."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port), f"{command[0]} does not answer")
        yield
    finally:
        process.terminate()
        process.wait()


def make_bucket(port: int, name: str) -> None:
    """Make a bucket."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("PUT", f"/{name}")
    assert connection.getresponse().status == 200


class Proxy:
    """Passes requests on to a server, but for the faults that it was told."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._faults: list[tuple[str, str, str]] = []
        self._lock = threading.Lock()
        self.served: list[str] = []
        self.struck: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail(self, method: str, path: str, fault: str, times: int = 1) -> None:
        """Strike the next requests whose path, or the beginning of whose body, holds `path`.

        Args:
            method: Such as PUT.
            path: Part of the path. Google's clients name an object that they send in the body.
            fault: A status of `ANSWERS`, `drop` (the request is lost), or `forget` (it is served, the answer is lost).
            times: How many requests.
        """
        with self._lock:
            self._faults += [(method, path, fault)] * times

    def forgive(self) -> None:
        """Forget the faults that have not struck, and what was served."""
        with self._lock:
            self._faults.clear()
            self.served.clear()
            self.struck.clear()

    def _fault(self, method: str, path: str, body: bytes) -> str | None:
        with self._lock:
            self.served.append(f"{method} {path}")
            for index, (wanted, part, fault) in enumerate(self._faults):
                if wanted == method and (part in path or part.encode() in body[:1000]):
                    del self._faults[index]
                    self.struck.append(f"{fault} {method} {path}")
                    return fault
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self._body()
                fault = proxy._fault(self.command, self.path, body)
                if fault == "drop":
                    return self._hang_up()
                if fault in ANSWERS:
                    return self._refuse(*ANSWERS[fault])
                connection = http.client.HTTPConnection("127.0.0.1", proxy._port)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
                connection.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
                answer = connection.getresponse()
                content = answer.read()
                if fault == "forget":
                    return self._hang_up()
                return self._answer(answer.status, answer.getheaders(), content)

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                return b"".join(parts)

            def _hang_up(self) -> None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

            def _refuse(self, status: int, code: str) -> None:
                content = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
                self._answer(status, [("Content-Type", "application/xml")], content)

            def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
                self.send_response_only(status)
                length = str(len(content))
                for name, value in headers:
                    if name.lower() in ("content-length", "transfer-encoding", "connection"):
                        if name.lower() == "content-length" and self.command == "HEAD":
                            length = value
                        continue
                    self.send_header(name, value)
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    with contextlib.suppress(BrokenPipeError):  # the client was killed
                        self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
                pass

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815

        return Handler


def answers(port: int) -> bool:
    """Whether somebody listens on a port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
