"""What AWS, GCP and on-premises clusters need beyond Ray's schema, which lets any provider key pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.clusters.document import Document
from orchestrator.clusters.findings import Finding, did_you_mean

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
            yield document.error(
                "missing_provider_key",
                ("provider",),
                wrong=f"provider.{name} is missing",
                expected=f"a value, since Ray's {kind} provider reads it and takes no default",
                remedy=f"Add {name!r} below 'provider'.",
            )
    known = _COMMON_KEYS | {*provider.required, *provider.optional}
    for name in sorted(set(given) - known):
        yield document.error(
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


def _check_other_provider(document: Document, kind: str) -> Iterator[Finding]:
    known = [*PROVIDERS, *_OTHERS, *_FAKE]
    if kind not in known:
        yield document.error(
            "unknown_provider",
            ("provider", "type"),
            wrong=f"provider.type is {kind!r}",
            expected=f"one of {', '.join(known)}",
            remedy=did_you_mean(kind, known).replace("Remove it.", "Choose one of them."),
        )
    elif kind in _FAKE:
        # The wheel lacks the file that Ray would take this provider's defaults from.
        for name in [name for name in _LISTS if not isinstance(document.at(name), list)]:
            yield document.error(
                "list_needed",
                (),
                wrong=f"{name!r} is missing",
                expected=f"a list, maybe empty: Ray's wheel has no defaults for {kind}",
                remedy=f"Add '{name}: []'.",
            )
    else:
        yield document.warning(
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
            yield document.error(
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
        yield document.error(
            "missing_provider_key",
            ("provider",),
            wrong="provider.head_ip or provider.worker_ips is missing",
            expected="the head's address, and a list of the workers'",
            remedy="Add both.",
        )
        return
    if document.mapping("available_node_types"):
        yield document.error(
            "node_types_on_premises",
            ("available_node_types",),
            wrong="available_node_types is given",
            expected="none on premises: the machines are what they are, and Ray aborts",
            remedy="Remove it, with head_node_type.",
        )
    workers = document.items("provider", "worker_ips")
    if document.text("provider", "head_ip") in workers or len(set(map(str, workers))) < len(workers):
        yield document.error(
            "address_twice",
            ("provider", "worker_ips"),
            wrong="an address is given twice, or is the head's",
            expected="each machine once",
            remedy="Remove it.",
        )
    for key in ("min_workers", "max_workers"):
        given = document.count(key)
        if given is not None and given != len(workers):
            yield document.warning(
                "workers_left_out",
                (key,),
                wrong=f"{key} is {given} with {len(workers)} worker_ips",
                expected="the number of workers, since machines that are there cost nothing more",
                remedy=f"Write {key}: {len(workers)}.",
            )
