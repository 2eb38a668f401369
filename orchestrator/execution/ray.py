"""Attempts as Ray tasks. The only module that imports Ray.

Placement, detection of death and autoscaling are Ray's. Running again is not: tasks have no retries of Ray's own, and
every end comes back as
an `Outcome` for `orchestrator.failures` to judge.
"""

from __future__ import annotations

import logging
import math
import os
import time
from typing import Any

from orchestrator.errors import CapacityError, InfrastructureError
from orchestrator.execution import authentication
from orchestrator.execution.remote import execute_remotely
from orchestrator.execution.task import Ending, Outcome, Task
from orchestrator.sweep import Resources

SLOTS_SECONDS = 2.0
"""How often the cluster is asked for its size (chosen): nodes come and go in seconds at best."""


class RayLauncher:
    """A `Launcher` on an embedded Ray (`address` None) or on a cluster."""

    def __init__(self, resources: Resources, address: str | None = None) -> None:
        """Connect.

        Raises:
            CapacityError: No node, present or promised by an autoscaler, can serve one run.
            InfrastructureError: Ray does not start or the cluster does not answer.
        """
        self._ray = _connect(address)
        self._request = _request(resources)
        self._inflight: dict[Any, Task] = {}
        self._killed: set[str] = set()
        self._slots_known_at = -math.inf
        self._slots = 0
        _check_capacity(self._ray, self._request, address)
        self._remote = self._ray.remote(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            resources=dict(resources.custom),
            max_retries=0,
            max_calls=0,  # GPU tasks would otherwise get a fresh process, which imports torch again
        )(execute_remotely)
        self._default_memory = resources.memory

    def slots(self) -> int:
        """Runs that fit on the nodes alive now; nodes that join count within seconds."""
        now = time.monotonic()
        if now - self._slots_known_at > SLOTS_SECONDS:
            nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self._slots = sum(_fits(node, self._request) for node in nodes)
            self._slots_known_at = now
        return max(1, self._slots)

    def submit(self, task: Task) -> None:
        """Hand a task to Ray's scheduler."""
        memory = task.memory or self._default_memory
        remote = self._remote.options(memory=memory) if memory else self._remote
        self._inflight[remote.remote(task)] = task

    def wait(self, timeout: float) -> list[Outcome]:
        """Outcomes of whatever has ended, however it ended."""
        if not self._inflight:
            return []
        ready, _ = self._ray.wait(list(self._inflight), num_returns=1, timeout=timeout)
        if ready and len(self._inflight) > 1:
            ready, _ = self._ray.wait(list(self._inflight), num_returns=len(self._inflight), timeout=0)
        return [self._outcome(reference, self._inflight.pop(reference)) for reference in ready]

    def kill(self, run_id: str) -> None:
        """End a task's worker process."""
        for reference, task in self._inflight.items():
            if task.run_id == run_id:
                self._killed.add(run_id)
                self._ray.cancel(reference, force=True)

    def close(self) -> None:
        """Disconnect; an embedded Ray ends with it."""
        self._ray.shutdown()

    def _outcome(self, reference: Any, task: Task) -> Outcome:
        exceptions = self._ray.exceptions
        ending: Ending
        try:
            outcome: Outcome = self._ray.get(reference)
            return outcome
        except exceptions.OutOfMemoryError as error:
            ending, reason = "killed", f"host memory: {_first_line(error)}"
        except (exceptions.WorkerCrashedError, exceptions.TaskCancelledError) as error:
            ending, reason = "killed", f"the worker process died: {_first_line(error)}"
        except exceptions.RuntimeEnvSetupError as error:
            ending, reason = "refused", f"Ray could not prepare a worker: {_first_line(error)}"
        except exceptions.RayTaskError as error:
            ending, reason = "refused", f"a worker could not import isoflop: {_first_line(error.cause or error)}"
        except exceptions.RayError as error:
            ending, reason = "lost", f"the node went away: {_first_line(error)}"
        if task.run_id in self._killed:
            self._killed.discard(task.run_id)
            ending, reason = "killed", "made no step for too long and was killed"
        return Outcome(run_id=task.run_id, attempt=task.attempt, ending=ending, reason=reason)


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


def _request(resources: Resources) -> dict[str, float]:
    request = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": resources.memory or 0.0, **resources.custom}
    return {name: amount for name, amount in request.items() if amount}


def _fits(node: dict[str, float], request: dict[str, float]) -> int:
    """Runs that a node's resources hold."""
    return min(int(node.get(name, 0.0) / amount + 1e-9) for name, amount in request.items())


def _check_capacity(ray: Any, request: dict[str, float], address: str | None) -> None:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    promised = _promised_nodes(ray) if address is not None else []
    if any(_fits(node, request) for node in [*nodes, *promised]):
        return
    ray.shutdown()
    lacking = next(
        (name for name, amount in request.items() if not any(node.get(name, 0) >= amount for node in nodes + promised)),
        "CPU",
    )
    has = ", ".join(f"{name}: {sum(node.get(name, 0) for node in nodes):g}" for name in sorted({"CPU", "GPU", lacking}))
    where = "the cluster" if address else "this machine"
    advice = {"GPU": "Set resources.gpus: 0, or add GPU workers.", "CPU": "Set resources.cpus lower, or add workers."}
    raise CapacityError(
        f"runs ask for {request[lacking]:g} {lacking}; {where} has {has}, and no node type has that. "
        + advice.get(lacking, f"Set resources.{lacking} lower, or add workers that have it.")
    )


def _promised_nodes(ray: Any) -> list[dict[str, float]]:
    """Resources of the node types that the cluster's autoscaler may start; empty where it has none to tell."""
    try:
        config = ray._private.state.state.get_cluster_config()
        return [dict(group.resources) for group in config.node_group_configs] if config else []
    except (AttributeError, RuntimeError):  # a private part of Ray, absent in some versions
        return []


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
