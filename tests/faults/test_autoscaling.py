"""A cluster that has no worker until a sweep asks for some: Ray's autoscaler, with node processes on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cells import HERE as SUPPORT
from driving import Driving
from oracle import check
from s3 import free_port

from orchestrator.execution import authentication

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

WORKERS = 3

HEAD = "f" * 51 + "00000"
"""The fake provider knows its head by this name."""


def autoscaling(port: int) -> dict[str, object]:
    """An autoscaler's whole configuration: what `ray up` would fill in is spelled out, for nobody else does."""
    return {
        "cluster_name": "isoflop-test",
        "max_workers": WORKERS,
        "upscaling_speed": 10.0,
        "idle_timeout_minutes": 0.1,
        "provider": {"type": "fake_multinode", "gcs_address": f"127.0.0.1:{port}"},
        "auth": {},
        "docker": {},
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "min_workers": 0, "max_workers": 0},
            "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": WORKERS},
        },
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
        "head_node": {},
        "worker_nodes": {},
    }


@pytest.fixture
def growing() -> Iterator[str]:
    """Address of a head without workers, whose autoscaler starts some."""
    authentication.prepare_client()
    port = free_port()
    ours = [str(SUPPORT), str(SUPPORT.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, ours)),
        "TINY_TRAINER_PAUSE": "0.05",
        "OMP_NUM_THREADS": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
        "RAY_enable_autoscaler_v2": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    with tempfile.TemporaryDirectory(prefix="isoflop-grow-", ignore_cleanup_errors=True) as folder:
        configuration = Path(folder, "autoscaling.yaml")
        configuration.write_text(json.dumps(autoscaling(port)))
        command = [Path(sys.executable).parent / "ray", "start", "--head", "--block", f"--port={port}"]
        command += ["--node-ip-address=127.0.0.1", "--num-cpus=0", "--include-dashboard=false"]
        command += [f"--ray-client-server-port={free_port()}", f"--temp-dir={folder}"]
        command += [f"--autoscaling-config={configuration}"]
        with Path(folder, "head.log").open("wb") as log:
            head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            yield f"127.0.0.1:{port}"
        finally:
            _end(head)


def _end(head: subprocess.Popen[bytes]) -> None:
    """End a head and every process below it, wherever they moved."""
    below = psutil.Process(head.pid).children(recursive=True)
    os.killpg(head.pid, signal.SIGKILL)
    for process in below:
        if process.is_running():
            process.kill()
    psutil.wait_procs(below, timeout=10)
    head.wait()


def test_a_sweep_makes_nodes_come_up_from_none(growing: str, sweep: Path, store: Path, reference: Path) -> None:
    """The head takes no work, so that every run is made by a node that came up for it."""
    driving = Driving(growing, sweep, store)
    assert driving.result().counts == {"ok": 6}
    check(store, reference)
