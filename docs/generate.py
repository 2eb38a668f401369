"""Write the two generated pages: the sweep file's reference and the results table's columns. Run by `make docs`."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from analysis.evaluations import EVALUATION_COLUMNS
from analysis.runs import CURVE_COLUMNS, RUN_COLUMNS, Column
from orchestrator.sweep import Sweep

DOCS = Path(__file__).resolve().parent

SWEEP_HEAD = """\
# The sweep file

Generated from `orchestrator/sweep/sweep.py` by `make docs`; a test keeps it true.

A sweep file is YAML. Unknown keys are refused with the key that was probably meant; `1e18` is a number.
`--set KEY=VALUE` replaces a value from the command line, with dots between sections and numbers for the entries of
a list: `--set data.allow_epochs=4`, `--set budgets.0.seeds=[3,4,5]`.
The presets under `orchestrator/presets/` are examples; `isoflop plan` shows what a file would run.
"""

RESULTS_HEAD = """\
# The results

Generated from `analysis/runs.py` by `make docs`; a test keeps it true.

`isoflop query STORE "SELECT ..."` runs one SELECT over the tables below, with runs committed a moment ago.
The same tables are plain Parquet:

    pd.read_parquet("runs/quickstart/tables/runs")
    pd.read_parquet("runs/quickstart/tables/curves")
"""


def sweep_page() -> str:
    """The reference of every section, in the order in which a file is read."""
    parts = [SWEEP_HEAD]
    for section in _sections(Sweep):
        title = "Top level" if section is Sweep else section.__name__
        parts.append(
            f"\n## {title}\n\n{inspect.getdoc(section)}\n\n| key | type | default | meaning |\n|---|---|---|---|\n"
        )
        parts.extend(_row(name, field) for name, field in section.model_fields.items())
    return "".join(parts)


def results_page() -> str:
    """Columns of all tables, and queries."""
    parts = [RESULTS_HEAD]
    for name, about, columns in (
        ("runs", "One row per run, pending and failed ones included.", RUN_COLUMNS),
        ("curves", "The training curve of every committed run, at log-spaced steps.", CURVE_COLUMNS),
        (
            "evaluations",
            "Held-out loss by source: of a mixture's sources, and of the oracle of a synthetic one (see data.md). A view "
            "of the JSON in `runs.losses`, for `isoflop query`; `analysis.evaluations.evaluations` gives it in Python.",
            EVALUATION_COLUMNS,
        ),
    ):
        parts.append(f"\n## `{name}`\n\n{about}\n\n| column | type | unit | meaning |\n|---|---|---|---|\n")
        parts.extend(_column(column) for column in columns)
    parts.append((DOCS / "queries.md").read_text())
    return "".join(parts)


def _sections(model: type[BaseModel], seen: dict[type[BaseModel], None] | None = None) -> Iterator[type[BaseModel]]:
    seen = {} if seen is None else seen
    if model in seen:
        return
    seen[model] = None
    yield model
    for field in model.model_fields.values():
        for inner in _models(field.annotation):
            yield from _sections(inner, seen)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models(part)]


def _row(name: str, field: FieldInfo) -> str:
    if field.default_factory is not None:
        default = "see below" if _models(field.annotation) else "empty"
    elif field.default is PydanticUndefined:
        default = "required"
    else:
        default = "" if field.default is None else f"`{_plain(field.default)}`"
    kind = _type_name(field.annotation).replace("|", "\\|")
    return f"| `{name}` | {kind} | {default} | {field.description or ''} |\n"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _type_name(annotation: Any) -> str:
    """The type as a reader of YAML would say it."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type_name(parts[0])
    if origin is typing.Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(part) for part in parts if part is not type(None))
    if origin is list:
        return f"list of {_type_name(parts[0])}"
    if origin is dict:
        return f"{_type_name(parts[0])} to {_type_name(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    if annotation is Any:
        return "any value"
    return {int: "whole number", float: "number", str: "text", bool: "true or false"}.get(annotation, str(annotation))


def _column(column: Column) -> str:
    return f"| `{column.name}` | {column.type} | {column.unit} | {column.meaning} |\n"


def main(folder: Path = DOCS) -> None:
    """Write both pages."""
    (folder / "sweep-file.md").write_text(sweep_page())
    (folder / "results.md").write_text(results_page())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
