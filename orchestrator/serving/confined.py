"""The process of one query: {"store", "sql", limits} on stdin, its answer as JSON on stdout.

The SQL is confined by `orchestrator.query`; the limits of the operating system hold should that fail: no file can be
written, and address space and processor time are bounded.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.query import Limits, query


def main() -> None:
    """Answer one query."""
    asked = json.load(sys.stdin)
    _import_all()
    _limit(address_bytes=asked["address_bytes"], seconds=asked["seconds"])
    json.dump(_answer(asked), sys.stdout)


def _import_all() -> None:
    """Load libraries before the limits hold, since they may write compiled files."""
    import duckdb  # noqa: F401
    import pyarrow.parquet  # noqa: F401


def _limit(*, address_bytes: int, seconds: int) -> None:
    for kind, limit in (
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, address_bytes),
    ):
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some; the driver of this process has a clock
            resource.setrlimit(kind, (limit, limit))


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    rows = asked["rows"]
    try:
        table = query(asked["store"], asked["sql"], limits=Limits(rows=rows + 1, memory_bytes=asked["memory_bytes"]))
        cells = [[_cell(value, asked["cell"]) for value in row.values()] for row in table.slice(0, rows).to_pylist()]
    except OrchestratorError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "the query took too much memory; expected a smaller result. Aggregate, or add a WHERE."}
    return {"columns": table.column_names, "rows": cells, "more": len(table) > rows}


def _cell(value: object, longest: int) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else "" if value is None else str(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


if __name__ == "__main__":
    main()
