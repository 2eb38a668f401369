"""Checks of KubeRay's RayJob and RayCluster objects (API ray.io/v1, fields of KubeRay 1.5 and 1.6)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestrator.clusters.document import Document
from orchestrator.clusters.findings import Finding, KeyPath, did_you_mean
from orchestrator.clusters.schema import shown
from orchestrator.clusters.shell import RayVersions

KINDS = ("RayJob", "RayCluster")
TOKEN_SINCE = (2, 52)
"""The first Ray with token authentication, which KubeRay's authOptions ask for from its version 1.5.1 on."""

_JOB_KEYS = [
    "activeDeadlineSeconds",
    "backoffLimit",
    "clusterSelector",
    "deletionStrategy",
    "entrypoint",
    "entrypointNumCpus",
    "entrypointNumGpus",
    "entrypointResources",
    "jobId",
    "managedBy",
    "metadata",
    "preRunningDeadlineSeconds",
    "rayClusterSpec",
    "runtimeEnvYAML",
    "shutdownAfterJobFinishes",
    "submissionMode",
    "submitterConfig",
    "submitterPodTemplate",
    "suspend",
    "ttlSecondsAfterFinished",
]
_CLUSTER_KEYS = [
    "authOptions",
    "autoscalerOptions",
    "enableInTreeAutoscaling",
    "gcsFaultToleranceOptions",
    "headGroupSpec",
    "headServiceAnnotations",
    "managedBy",
    "networkPolicy",
    "rayVersion",
    "suspend",
    "upgradeStrategy",
    "workerGroupSpecs",
]
_SPOT = {
    "cloud.google.com/gke-spot": "true",
    "cloud.google.com/gke-preemptible": "true",
    "eks.amazonaws.com/capacityType": "SPOT",
    "karpenter.sh/capacity-type": "spot",
    "kubernetes.azure.com/scalesetpriority": "spot",
}


def check(document: Document, versions: RayVersions) -> Iterator[Finding]:
    """Everything that is wrong with a RayJob or RayCluster."""
    if document.at("apiVersion") != "ray.io/v1":
        given = shown(document.at("apiVersion"))
        yield _error(document, "api_version", ("apiVersion",), f"apiVersion is {given}", "ray.io/v1", "Write it.")
    if document.text("metadata", "name") is None:
        yield _error(document, "missing_key", ("metadata",), "metadata.name is missing", "a name", "Add it.")
    if not document.mapping("spec"):
        yield _error(document, "missing_key", ("spec",), "spec is missing or no mapping", "a mapping", "Add it.")
        return
    cluster: KeyPath = ("spec",)
    if document.at("kind") == "RayJob":
        yield from _check_job(document)
        cluster = ("spec", "rayClusterSpec")
        if document.mapping("spec", "clusterSelector") and not document.mapping(*cluster):
            return
    if not document.mapping(*cluster):
        wrong = "rayClusterSpec is missing"
        yield _error(document, "missing_key", cluster, wrong, "a mapping, or a clusterSelector", "Add it.")
        return
    yield from _unknown(document, cluster, _CLUSTER_KEYS)
    yield from _check_versions(document, cluster, versions)
    yield from _check_token(document, cluster)
    yield from _check_head(document, (*cluster, "headGroupSpec"))
    yield from _check_workers(document, cluster)


def _check_job(document: Document) -> Iterator[Finding]:
    spec = document.mapping("spec")
    yield from _unknown(document, ("spec",), _JOB_KEYS)
    if document.text("spec", "entrypoint") is None and spec.get("submissionMode") != "InteractiveMode":
        yield _error(document, "missing_key", ("spec",), "spec.entrypoint is missing", "the command to run", "Add it.")
    if spec.get("shutdownAfterJobFinishes") is not True and not spec.get("clusterSelector"):
        yield _warning(
            document,
            "cluster_stays",
            ("spec", "shutdownAfterJobFinishes"),
            f"shutdownAfterJobFinishes is {shown(spec.get('shutdownAfterJobFinishes', False))}",
            "true: the pods, and what they cost, stay otherwise",
            "Write shutdownAfterJobFinishes: true.",
        )
    if not document.count("spec", "backoffLimit"):
        yield _warning(
            document,
            "no_backoff",
            ("spec", "backoffLimit"),
            f"backoffLimit is {shown(spec.get('backoffLimit', 0))}",
            "a whole number above 0: a head pod that goes takes the driver along, and the next resumes from the store",
            "Write backoffLimit: 3.",
        )


def _check_versions(document: Document, cluster: KeyPath, versions: RayVersions) -> Iterator[Finding]:
    path = (*cluster, "rayVersion")
    given = document.at(*path)
    if given is None:
        yield _warning(document, "no_ray_version", cluster, "rayVersion is missing", "the image's Ray", "Add it.")
    elif not isinstance(given, str):
        wrong = f"rayVersion {shown(given)} is no text"
        yield _error(document, "wrong_value", path, wrong, "text", f"Quote it: rayVersion: '{versions.expected}'.")
    elif versions.expected is not None and given != versions.expected:
        wrong = f"rayVersion is {given}, and the Ray here is {versions.expected}"
        yield _error(document, "ray_version_differs", path, wrong, "the same version", f"Write '{versions.expected}'.")


