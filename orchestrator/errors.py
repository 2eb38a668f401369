"""Errors of the orchestrator that a user can cause, and infrastructure that failed. Each message has three parts.

SweepError            the sweep file, or a flag that changes it          exit 1
StoreError            a store that cannot serve what was asked           exit 1
  StoreBusy           another driver holds it                            exit 1
CapacityError         no node can ever serve the runs                    exit 1
DataError             text, or prepared data, that cannot be used        exit 1
SubmissionError       a folder, address or store that cannot be sent     exit 1
QueryError            SQL that is refused or does not run                exit 1
InfrastructureError   Ray, disk or network failed us                     exit 3
"""


class OrchestratorError(Exception):
    """Root of the orchestrator's errors."""

    exit_code = 1


class SweepError(OrchestratorError):
    """A sweep file, or a point of its plan, that cannot be run as it stands."""


class StoreError(OrchestratorError):
    """A store that is not there, belongs to another sweep, or cannot hold what was asked."""


class StoreBusy(StoreError):  # noqa: N818 - a state, said as one
    """Another driver holds the store."""


class CapacityError(OrchestratorError):
    """The runs ask for resources that no node of the cluster, present or promised, can serve."""


class DataError(OrchestratorError):
    """Text to prepare, or data that was prepared, which cannot be used as it stands."""


class SubmissionError(OrchestratorError):
    """A folder, an address or a store that cannot be submitted to a cluster as it stands."""


class QueryError(OrchestratorError):
    """A query that is not one SELECT over `runs` and `curves`, or that does not run."""


class InfrastructureError(OrchestratorError):
    """Something below us failed: Ray did not start, the disk is full, the store does not answer."""

    exit_code = 3
