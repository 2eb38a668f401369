"""What AWS, GCP and on-premises clusters need beyond Ray's schema, which lets any provider key pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.clusters.document import Document
from orchestrator.clusters.findings import Finding, KeyPath, did_you_mean
from orchestrator.clusters.schema import shown

_COMMON_KEYS = frozenset(
    [
        "type",
        "module",
        "use_internal_ips",
        "use_external_head_ip",
        "cache_stopped_nodes",
        "disable_node_updaters",
        "disable_launch_config_check",
        "foreground_node_launch",
        "worker_liveness_check",
    ]
)


@dataclass(frozen=True, kw_only=True)
class Provider:
    """What a provider of Ray 2.60 reads from the `provider` section (collected from its source).

    Attributes:
        required: Keys without which it ends in a KeyError, or in an assertion.
        optional: The other keys that it reads.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


PROVIDERS = {
    "aws": Provider(
        required=("region",),
        optional=("availability_zone", "key_pair", "security_group", "aws_credentials", "cloudwatch"),
    ),
    "gcp": Provider(required=("region", "availability_zone", "project_id"), optional=("gcp_credentials",)),
    "local": Provider(optional=("head_ip", "worker_ips", "coordinator_address", "external_head_ip")),
}
"""Providers that are checked in full."""

_OTHERS = ("azure", "vsphere", "aliyun", "spark", "kuberay", "readonly", "external")
_FAKE = ("fake_multinode", "fake_multinode_docker")
_LISTS = [
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
    "cluster_synced_files",
    "rsync_exclude",
    "rsync_filter",
]

_AWS_TYPE = re.compile(r"[a-z]+-?\d+[a-z0-9]*(-[a-z0-9]+)*\.(nano|micro|small|medium|(\d+)?x?large|metal(-\d+xl)?)")
_GCP_TYPE = re.compile(r"([a-z]+\d+[a-z]?-[a-z]+(-\d+)*g?(-[a-z]+)?|(f1-micro|g1-small|custom-\d+-\d+))")
_GCP_GPU_FAMILY = re.compile(r"(a2|a3|a4|a4x|g2|g4)-")


def check_provider(document: Document) -> Iterator[Finding]:
    """The `provider` section: a known type, its required keys, no key that Ray would ignore."""
    kind = document.text("provider", "type")
    if kind is None:
        return  # the schema says so
    if kind not in PROVIDERS:
        yield from _check_other_provider(document, kind)
        return
    provider, given = PROVIDERS[kind], document.mapping("provider")
    for name in provider.required:
        if given.get(name) is None:
            yield document.finding(
                "error",
                "missing_provider_key",
                ("provider",),
                wrong=f"provider.{name} is missing",
                expected=f"a value, since Ray's {kind} provider reads it and takes no default",
                remedy=f"Add {name!r} below 'provider'.",
            )
    known = _COMMON_KEYS | {*provider.required, *provider.optional}
    for name in sorted(set(given) - known):
        yield document.finding(
            "error",
            "unknown_provider_key",
            ("provider", name),
            wrong=f"{name!r} is no key of Ray's {kind} provider",
            expected="one that it reads; Ray ignores others silently",
            remedy=did_you_mean(name, known),
        )
    if kind == "local":
        yield from _check_on_premises(document)
    else:
        yield from _check_zones(document)


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
            yield document.finding(
                "error",
                "spot_head",
                path,
                wrong="the head is a spot (preemptible) machine",
                expected="an on-demand head: when it goes, the driver and every worker go with it",
                remedy="Remove the spot option from the head's node_config.",
            )


def _check_other_provider(document: Document, kind: str) -> Iterator[Finding]:
    known = [*PROVIDERS, *_OTHERS, *_FAKE]
    if kind not in known:
        yield document.finding(
            "error",
            "unknown_provider",
            ("provider", "type"),
            wrong=f"provider.type is {kind!r}",
            expected=f"one of {', '.join(known)}",
            remedy=did_you_mean(kind, known).replace("Remove it.", "Choose one of them."),
        )
    elif kind in _FAKE:
        # The wheel lacks the file that Ray would take this provider's defaults from.
        for name in [name for name in _LISTS if not isinstance(document.at(name), list)]:
            yield document.finding(
                "error",
                "list_needed",
                (),
                wrong=f"{name!r} is missing",
                expected=f"a list, maybe empty: Ray's wheel has no defaults for {kind}",
                remedy=f"Add '{name}: []'.",
            )
    else:
        yield document.finding(
            "warning",
            "provider_not_covered",
            ("provider", "type"),
            wrong=f"the keys of provider {kind!r} are not known here",
            expected=f"one of {', '.join(PROVIDERS)} for a full check",
            remedy="Check the provider section and every node_config yourself.",
        )


