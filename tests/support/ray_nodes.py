"""Ray's nodes as processes of their own, each ended with every process below it and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from network import Machine
from processes import wait_until
from s3 import free_port

RAY = str(Path(sys.executable).parent / "ray")

START_SECONDS = 120.0
"""By then a node has started, on a loaded machine, too."""


@contextmanager
def head(address: str, settings: Mapping[str, object]) -> Iterator[str]:
    """Start a head that takes no work; gives the cluster's address.

    Args:
        address: The head's own, of this machine.
        settings: Of Ray's system configuration.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="isoflop-ray-", ignore_cleanup_errors=True) as folder:
        command = [RAY, "start", "--head", "--block", f"--port={port}", f"--node-ip-address={address}"]
        command += ["--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}"]
        command += [f"--ray-client-server-port={free_port()}", f"--system-config={json.dumps(settings)}"]
        with _started(command, Path(folder, "head.log")):
            yield f"{address}:{port}"


@contextmanager
def node(cluster: str, machine: Machine, folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node of one slot on a machine. Two that start at once may take the same socket: start one after another."""
    command = machine.command(RAY, "start", f"--address={cluster}", f"--node-ip-address={machine.address}")
    command += ["--block", "--num-cpus=1", "--disable-usage-stats"]
    with _started(command, folder / f"{machine.name}.log", **environment) as process:
        yield process


@contextmanager
def _started(command: Sequence[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process once it says that Ray runs; it and all below it end with the block."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        wait_until(lambda: _runs(process, log), "a node of Ray has started", START_SECONDS)
        yield process
    finally:
        below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGKILL)
        for child in below:
            if child.is_running():
                child.kill()
        psutil.wait_procs(below, timeout=10)
        process.wait()


def _runs(process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()[-2000:]
    return "Ray runtime started" in log.read_text()