def _check_token(document: Document, cluster: KeyPath) -> Iterator[Finding]:
    path = (*cluster, "authOptions", "mode")
    if document.at(*path) != "token":
        yield _warning(
            document,
            "no_token",
            path,
            "no token authentication: every pod of the network can run code on the cluster",
            "authOptions: {mode: token} (KubeRay 1.5.1 or newer)",
            "Add it below rayClusterSpec.",
        )
        return
    numbers = re.match(r"(\d+)\.(\d+)", document.text(*cluster, "rayVersion") or "")
    if numbers is None or (int(numbers[1]), int(numbers[2])) < TOKEN_SINCE:
        wrong = f"authOptions with rayVersion {shown(document.at(*cluster, 'rayVersion'))}"
        expected = "rayVersion '2.52.0' or newer, which KubeRay insists on"
        yield _error(document, "token_needs_newer_ray", path, wrong, expected, "Raise rayVersion.")


def _check_head(document: Document, head: KeyPath) -> Iterator[Finding]:
    if not document.mapping(*head):
        yield _error(document, "missing_key", head, "headGroupSpec is missing", "a mapping", "Add it.")
        return
    yield from _check_start_parameters(document, head)
    yield from _check_containers(document, head)
    # Without the parameter KubeRay hands the pod's CPU limit to Ray, and runs land beside the driver.
    if str(document.at(*head, "rayStartParams", "num-cpus")) != "0" or _gpus(document, head):
        yield _error(
            document,
            "head_takes_work",
            (*head, "rayStartParams"),
            "the head would take work",
            'num-cpus: "0" in its rayStartParams and no GPU in its container',
            'Set num-cpus to "0" and let workers train.',
        )
    selector = document.mapping(*head, "template", "spec", "nodeSelector")
    if any(str(selector.get(label)).lower() == value.lower() for label, value in _SPOT.items()):
        path = (*head, "template", "spec", "nodeSelector")
        yield _error(document, "spot_head", path, "the head asks for a spot node", "an on-demand node", "Change it.")
    kind = document.at(*head, "serviceType")
    if kind in ("LoadBalancer", "NodePort") or document.at(*head, "enableIngress") is True:
        path = (*head, "serviceType" if kind else "enableIngress")
        wrong = f"the dashboard is exposed outside Kubernetes (serviceType {shown(kind)})"
        remedy = "Use kubectl port-forward."
        yield _error(document, "open_to_the_world", path, wrong, "a ClusterIP service and no ingress", remedy)


def _check_workers(document: Document, cluster: KeyPath) -> Iterator[Finding]:
    groups = document.items(*cluster, "workerGroupSpecs")
    if not groups:
        wrong = "no worker group, with a head that takes no work"
        yield _error(document, "no_workers", (*cluster, "workerGroupSpecs"), wrong, "a list of groups", "Add one.")
    names = [group.get("groupName") for group in groups if isinstance(group, dict)]
    scales = False
    for index in range(len(groups)):
        group: KeyPath = (*cluster, "workerGroupSpecs", index)
        name = document.text(*group, "groupName")
        if name is None or names.count(name) > 1:
            wrong = f"groupName is {shown(document.at(*group, 'groupName'))}"
            yield _error(document, "group_name", group, wrong, "a name of its own for each group", "Correct it.")
        low, high = document.count(*group, "minReplicas") or 0, document.count(*group, "maxReplicas")
        replicas = document.count(*group, "replicas")
        scales |= high is not None and high > low
        if high is not None and not 0 <= low <= (low if replicas is None else replicas) <= high:
            wrong = f"minReplicas {low}, replicas {replicas}, maxReplicas {high}"
            yield _error(document, "min_above_max", group, wrong, "0 <= min <= replicas <= max", "Correct the numbers.")
        yield from _check_start_parameters(document, group)
        yield from _check_containers(document, group)
    if scales and document.at(*cluster, "enableInTreeAutoscaling") is not True:
        path = (*cluster, "enableInTreeAutoscaling")
        wrong = "groups may grow, but nothing makes them"
        yield _warning(document, "no_autoscaling", path, wrong, "enableInTreeAutoscaling: true", "Add it.")


def _check_start_parameters(document: Document, group: KeyPath) -> Iterator[Finding]:
    for name, value in document.mapping(*group, "rayStartParams").items():
        if not isinstance(value, str):
            path = (*group, "rayStartParams", name)
            yield _error(document, "wrong_value", path, f"{name} is {shown(value)}", "text", f'Quote it: "{value}".')


def _check_containers(document: Document, group: KeyPath) -> Iterator[Finding]:
    path = (*group, "template", "spec", "containers")
    containers = document.items(*path)
    if not containers or not all(isinstance(item, dict) and item.get("image") for item in containers):
        yield _error(document, "no_container", path, "a container without image, or none", "an image", "Add it.")


def _gpus(document: Document, group: KeyPath) -> bool:
    containers = range(len(document.items(*group, "template", "spec", "containers")))
    limits = [document.mapping(*group, "template", "spec", "containers", i, "resources", "limits") for i in containers]
    return any(str(limit.get("nvidia.com/gpu", 0)) != "0" for limit in limits)


def _unknown(document: Document, path: KeyPath, known: list[str]) -> Iterator[Finding]:
    for name in document.mapping(*path):
        if name not in known:
            wrong, expected = f"{name!r} is no field known here", "a field of KubeRay 1.6"
            yield _warning(document, "unknown_key", (*path, name), wrong, expected, did_you_mean(name, known))


def _error(document: Document, code: str, path: KeyPath, wrong: str, expected: str, remedy: str) -> Finding:
    return document.error(code, path, wrong=wrong, expected=expected, remedy=remedy)


def _warning(document: Document, code: str, path: KeyPath, wrong: str, expected: str, remedy: str) -> Finding:
    return document.warning(code, path, wrong=wrong, expected=expected, remedy=remedy)
