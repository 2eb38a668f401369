"""The driver of a sweep: plan minus committed, dispatched until nothing is left. Only it touches Optuna and Parquet."""

from __future__ import annotations

from orchestrator.driving.driver import Driver

__all__ = ["Driver"]
