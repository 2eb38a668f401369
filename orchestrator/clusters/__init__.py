"""Cluster files: what is wrong with one, before it costs anything."""

from orchestrator.clusters.findings import Finding, Severity
from orchestrator.clusters.validate import validate_cluster_file

__all__ = ["Finding", "Severity", "validate_cluster_file"]
