"""What a cloud makes of each node type: machine type, image, spot, GPUs, rights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from orchestrator.clusters.document import Document
from orchestrator.clusters.findings import Finding, KeyPath
from orchestrator.clusters.schema import shown

_AWS_TYPE = re.compile(r"[a-z]+-?\d+[a-z0-9]*(-[a-z0-9]+)*\.(nano|micro|small|medium|(\d+)?x?large|metal(-\d+xl)?)")
_GCP_TYPE = re.compile(r"([a-z]+\d+[a-z]?-[a-z]+(-\d+)*g?(-[a-z]+)?|(f1-micro|g1-small|custom-\d+-\d+))")
_GCP_GPU_FAMILY = re.compile(r"(a2|a3|a4|a4x|g2|g4)-")


def check_node_types(document: Document) -> Iterator[Finding]:
    """What the cloud makes of each node type: machine type, image, spot, GPUs, rights."""
    kind = document.text("provider", "type")
    check = {"aws": _check_aws_node, "gcp": _check_gcp_node}.get(kind or "")
    if check is None:
        return
    head = document.text("head_node_type")
    for name in document.mapping("available_node_types"):
        path: KeyPath = ("available_node_types", name, "node_config")
        yield from check(document, path, name == head)
        if name == head and _is_spot(document.mapping(*path)):
            yield document.error(
                "spot_head",
                path,
                wrong="the head is a spot (preemptible) machine",
                expected="an on-demand head: when it goes, the driver and every worker go with it",
                remedy="Remove the spot option from the head's node_config.",
            )


def _check_aws_node(document: Document, path: KeyPath, is_head: bool) -> Iterator[Finding]:
    yield from _check_machine_type(document, (*path, "InstanceType"), _AWS_TYPE, "m7i.xlarge")
    node = document.mapping(*path)
    if not node:
        return
    if not (node.get("ImageId") or node.get("LaunchTemplate")):
        yield document.warning(
            "default_image",
            path,
            wrong="no ImageId",
            expected="an image with Python 3.11 or newer; Ray's default is Ubuntu 18.04, too old for torch's wheels",
            remedy="Name one, by id or as resolve:ssm:PARAMETER.",
        )
    if not is_head and not node.get("IamInstanceProfile"):
        yield document.warning(
            "worker_without_role",
            path,
            wrong="no IamInstanceProfile: these workers have no rights",
            expected="a profile that may read and write the store's bucket; workers commit results themselves",
            remedy="Add one (docs/clusters.md has the policy).",
        )
    owned = document.at("provider", "security_group", "GroupName") or node.get("SecurityGroupIds")
    if not (owned or node.get("NetworkInterfaces") or node.get("LaunchTemplate")):
        yield document.warning(
            "default_security_group",
            path,
            wrong="no security group: Ray makes one with port 22 open to every address",
            expected="a group of your own that admits your addresses only",
            remedy="Create one and name it in provider.security_group.GroupName (docs/clusters.md).",
        )


def _check_gcp_node(document: Document, path: KeyPath, is_head: bool) -> Iterator[Finding]:
    yield from _check_machine_type(document, (*path, "machineType"), _GCP_TYPE, "n2-standard-4")
    node, machine = document.mapping(*path), document.text(*path, "machineType") or ""
    if not (node.get("guestAccelerators") or _GCP_GPU_FAMILY.match(machine.rsplit("/", 1)[-1])):
        return
    if not is_head and not document.count(*path[:-1], "resources", "GPU"):
        yield document.error(
            "gpu_not_declared",
            (*path[:-1], "resources"),
            wrong="a GPU machine whose resources name no GPU",
            expected="GPU: its number; Ray does not ask GCP, and would never start one for a task that wants a GPU",
            remedy="Add GPU to resources.",
        )
    if _scheduling(node).get("onHostMaintenance") != "TERMINATE":
        yield document.error(
            "gpu_host_maintenance",
            path,
            wrong="a GPU machine without onHostMaintenance: TERMINATE",
            expected="TERMINATE: GCP refuses to create it otherwise, since a GPU cannot be migrated",
            remedy="Add '- onHostMaintenance: TERMINATE' below scheduling.",
        )


def _check_machine_type(document: Document, path: KeyPath, pattern: re.Pattern[str], example: str) -> Iterator[Finding]:
    given = document.at(*path)
    if given is None:
        if document.at(*path[:-1], "LaunchTemplate") is None:
            yield document.error(
                "no_machine_type",
                path[:-1],
                wrong=f"{path[-1]} is missing",
                expected=f"a machine type such as {example}",
                remedy=f"Add {path[-1]}.",
            )
    elif not isinstance(given, str) or not pattern.fullmatch(given.rsplit("/", 1)[-1]):
        yield document.warning(
            "odd_machine_type",
            path,
            wrong=f"{path[-1]} {shown(given)} does not look like one of the cloud's",
            expected=f"a name such as {example}; Ray finds out only when it asks for a machine",
            remedy="Check it against the cloud's list.",
        )


def _is_spot(node: dict[str, Any]) -> bool:
    market = node.get("InstanceMarketOptions")
    scheduling = _scheduling(node)
    return (
        (isinstance(market, dict) and market.get("MarketType") == "spot")
        or scheduling.get("preemptible") is True
        or scheduling.get("provisioningModel") == "SPOT"
    )


def _scheduling(node: dict[str, Any]) -> dict[str, Any]:
    """GCP's scheduling options, which Ray's examples write as a list of mappings and GCP as one mapping."""
    given = node.get("scheduling")
    parts = given if isinstance(given, list) else [given]
    return {key: value for part in parts if isinstance(part, dict) for key, value in part.items()}
