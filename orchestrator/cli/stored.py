"""How what a store holds is shown: its status, and the rows of a query."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from analysis import notation
from orchestrator.cli import console as terminal
from orchestrator.errors import QueryError
from orchestrator.minima import minimum_text
from orchestrator.prices import cost_text

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("table", "csv", "json", "parquet")
NUMBERS = ("int", "uint", "double", "float", "decimal", "hugeint")
SHOWN_FAILURES = 20
SHOWN_ROWS = 1000


def show_status(document: dict[str, Any]) -> None:
    """Print the state for a person."""
    console = terminal.console()
    driver = document["driver"]
    driven = f"driven by pid {driver['pid']} on {driver['host']}, since {driver['since']}" if driver else "no driver"
    console.print(f"sweep {document['sweep']}   store {document['store']}   {driven}", soft_wrap=True)
    table = terminal.table("budget", "done", "running", "failed", "best N", "best loss", "N* ± s.e.")
    for curve in document["curves"]:
        table.add_row(
            " ".join(filter(None, (notation.flops(curve["budget"]), curve["setting"]))),
            f"{curve['done']}/{curve['runs']}",
            str(curve["running"]),
            str(curve["failed"]),
            "" if curve["best_params"] is None else notation.count(curve["best_params"]),
            notation.loss(curve["best_loss"]),
            minimum_text(curve["minimum"], complete=curve["done"] + curve["failed"] >= curve["runs"]),
        )
    console.print(table)
    counts = ", ".join(
        f"{count} {name}" for name, count in sorted(document["counts"].items(), key=lambda item: -item[1])
    )
    console.print(f"{document['runs']} runs: {counts}")
    left = notation.duration(document["worker_seconds_left"])
    spent, planned = notation.flops(document["flops_spent"]), notation.flops(document["flops_planned"])
    most = "at most " if document["sampler"] else ""
    to_go = f"{most or 'about '}{left} of one worker to go" if document["worker_seconds_left"] >= 0.5 else "none to go"
    console.print(f"spent {spent} of {most}{planned} FLOPs; {to_go}")
    if document["flops_shared"]:
        console.print(f"runs of one trunk shared {notation.flops(document['flops_shared'])} FLOPs beside")
    if document["cost"]["so_far"]["money"] is not None or document["cost"]["so_far"]["kilowatt_hours"] is not None:
        console.print(
            f"cost so far {cost_text(document['cost']['so_far'])}, in all about {cost_text(document['cost']['in_all'])}"
        )
    for failure in document["failures"][:SHOWN_FAILURES]:
        where = f"{notation.flops(failure['budget'])} x {notation.count(failure['params'])} seed {failure['seed']}"
        console.print(f"{failure['status']}: {failure['run_id']}  {where}  {failure['reason']}", soft_wrap=True)
    for name in document["unreadable"]:
        advice = (
            "the objects were read in its place. The next isoflop run writes it again."
            if name.startswith("tables/")
            else "it was left out, and its run is made again. Restore it from a copy, or ignore it."
        )
        console.print(f"unreadable: {name}; {advice}", soft_wrap=True)


def show_rows(table: pa.Table, form: str) -> None:
    """Print a result to stdout.

    Raises:
        QueryError: An unknown format, or Parquet to a terminal.
    """
    if form == "json":
        import json

        json.dump(table.to_pylist(), sys.stdout, indent=1, default=str)
        sys.stdout.write("\n")
    elif form == "csv":
        import pyarrow.csv

        pyarrow.csv.write_csv(table, sys.stdout.buffer)
    elif form == "parquet":
        import pyarrow.parquet

        if sys.stdout.isatty():
            raise QueryError(
                "Parquet is not for a terminal; expected a file. Redirect: ... --format parquet > runs.parquet"
            )
        pyarrow.parquet.write_table(table, sys.stdout.buffer)
    elif form == "table":
        _print_table(table)
    else:
        raise QueryError(f"format {form} is not known; expected one of {', '.join(FORMATS)}. Choose one of these.")


def _print_table(table: pa.Table) -> None:
    """Rows under their column names; a result wider than the terminal one value a line, as it could not be read."""
    console = terminal.console()
    rows = [[_cell(value) for value in row.values()] for row in table.slice(0, SHOWN_ROWS).to_pylist()]
    names = table.column_names
    widths = [max(map(len, cells)) + 2 for cells in zip(names, *rows, strict=True)]
    if sum(widths) > console.width:
        longest = max(map(len, names))
        for row in rows:
            lines = [f"{name:<{longest}}  {cell}" for name, cell in zip(names, row, strict=True) if cell]
            console.print("\n".join(lines) + "\n", soft_wrap=True)
    else:
        kinds = [str(kind) for kind in table.schema.types]
        words = tuple(name for name, kind in zip(names, kinds, strict=True) if not kind.startswith(NUMBERS))
        shown = terminal.table(*names, left=words)
        for row in rows:
            shown.add_row(*row)
        console.print(shown)
    if table.num_rows > SHOWN_ROWS:
        console.print(f"the first {SHOWN_ROWS:,} of {table.num_rows:,} rows; add a LIMIT, or use --format csv")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)