def _check_zones(document: Document) -> Iterator[Finding]:
    region, zones = document.text("provider", "region"), document.text("provider", "availability_zone")
    for zone in [zone.strip() for zone in (zones or "").split(",") if zone.strip()]:
        if region is not None and not zone.startswith(region):
            yield document.finding(
                "error",
                "zone_outside_region",
                ("provider", "availability_zone"),
                wrong=f"zone {zone!r} is not in region {region!r}",
                expected=f"zones whose names begin with {region}",
                remedy="Correct the zone or the region.",
            )


def _check_on_premises(document: Document) -> Iterator[Finding]:
    if document.at("provider", "coordinator_address") is not None:
        return
    if document.text("provider", "head_ip") is None or not isinstance(document.at("provider", "worker_ips"), list):
        yield document.finding(
            "error",
            "missing_provider_key",
            ("provider",),
            wrong="provider.head_ip or provider.worker_ips is missing",
            expected="the head's address, and a list of the workers'",
            remedy="Add both.",
        )
        return
    if document.mapping("available_node_types"):
        yield document.finding(
            "error",
            "node_types_on_premises",
            ("available_node_types",),
            wrong="available_node_types is given",
            expected="none on premises: the machines are what they are, and Ray aborts",
            remedy="Remove it, with head_node_type.",
        )
    workers = document.items("provider", "worker_ips")
    if document.text("provider", "head_ip") in workers or len(set(map(str, workers))) < len(workers):
        yield document.finding(
            "error",
            "address_twice",
            ("provider", "worker_ips"),
            wrong="an address is given twice, or is the head's",
            expected="each machine once",
            remedy="Remove it.",
        )
    for key in ("min_workers", "max_workers"):
        given = document.count(key)
        if given is not None and given != len(workers):
            yield document.finding(
                "warning",
                "workers_left_out",
                (key,),
                wrong=f"{key} is {given} with {len(workers)} worker_ips",
                expected="the number of workers, since machines that are there cost nothing more",
                remedy=f"Write {key}: {len(workers)}.",
            )


def _check_aws_node(document: Document, path: KeyPath, is_head: bool) -> Iterator[Finding]:
    yield from _check_machine_type(document, (*path, "InstanceType"), _AWS_TYPE, "m7i.xlarge")
    node = document.mapping(*path)
    if not node:
        return
    if not (node.get("ImageId") or node.get("LaunchTemplate")):
        yield document.finding(
            "warning",
            "default_image",
            path,
            wrong="no ImageId",
            expected="an image with Python 3.11 or newer; Ray's default is Ubuntu 18.04, too old for torch's wheels",
            remedy="Name one, by id or as resolve:ssm:PARAMETER.",
        )
    if not is_head and not node.get("IamInstanceProfile"):
        yield document.finding(
            "warning",
            "worker_without_role",
            path,
            wrong="no IamInstanceProfile: these workers have no rights",
            expected="a profile that may read and write the store's bucket; workers commit results themselves",
            remedy="Add one (docs/clusters.md has the policy).",
        )
    owned = document.at("provider", "security_group", "GroupName") or node.get("SecurityGroupIds")
    if not (owned or node.get("NetworkInterfaces") or node.get("LaunchTemplate")):
        yield document.finding(
            "warning",
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
        yield document.finding(
            "error",
            "gpu_not_declared",
            (*path[:-1], "resources"),
            wrong="a GPU machine whose resources name no GPU",
            expected="GPU: its number; Ray does not ask GCP, and would never start one for a task that wants a GPU",
            remedy="Add GPU to resources.",
        )
    if _scheduling(node).get("onHostMaintenance") != "TERMINATE":
        yield document.finding(
            "error",
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
            yield document.finding(
                "error",
                "no_machine_type",
                path[:-1],
                wrong=f"{path[-1]} is missing",
                expected=f"a machine type such as {example}",
                remedy=f"Add {path[-1]}.",
            )
    elif not isinstance(given, str) or not pattern.fullmatch(given.rsplit("/", 1)[-1]):
        yield document.finding(
            "warning",
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
