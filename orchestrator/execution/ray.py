"""Attempts as Ray tasks.

Placement, detection of death and autoscaling are Ray's. Running again is not: tasks have no retries of Ray's own, and
every end comes back as an `Outcome` for `orchestrator.failures` to judge.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import InfrastructureError
from orchestrator.execution import authentication, nodes
from orchestrator.execution.task import Ending, Outcome, Task
from orchestrator.sweep import Resources

LOOK_SECONDS = 2.0
"""How often the cluster is asked for its nodes (chosen): nodes come and go in seconds at best."""

LETTING_GO_SECONDS = 15.0
"""How long a task that was killed may take to end before it counts as lost with its node (chosen)."""

GPU_TO_ASK = 0.001
"""Share of a GPU that asking for its memory takes (chosen): next to nothing."""

ASKING_SECONDS = 120.0
"""How long nodes may take to say how much memory their GPU has: a process that imports torch (chosen)."""


@dataclass(frozen=True)
class _Verdict:
    """What a killed task's outcome will be, and when it no longer needs Ray's word."""

    outcome: Outcome
    due: float


class RayLauncher:
    """A `Launcher` on an embedded Ray (`address` None) or on a cluster."""

    def __init__(self, resources: Resources, address: str | None = None) -> None:
        """Connect.

        Raises:
            CapacityError: No node, present or promised by an autoscaler, can serve one run.
            InfrastructureError: Ray does not start or the cluster does not answer.
        """
        self._ray = _connect(address)
        self._request = nodes.request_of(resources)
        self._inflight: dict[Any, Task] = {}
        self._killed: dict[Any, _Verdict] = {}
        self._refusals: dict[str, str] = {}
        self._rounds = 0
        self._looked_at = -math.inf
        self._slots = 0
        self._gone: set[str] = set()
        self._free: list[dict[str, float]] = []
        nodes.check_capacity(self._ray, self._request, on_cluster=address is not None)
        self._remote = self._ray.remote(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            memory=resources.memory,
            resources=dict(resources.custom),
            max_retries=0,
            enable_task_events=address is not None,  # an embedded Ray has no dashboard to show them
            max_calls=0,  # GPU tasks would otherwise get a fresh process, which imports torch again
        )(_entry())
        self._usual = (resources.gpus, resources.memory)

    def slots(self) -> int:
        """Runs that fit on the nodes alive now; nodes that join count within seconds."""
        self._look()
        return max(1, self._slots)

    def gone(self) -> Collection[str]:
        """Nodes that the cluster has declared dead."""
        self._look()
        return self._gone

    def has_room(self, task: Task) -> bool:
        """Whether some node has what a task asks for free at this moment; other people's tasks count, too."""
        request = self._request | {"GPU": task.gpus, "memory": task.memory or self._request.get("memory", 0.0)}
        request = {name: amount for name, amount in request.items() if amount}
        self._look()
        return any(nodes.fitting(node, request) for node in self._free)

    def submit(self, task: Task) -> None:
        """Hand a task to Ray's scheduler."""
        options: dict[str, Any] = {}
        if (task.gpus, task.memory or self._usual[1]) != self._usual:
            options |= {"num_gpus": task.gpus, "memory": task.memory or self._usual[1]}
        if self._refusals or self._rounds:
            options["label_selector"] = {"ray.io/node-id": self._elsewhere()}
        remote = self._remote.options(**options) if options else self._remote
        self._inflight[remote.remote(pickle.dumps(vars(task)))] = task

    def wait(self, timeout: float) -> list[Outcome]:
        """Outcomes of whatever has ended, however it ended."""
        if not self._inflight:
            return []
        queued = max(0, len(self._inflight) - self._slots)  # so many may end before a worker has nothing to do
        ready, _ = self._ray.wait(list(self._inflight), num_returns=1 + queued // 2, timeout=timeout)
        outcomes = [self._outcome(reference, self._inflight.pop(reference)) for reference in ready]
        return [*outcomes, *self._let_go()]

    def kill(self, run_id: str, *, ending: Ending = "killed", reason: str = "it was killed") -> None:
        """End a task's worker process, or take the task back from Ray's queues.

        What is submitted from now on is of another scheduling class for Ray. It would otherwise wait behind the lease
        requests of this one, and those that Ray holds at a node that froze are never answered.
        """
        for reference, task in self._inflight.items():
            if task.run_id == run_id and reference not in self._killed:
                outcome = Outcome(run_id=run_id, attempt=task.attempt, ending=ending, reason=reason)
                self._killed[reference] = _Verdict(outcome, time.monotonic() + LETTING_GO_SECONDS)
                self._ray.cancel(reference, force=True)
                self._rounds += 1

    def gpu_memory(self) -> int | None:
        """Bytes of the smallest GPU among the nodes alive, as torch on each of them says; None where none does."""
        names = [node["NodeID"] for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
        asked = self._ray.remote(num_cpus=0, num_gpus=GPU_TO_ASK, max_retries=0, max_calls=1)(_own_gpu_memory)
        answers = [asked.options(label_selector={"ray.io/node-id": name}).remote() for name in names]
        try:
            told = [size for size in self._ray.get(answers, timeout=ASKING_SECONDS) if size is not None]
        except self._ray.exceptions.RayError:  # a node without torch, or one that is busy
            return None
        return min(told, default=None)

    def share_gpus(self, gpus: float) -> None:
        """Count room from now on for runs that take so much of a GPU on average."""
        self._request["GPU"] = gpus
        self._looked_at = -math.inf

    def close(self) -> None:
        """Disconnect; an embedded Ray ends with it."""
        self._ray.shutdown()

    def _elsewhere(self) -> str:
        """Any node but those that refused; the last name is no node's and makes a class of its own for every round."""
        return f"!in({','.join([*self._refusals, f'round-{self._rounds}'])})"

    def _let_go(self) -> list[Outcome]:
        """Outcomes of tasks that were killed and did not end: their node does not answer, and may never."""
        now = time.monotonic()
        over = [reference for reference, verdict in self._killed.items() if now > verdict.due]
        for reference in over:
            del self._inflight[reference]
        return [self._killed.pop(reference).outcome for reference in over]

    def _outcome(self, reference: Any, task: Task) -> Outcome:
        exceptions = self._ray.exceptions
        killed = self._killed.pop(reference, None)
        ending: Ending
        try:
            return self._served(task, *self._ray.get(reference))
        except exceptions.OutOfMemoryError as error:
            ending, reason = "killed", f"host memory: {_first_line(error)}"
        except (exceptions.WorkerCrashedError, exceptions.TaskCancelledError) as error:
            ending, reason = "killed", f"the worker process died: {_first_line(error)}"
        except exceptions.RuntimeEnvSetupError as error:
            ending, reason = "refused", f"Ray could not prepare a worker: {_first_line(error)}"
        except exceptions.RayTaskError as error:
            ending, reason = "refused", f"a worker could not run isoflop: {_first_line(error.cause or error)}"
        except exceptions.RayError as error:
            ending, reason = "lost", f"the node went away: {_first_line(error)}"
        if killed is not None:
            return killed.outcome
        return Outcome(run_id=task.run_id, attempt=task.attempt, ending=ending, reason=reason)

    def _served(self, task: Task, node: str, came: Outcome | str) -> Outcome:
        """What a worker gave back; a node that refuses gets no more tasks, and others go on."""
        if isinstance(came, str):
            came = Outcome(run_id=task.run_id, attempt=task.attempt, ending="refused", reason=came)
        if came.ending != "refused":
            return came
        known = node in self._refusals
        self._refusals[node] = came.reason or ""
        self._looked_at = -math.inf
        self._look()
        if not self._slots:
            return came
        return replace(came, ending="unfit", notes=() if known else (f"{came.reason} This node gets no more runs.",))

    def _look(self) -> None:
        """Look at the nodes, where it is time to; those that refused count for nothing."""
        now = time.monotonic()
        if now - self._looked_at <= LOOK_SECONDS:
            return
        self._looked_at = now
        known = {node["NodeID"]: node for node in self._ray.nodes()}
        self._gone = {name for name, node in known.items() if not node["Alive"]}
        serving = known.keys() - self._gone - self._refusals.keys()
        self._slots = sum(nodes.fitting(known[name]["Resources"], self._request) for name in serving)
        self._free = [free for name, free in nodes.free_by_node(self._ray).items() if name in serving]


def _entry() -> Callable[[bytes], tuple[str, Any]]:
    """What Ray runs on a node. It travels by value and takes plain data, so that a node without isoflop can say so.

    The data come pickled: Ray's own way with them takes a multiple of the time.
    """

    def attempt(task: bytes) -> tuple[str, Any]:
        import pickle
        import socket

        import ray

        node = ray.get_runtime_context().get_node_id()
        try:
            from orchestrator.execution.remote import execute_remotely
            from orchestrator.execution.task import Task
        except ImportError as error:
            host = socket.gethostname()
            return node, f"{host} cannot import isoflop: {error}; expected it there. Install it on every node."
        values = pickle.loads(task)  # noqa: S301 - from our own driver, like all that Ray brings
        return node, execute_remotely(Task(**values | {"node": node}))

    return attempt


def _own_gpu_memory() -> int | None:
    """What a node's own torch says of its GPU."""
    from trainer import devices

    return devices.gpu_memory()


def _connect(address: str | None) -> Any:
    """Start or join Ray.

    Raises:
        InfrastructureError: With what to do; Ray's own message for a cluster that wants a token is misleading.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is not None:
        authentication.prepare_client()
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {"address": "local", "include_dashboard": False}
    else:
        options |= {"address": address}
    if ray.is_initialized():
        return ray
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        if address is None:
            raise InfrastructureError(
                f"Ray did not start: {_first_line(error)}; expected a local Ray. Repeat the command, or use --inline."
            ) from error
        raise InfrastructureError(
            f"no Ray at {address}: {_first_line(error)}; expected a running cluster. Check the address; if the "
            "cluster wants a "
            "token: export RAY_AUTH_MODE=token before starting isoflop (docs/running.md#authentication)."
        ) from error
    return ray


def _first_line(error: object) -> str:
    """What an error says; where its first line only announces a traceback, that one's last line, too."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{lines[0]} {lines[-1].strip()}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
