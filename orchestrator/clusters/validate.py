"""Validate a cluster file: one call, every finding, never an exception for what a file may hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from orchestrator.clusters import capacity, kuberay, local_files, machines, providers, schema, shell, starting
from orchestrator.clusters.document import Document, load_documents
from orchestrator.clusters.findings import Finding


def validate_cluster_file(path: str | os.PathLike[str]) -> list[Finding]:
    """Check a file for `ray up`, or a KubeRay RayJob or RayCluster, without starting or importing Ray.

    Mounted files are looked for where `ray up` would look: from the current folder.

    Args:
        path: The YAML file.

    Returns:
        What is wrong, errors before warnings, each group in the order of the file; empty for a file without flaw.
    """
    file = Path(path)
    documents, findings = load_documents(file)
    versions = shell.RayVersions(
        installed=schema.installed_ray(), constrained=shell.constrained_ray((Path.cwd(), file.parent))
    )
    kubernetes = [document for document in documents if document.at("kind") is not None or document.at("apiVersion")]
    if kubernetes:
        findings += _check_kubernetes(documents, versions)
    elif documents:
        findings += _check_ray_up(documents, versions)
    return sorted(findings, key=lambda finding: (finding.severity != "error", finding.line or 0))


def _check_ray_up(documents: list[Document], versions: shell.RayVersions) -> Iterator[Finding]:
    document = documents[0]
    if len(documents) > 1:
        yield document.error(
            "several_documents",
            (),
            wrong=f"the file holds {len(documents)} YAML documents",
            expected="one, or Ray refuses the file",
            remedy="Remove the '---' between them.",
        )
    yield from schema.check_schema(document)
    yield from providers.check_provider(document)
    yield from machines.check_node_types(document)
    yield from capacity.check_sizes(document)
    yield from capacity.check_head(document)
    yield from local_files.check_auth(document)
    yield from local_files.check_mounts(document)
    yield from starting.check_defaults(document)
    yield from starting.check_head_command(document)
    yield from starting.check_token(document)
    yield from starting.check_ray_is_installed(document, versions)
    yield from _check_text(document, versions)


def _check_kubernetes(documents: list[Document], versions: shell.RayVersions) -> Iterator[Finding]:
    of_ray = [document for document in documents if document.at("kind") in kuberay.KINDS]
    if not of_ray:
        yield documents[0].error(
            "not_a_ray_object",
            ("kind",),
            wrong=f"kind is {schema.shown(documents[0].at('kind'))}",
            expected=f"one of {', '.join(kuberay.KINDS)}",
            remedy="Start from examples/clusters/kuberay-rayjob.yaml.",
        )
    for document in of_ray:
        yield from kuberay.check(document, versions)
        yield from _check_text(document, versions)


def _check_text(document: Document, versions: shell.RayVersions) -> Iterator[Finding]:
    yield from shell.check_ray_versions(document, versions)
    yield from shell.check_open_networks(document)
    yield from shell.check_placeholders(document)
