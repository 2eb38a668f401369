"""What the nodes of a Ray cluster hold, have free, and may be joined by. It is handed Ray and does not import it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import CapacityError
from orchestrator.sweep import Resources

AUTOSCALER_STATUS = "__autoscaling_status"
"""Key under which the monitor of a head keeps its last report, the one that `ray status` prints."""

REPORT_SECONDS = 15.0
"""How long to wait for an autoscaler's first report where no node there is can serve a run (chosen)."""


def request_of(resources: Resources) -> dict[str, float]:
    """What one run asks of a node, by Ray's names."""
    request = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": resources.memory or 0.0, **resources.custom}
    return {name: amount for name, amount in request.items() if amount}


def fitting(node: Mapping[str, float], request: Mapping[str, float]) -> int:
    """Runs that a node's resources hold."""
    return min(int(node.get(name, 0.0) / amount + 1e-9) for name, amount in request.items())


def free_by_node(ray: Any) -> dict[str, dict[str, float]]:
    """What every node says is free; empty where this version of Ray does not tell."""
    try:
        free: dict[str, dict[str, float]] = ray._private.state.available_resources_per_node()
        return free
    except (AttributeError, RuntimeError, ray.exceptions.RayError):  # a private part of Ray, absent behind ray://
        return {}


def check_capacity(ray: Any, request: Mapping[str, float], *, on_cluster: bool) -> None:
    """Make sure that some node, present or promised, can serve one run; Ray would wait for it for ever.

    Raises:
        CapacityError: None can; Ray is left then.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(fitting(node, request) for node in nodes):
        return
    promised = _promised(ray) if on_cluster else []
    if promised is None or any(fitting(node, request) for node in promised):
        return
    ray.shutdown()
    lacking = next(
        (name for name, amount in request.items() if not any(node.get(name, 0) >= amount for node in nodes + promised)),
        "CPU",
    )
    has = ", ".join(f"{name}: {sum(node.get(name, 0) for node in nodes):g}" for name in sorted({"CPU", "GPU", lacking}))
    most = max((node.get(lacking, 0) for node in nodes), default=0)
    has += f" ({most:g} {lacking} on one node)" if len(nodes) > 1 and most else ""
    where = "the cluster" if on_cluster else "this machine"
    advice = {"GPU": "Set resources.gpus: 0, or add GPU workers.", "CPU": "Set resources.cpus lower, or add workers."}
    raise CapacityError(
        f"runs ask for {request[lacking]:g} {lacking}; {where} has {has}, and no node type has that. "
        + advice.get(lacking, f"Set resources.{lacking} lower, or add workers that have it.")
    )


def _promised(ray: Any) -> list[dict[str, float]] | None:
    """Resources of the node types that the cluster's autoscaler may start.

    None where one of Ray's first version is at work, which does not tell. A head that has just started may not have
    heard of its autoscaler yet, and is given time.
    """
    deadline = time.monotonic() + REPORT_SECONDS
    while True:
        try:
            if config := ray._private.state.state.get_cluster_config():
                return [dict(group.resources) for group in config.node_group_configs]
            status = json.loads(ray.experimental.internal_kv._internal_kv_get(AUTOSCALER_STATUS) or b"{}")
        except (AttributeError, RuntimeError, ValueError, ray.exceptions.RayError):  # private, absent behind ray://
            return []
        if report := status.get("autoscaler_report"):
            types = report.get("node_type_mapping") or {}
            # without an autoscaler a head reports, too, but names each node's type after the node
            return None if any(name != f"node_{node}" for node, name in types.items()) else []
        if time.monotonic() > deadline:
            return []
        time.sleep(0.5)
