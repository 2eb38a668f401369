"""SQL over a store: one SELECT on the views `runs` and `curves`, without access to anything else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from analysis.errors import AnalysisError
from analysis.stores import scan_curves, scan_runs
from orchestrator.errors import QueryError, StoreError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

FORMATS = ("table", "csv", "json", "parquet")


def query(location: str, sql: str) -> pa.Table:
    """Run one SELECT over a store as it stands now.

    Args:
        location: The store.
        sql: One SELECT; `runs` and `curves` are the only tables, and no file can be read or written.

    Raises:
        StoreError: No such store.
        QueryError: Not one SELECT, or it does not run.
    """
    import duckdb

    try:
        connection = duckdb.connect(":memory:")
        _refuse_all_but_select(connection, sql)
        connection.register("runs", scan_runs(location).table)
        if "curves" in sql.lower():
            connection.register("curves", scan_curves(location).table)
        connection.execute("set enable_external_access=false")
        connection.execute("set lock_configuration=true")
        return connection.sql(sql).to_arrow_table()
    except AnalysisError as error:
        raise StoreError(str(error)) from None
    except duckdb.Error as error:
        first = " ".join(str(error).split("\n\n")[0].split())
        raise QueryError(f"{first}; expected one SELECT over runs and curves. Columns: docs/results.md.") from None


def _refuse_all_but_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    import duckdb

    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(str(statement.type).split(".")[-1].lower() for statement in statements) or "nothing"
        raise QueryError(
            f"this is {kinds}; expected one SELECT over runs and curves. The store is never written by a query."
        )


def show(table: pa.Table, form: str) -> None:
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
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        number = str(kind).startswith(("int", "uint", "double", "float", "decimal"))
        shown.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in table.slice(0, 1000).to_pylist():
        shown.add_row(*(_cell(value) for value in row.values()))
    console = Console(highlight=False, markup=False)
    console.print(shown)
    if table.num_rows > 1000:
        console.print(f"the first 1,000 of {table.num_rows:,} rows; add a LIMIT, or use --format csv")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)
