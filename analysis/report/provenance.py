"""The section on where the numbers come from: conventions, hashes, code, cost, and the commands that make them again."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from typing import Any

import pandas as pd

from analysis import notation
from analysis.report.blocks import Block, Grid, Section, Text, grid
from analysis.report.inventory import text_of
from analysis.report.origin import Document, Origin, cost_facts, made_with_facts
from analysis.report.outcome import Failed
from analysis.report.summary import Summary
from analysis.runs import flops_shared

_PACKAGES = ("isoflop", "numpy", "scipy", "pandas", "numba", "matplotlib", "pyarrow")
"""What computes a report; what trained the runs is in their rows and in the sweep's own provenance."""


def provenance_section(summary: Summary) -> Section:
    """Versions, hashes, conventions, and the commands that reproduce the report."""
    blocks: list[Block] = [
        grid("Where these numbers come from", ("what", "value"), provenance_facts(summary), words_last=True),
        Text(text="To reproduce:"),
        Text(kind="commands", items=tuple(_commands(summary))),
    ]
    if summary.origin.sweep:
        blocks.append(_sweep_file(summary.origin))
    return Section(name="provenance", title="Provenance", blocks=tuple(blocks))


def _commands(summary: Summary) -> Iterator[str]:
    """From the code to the numbers: the runs where they are of a sweep, then the report and the fits."""
    origin, source = summary.origin, shlex.quote(summary.source)
    git = origin.made_with.get("git")
    if git and git.get("commit"):
        yield f"git checkout {git['commit']}"
    if origin.sweep:
        name = f"{origin.sweep.get('name', 'sweep')}.yaml"
        yield f"isoflop run {shlex.quote(name)} --store {source}    # the file is below; runs that are there are kept"
    yield f"isoflop report {source}"
    yield f"isoflop fit {source} --method all --json"


def _sweep_file(origin: Origin) -> Grid:
    """Everything that the sweep file says, defaults included, by key."""
    rows = tuple((key, value) for key, value in _flat(origin.sweep, "") if value)
    return Grid(
        caption="The sweep file, with its defaults",
        header=("key", "value"),
        rows=rows,
        text_columns=1,
        words_last=True,
        folded=True,
    )


def _flat(values: Document, prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "" if value is None else json.dumps(value)


def provenance_facts(summary: Summary) -> list[tuple[str, str]]:
    """Names and values: source, conventions, corpus, settings, versions."""
    facts = (
        *_conventions(summary),
        *made_with_facts(summary.origin),
        *_origins(summary.rows),
        *cost_facts(summary.origin, summary.rows),
        ("report made by", ", ".join(f"{name} {version}" for name, version in versions())),
    )
    return [(name, value) for name, value in facts if value]


def _conventions(summary: Summary) -> Iterable[tuple[str, str]]:
    yield "source", summary.source
    if isinstance(summary.runs, Failed):
        return
    yield "parameters counted", summary.runs.params_convention or "not stated by the source"
    yield "FLOPs counted", summary.runs.flops_rule or "not stated by the source"
    for column, formula in summary.runs.derived.items():
        yield f"{column} derived as", formula


_ORIGINS = {
    "sweep": "sweep",
    "corpus": "corpus, content hash",
    "heldout_tokens": "held-out tokens",
    "context": "context",
    "vocab": "token ids",
    "family": "model family",
    "recipe": "version of the trainer's numerics",
    "numerics": "numerics",
    "host": "hosts",
    "precision": "precision",
}


def _origins(rows: pd.DataFrame) -> Iterable[tuple[str, str]]:
    for column, label in _ORIGINS.items():
        if column in rows:
            values = sorted({text_of(value) for value in rows[column].dropna().unique()})
            yield label, ", ".join(values[:8]) + (f" and {len(values) - 8} more" if len(values) > 8 else "")
    if "finished_at" in rows and rows["finished_at"].notna().any():
        times = rows["finished_at"].dropna()
        yield "runs finished", f"{times.min()} to {times.max()}"
    if "flops_spent" in rows:
        yield "FLOPs spent, retries included", notation.flops(float(rows["flops_spent"].sum()))
    if "trunk" in rows and rows["trunk"].notna().any():
        records: list[Mapping[str, Any]] = [
            dict(zip(rows.columns.astype(str), values, strict=True)) for values in rows.itertuples(index=False)
        ]
        yield "FLOPs that runs of one trunk shared", notation.flops(sum(map(flops_shared, records)))


def versions() -> list[tuple[str, str]]:
    """Versions of what computed the report; the trainer's own are in the column `numerics`."""
    found = [("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    for package in _PACKAGES:
        try:
            found.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            continue
    return found
