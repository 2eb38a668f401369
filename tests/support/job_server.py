"""A head's job server as far as a client sees it: Ray's HTTP interface on loopback, with jobs that a test moves on."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Any

from aiohttp import web


class FakeJobServer:
    """Speaks the job API of Ray 2.x; nothing is executed.

    Attributes:
        jobs: Details of every job, by submission id.
        archives: Archives that were uploaded, by name.
        failures: HTTP errors that the next submissions meet, first to last.
        refuse: HTTP status and text of every answer, where nothing else is said.
        logs: Log of every job, in the pieces in which it is sent.
        break_after: Pieces after which the next connection for a log breaks.
        version: Version of Ray that it claims.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.archives: dict[str, bytes] = {}
        self.failures: list[int] = []
        self.refuse: tuple[int, str] | None = None
        self.logs: dict[str, list[str]] = {}
        self.break_after: int | None = None
        self.version = "2.60.0"
        self.followed = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.address = ""

    def __enter__(self) -> FakeJobServer:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def end(self, name: str, status: str, code: int | None = None) -> None:
        """Have a job end."""
        self.jobs[name] |= {"status": status, "driver_exit_code": code, "message": f"Job {status.lower()}."}

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(middlewares=[self._answer], client_max_size=2**28)
        app.router.add_get("/api/version", self._version)
        app.router.add_get("/api/jobs/", self._list)
        app.router.add_post("/api/jobs/", self._submit)
        app.router.add_get("/api/jobs/{name}/logs/tail", self._tail)
        app.router.add_get("/api/packages/gcs/{name}", self._has)
        app.router.add_put("/api/packages/gcs/{name}", self._put)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        host, port = runner.addresses[0]
        self.address = f"http://{host}:{port}"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    @web.middleware
    async def _answer(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.refuse is not None:
            status, text = self.refuse
            return web.Response(status=status, text=text)
        response: web.StreamResponse = await handler(request)
        return response

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"version": "4", "ray_version": self.version, "ray_commit": "", "session_name": "", "api_version": "4"}
        )

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response(list(self.jobs.values()))

    async def _submit(self, request: web.Request) -> web.Response:
        if self.failures:
            return web.Response(status=self.failures.pop(0), text="No available agent to submit job.")
        asked = await request.json()
        name = asked["submission_id"]
        if name in self.jobs:
            return web.Response(status=400, text=f"ValueError: Job with submission_id {name} already exists")
        self.jobs[name] = {
            "type": "SUBMISSION",
            "submission_id": name,
            "status": "RUNNING",
            "entrypoint": asked["entrypoint"],
            "metadata": asked["metadata"],
            "runtime_env": asked["runtime_env"],
        }
        self.logs[name] = [f"log of {name}\n", "second line\n", "third line\n"]
        return web.json_response({"job_id": name, "submission_id": name})

    async def _tail(self, request: web.Request) -> web.WebSocketResponse:
        """Send the log, and close when the job has ended; a break is a connection that is cut."""
        name = request.match_info["name"]
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for number, piece in enumerate(self.logs[name]):
            if number == self.break_after:
                self.break_after = None
                assert request.transport is not None
                request.transport.close()
                return socket
            await socket.send_str(piece)
        self.followed.set()
        while self.jobs[name]["status"] == "RUNNING":
            await asyncio.sleep(0.01)
        await socket.close()
        return socket

    async def _has(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["name"] in self.archives else 404)

    async def _put(self, request: web.Request) -> web.Response:
        self.archives[request.match_info["name"]] = await request.read()
        return web.Response()
