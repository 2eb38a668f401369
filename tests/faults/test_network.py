"""A machine that is cut off while it trains: Ray's nodes in network namespaces, one of which is unplugged.

Both copies of its run come to their end: each machine has a gate at which runs stand still for as long as the test
wants. The one that is cut off computes something else, so that a comparison shows.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from cells import HERE as SUPPORT
from cells import CellServer
from driving import Driving
from network import Machine, network
from oracle import check, events, results
from processes import wait_until
from ray_nodes import head, node

from orchestrator.execution import authentication

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 4,
}
"""A node that does not answer is given up after six seconds, not a minute."""

OFFSET = 1e-9
"""What the machine that is cut off adds to a loss."""

SOON = 120.0
"""By then what was caused has happened, on a loaded machine, too."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of Ray on a machine.

    Attributes:
        machine: The machine.
        gate: Folder of its gate.
        process: What keeps the node running.
    """

    machine: Machine
    gate: Path
    process: subprocess.Popen[bytes]

    @property
    def name(self) -> str:
        """Its name in the cluster that this process is connected to."""
        import ray

        return next(n["NodeID"] for n in ray.nodes() if n["NodeManagerAddress"] == self.machine.address)

    def hold(self, run_id: str = "any") -> None:
        """Let a run wait at the gate."""
        (self.gate / run_id).touch()

    def release(self, run_id: str = "any") -> None:
        """Let it go on."""
        (self.gate / run_id).unlink()


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A head on this machine, and two nodes, the first of which will be cut off."""

    address: str
    cut_off: Node
    other: Node


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    authentication.prepare_client()
    ours = [str(SUPPORT), str(SUPPORT.parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, ours)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "120")  # a loaded machine needs more than half a minute
    with ExitStack() as stack:
        net = stack.enter_context(network(2))
        address = stack.enter_context(head(net.address, HEALTH))
        made = []
        for machine, offset in zip(net.machines, (OFFSET, 0.0), strict=True):
            gate = tmp_path / machine.name
            gate.mkdir()
            variables = {"TINY_TRAINER_GATE": str(gate), "TINY_TRAINER_OFFSET": str(offset)}
            process = stack.enter_context(node(address, machine, tmp_path, **variables))
            made.append(Node(machine=machine, gate=gate, process=process))
        yield Cluster(address=address, cut_off=made[0], other=made[1])


def nodes_of_runs(store: Path) -> dict[str, str]:
    """Names of the nodes that train, by run."""
    said = {}
    for path in (store / "progress").glob("*.json"):
        try:
            said[path.stem] = json.loads(path.read_bytes()).get("node")
        except (FileNotFoundError, ValueError):
            continue
    return said


def wait_for_run_on(there: Node, store: Path) -> str:
    """The run that a node trains, once it does."""
    wait_until(lambda: bool(nodes_of_runs(store)), "an attempt is under way", SOON)  # then Ray is connected
    name = there.name
    wait_until(lambda: name in nodes_of_runs(store).values(), "the node trains", SOON)
    return next(run_id for run_id, on in nodes_of_runs(store).items() if on == name)


def come_back(there: Node) -> None:
    """Plug a machine in again: its node learns that it was given up, and ends."""
    there.machine.plug_in()
    wait_until(lambda: there.process.poll() is not None, "the node that was given up ends", SOON)


def test_the_other_machine_commits_first(
    cluster: Cluster, sweep: Path, store: Path, reference: Path, server: CellServer
) -> None:
    """The sweep is over before the machine that was cut off is: what it brings is compared, kept apart, and changes nothing."""
    cluster.cut_off.hold()
    driving = Driving(cluster.address, sweep, store)
    run_id = wait_for_run_on(cluster.cut_off, store)
    cluster.cut_off.machine.unplug()
    assert driving.result().counts == {"ok": 6}
    committed = (store / f"commits/{run_id}.json").read_bytes()
    cluster.cut_off.release()
    wait_until(lambda: (store / "nondeterminism").exists(), "the second copy is compared", SOON)
    come_back(cluster.cut_off)
    (kept,) = (store / "nondeterminism").iterdir()
    losses = [json.loads(document)["row"]["loss"] for document in (committed, kept.read_bytes())]
    assert losses[1] == losses[0] + OFFSET
    assert (store / f"commits/{run_id}.json").read_bytes() == committed
    assert server.run(sweep=str(sweep), settings=[], store=str(store))["counts"] == {"ok": 6}
    check(store, reference)


def test_the_machine_that_is_cut_off_commits_first(cluster: Cluster, sweep: Path, store: Path, reference: Path) -> None:
    """The copy that the driver waits for finds a commit, compares, and reports the difference; the first stands."""
    cluster.cut_off.hold()
    driving = Driving(cluster.address, sweep, store)
    run_id = wait_for_run_on(cluster.cut_off, store)
    cluster.other.hold(run_id)
    again = cluster.other.name
    cluster.cut_off.machine.unplug()
    wait_until(lambda: nodes_of_runs(store).get(run_id) == again, "the other machine trains the run", SOON)
    cluster.cut_off.release()
    wait_until(lambda: (store / f"commits/{run_id}.json").exists(), "the first copy commits", SOON)
    come_back(cluster.cut_off)
    cluster.other.release(run_id)
    assert driving.result().counts == {"ok": 6}
    expected = results(reference)
    expected.loc[run_id, "loss"] += OFFSET
    pd.testing.assert_frame_equal(results(store), expected, check_exact=True)
    assert len(list((store / "nondeterminism").iterdir())) == 1
    notes = [event["text"] for event in events(store) if event["event"] == "note"]
    assert len(notes) == 1
    assert notes[0].startswith(f"nondeterminism: run {run_id} gave loss")
