"""Faults that only a cluster has: on one Ray cluster of several node processes on this machine."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cells import HERE as SUPPORT
from cells import CellServer
from driving import Driving, Slots
from oracle import check, events
from processes import wait_until

from orchestrator.errors import CapacityError

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 4,
}
"""A node that does not answer is given up after six seconds, not a minute."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that takes no work and two nodes, in a temporary folder of their own."""
    with tempfile.TemporaryDirectory(prefix="isoflop-ray-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", None)
        ours = [str(SUPPORT), str(SUPPORT.parents[1]), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, ours)))
        patch.setenv("TINY_TRAINER_PAUSE", "0.05")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "120")  # a loaded machine needs more than half a minute
        patch.setenv("OMP_NUM_THREADS", "1")
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": HEALTH}
        started = Cluster(initialize_head=True, head_node_args=head)
        yield started
        started.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture
def nodes(cluster: Any) -> Iterator[list[Any]]:
    """Two nodes of one slot each; those that a test leaves are removed."""
    made = [cluster.add_node(num_cpus=1) for _ in range(2)]
    yield made
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node)


def workers_of(node: Any) -> list[psutil.Process]:
    """Worker processes that train on a node."""
    pids = [info[0].process.pid for info in node.all_processes.values()]
    below = [child for pid in pids for child in psutil.Process(pid).children(recursive=True)]
    return [child for child in below if child.is_running() and "ray::attempt" in " ".join(child.cmdline())]


def without_driver(nodes: list[Any]) -> Any:
    """A node that the driver is not attached to: on one machine Ray attaches it to any, and it ends or freezes with that."""
    import ray

    attached = ray.get_runtime_context().get_node_id()
    return next(node for node in nodes if node.node_id != attached)


def raylet_of(node: Any) -> psutil.Process:
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


def test_a_worker_is_killed(cluster: Any, nodes: list[Any], sweep: Path, store: Path, reference: Path) -> None:
    driving = Driving(cluster.address, sweep, store)
    driving.wait_for_progress()
    wait_until(lambda: bool(workers_of(nodes[0]) or workers_of(nodes[1])), "a worker process")
    (workers_of(nodes[0]) or workers_of(nodes[1]))[0].kill()
    assert driving.result().counts == {"ok": 6}
    check(store, reference)
    assert [event["ending"] for event in events(store) if event["event"] == "ended"].count("killed") == 1


def test_a_node_dies_and_another_takes_its_work(
    cluster: Any, nodes: list[Any], sweep: Path, store: Path, reference: Path
) -> None:
    driving = Driving(cluster.address, sweep, store)
    driving.wait_for_progress()
    cluster.remove_node(without_driver(nodes), allow_graceful=False)
    assert driving.result().counts == {"ok": 6}
    check(store, reference)


@pytest.mark.parametrize("freezes", ["its process, and comes back", "the machine, for good"])
def test_a_node_freezes(
    freezes: str, cluster: Any, nodes: list[Any], sweep: Path, store: Path, reference: Path
) -> None:
    """Workers of a frozen node process go on, so that two copies of a run may end: the first commit stands.

    What Ray was about to start there is never answered, and has to be taken back.
    """
    for_good = freezes.endswith("for good")
    driving = Driving(cluster.address, sweep, store, stuck_seconds=5.0)
    driving.wait_for_progress()
    node = without_driver(nodes)
    frozen = [raylet_of(node), *(workers_of(node) if for_good else [])]
    for process in frozen:
        process.send_signal(signal.SIGSTOP)
    result = driving.result()
    for process in frozen:
        process.send_signal(signal.SIGKILL if for_good else signal.SIGCONT)
    assert result.counts == {"ok": 6}
    assert not (store / "nondeterminism").exists()
    check(store, reference)


def test_a_killed_driver_is_continued_on_the_cluster(
    cluster: Any, nodes: list[Any], server: CellServer, sweep: Path, store: Path, reference: Path
) -> None:
    """The workers it leaves behind commit or end, and the next driver goes on from what is in the store."""
    request = {"sweep": str(sweep), "settings": [], "store": str(store), "address": cluster.address}
    killed = server.run(**request, faults="outcome.before=kill@2")
    assert killed["code"] == -signal.SIGKILL, killed
    continued = server.run(**request)
    assert continued["counts"] == {"ok": 6}, continued
    check(store, reference)


HIDING = {"trainer.py": "hides isoflop's own package trainer", "orchestrator.py": "cannot import isoflop"}
"""Files on a node's path that make it unfit for a sweep, and what it says."""


@pytest.fixture
def hiding(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Environment of a node where a file hides a package of ours; workers look into the driver's folder first."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / request.param).touch()
    monkeypatch.chdir(tmp_path)
    return {"PYTHONPATH": f"{tmp_path / 'path'}{os.pathsep}{os.environ['PYTHONPATH']}"}


@pytest.mark.parametrize(("hiding", "said"), HIDING.items(), indirect=["hiding"], ids=HIDING)
def test_a_node_that_cannot_serve_the_sweep_is_left_out(
    hiding: dict[str, str], said: str, cluster: Any, nodes: list[Any], sweep: Path, store: Path, reference: Path
) -> None:
    cluster.add_node(num_cpus=1, env_vars=hiding)
    driving = Driving(cluster.address, sweep, store)
    assert driving.result().counts == {"ok": 6}
    check(store, reference)
    notes = [event["text"] for event in events(store) if event["event"] == "note"]
    assert len(notes) == 1, "said once"
    assert said in notes[0]
    assert notes[0].endswith("This node gets no more runs.")
    assert not (store / "attempts").exists(), "no run is blamed"


@pytest.mark.parametrize("hiding", ["trainer.py"], indirect=True)
def test_where_no_node_can_serve_the_sweep_it_stops(
    hiding: dict[str, str], cluster: Any, sweep: Path, store: Path
) -> None:
    node = cluster.add_node(num_cpus=1, env_vars=hiding)
    with pytest.raises(CapacityError, match="isoflop"):
        Driving(cluster.address, sweep, store).result()
    cluster.remove_node(node)
    assert not (store / "commits").exists()


def test_a_node_that_joins_is_used(cluster: Any, nodes: list[Any], sweep: Path, store: Path) -> None:
    slots = Slots()
    driving = Driving(cluster.address, sweep, store, "seeds=4", observer=slots)
    driving.wait_for_progress()
    cluster.add_node(num_cpus=1)
    assert driving.result().counts == {"ok": 24}
    assert slots.seen[0] == 2
    assert slots.seen[-1] == 3


def test_fractions_of_a_gpu_share_it(cluster: Any, nodes: list[Any], sweep: Path, store: Path) -> None:
    cluster.add_node(num_cpus=4, num_gpus=1)
    seen: list[int] = []
    driving = Driving(
        cluster.address,
        sweep,
        store,
        "resources={cpus: 1, gpus: 0.5}",
        announce=lambda plan, left, slots: seen.append(slots),
    )
    assert driving.result().counts == {"ok": 6}
    assert seen == [2]


def test_a_request_that_no_node_serves_is_an_error_at_once(
    cluster: Any, nodes: list[Any], sweep: Path, store: Path
) -> None:
    for resources, words in (
        ("{gpus: 1}", "1 GPU; the cluster has"),
        ("{cpus: 64}", "64 CPU"),
        ("{custom: {spot: 1}}", "1 spot"),
    ):
        with pytest.raises(CapacityError, match=words):
            Driving(cluster.address, sweep, store, f"resources={resources}").result()
    assert not (store / "proposals").exists()
