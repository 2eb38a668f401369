"""A real Ray head with its dashboard, in processes of its own: the only thing that has a job server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "metrics-export-port",
    "ray-client-server-port",
)


@contextmanager
def real_head(token: str, **environment: str) -> Iterator[str]:
    """Start a head that wants a token, on ports that are free, and end exactly its processes.

    Yields:
        Address of its job server; it may not answer yet.
    """
    ports = _free_ports(len(PORTS))
    with tempfile.TemporaryDirectory(prefix="head-", ignore_cleanup_errors=True) as folder:
        variables = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": token,
            "TMPDIR": folder,
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"]
        command += [f"--temp-dir={folder}", "--node-ip-address=127.0.0.1", "--disable-usage-stats"]
        command += [f"--{name}={port}" for name, port in zip(PORTS, ports, strict=True)]
        with (Path(folder) / "head.log").open("wb") as log:
            head = subprocess.Popen(
                command, env=os.environ | variables | environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield f"http://127.0.0.1:{ports[1]}"
        finally:
            _end(head)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def _end(head: subprocess.Popen[bytes]) -> None:
    below = psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
    head.send_signal(signal.SIGTERM)
    psutil.wait_procs(below, timeout=15)
    for process in below:
        if process.is_running():
            process.kill()
    try:
        head.wait(timeout=15)
    except subprocess.TimeoutExpired:
        head.kill()
        head.wait()
