"""SQL over a store: one SELECT on the views `runs`, `curves` and `evaluations`, without access to anything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.errors import AnalysisError
from analysis.evaluations import evaluations
from analysis.stores import scan_curves, scan_runs
from orchestrator.errors import QueryError, StoreError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a query may take at most.

    Attributes:
        rows: Rows of its result; those after are left out.
        memory_bytes: DuckDB's memory.
        threads: DuckDB's threads.
    """

    rows: int
    memory_bytes: int
    threads: int = 1


def query(location: str, sql: str, *, limits: Limits | None = None) -> pa.Table:
    """Run one SELECT over a store as it stands now.

    Args:
        location: The store.
        sql: One SELECT; `runs`, `curves` and `evaluations` are the only tables, and no file can be read or written.
        limits: What it may take at most; None for whatever the machine has.

    Raises:
        StoreError: No such store.
        QueryError: Not one SELECT, or it does not run.
    """
    import duckdb

    try:
        connection = duckdb.connect(":memory:")
        _refuse_all_but_select(connection, sql)
        runs = scan_runs(location).table
        connection.register("runs", runs)
        if "evaluations" in sql.lower():
            connection.register("evaluations", evaluations(runs))
        if "curves" in sql.lower():
            connection.register("curves", scan_curves(location).table)
        _confine(connection, limits)
        answer = connection.sql(sql)
        return (answer.limit(limits.rows) if limits else answer).to_arrow_table()
    except AnalysisError as error:
        raise StoreError(str(error)) from None
    except duckdb.Error as error:
        first = " ".join(str(error).split("\n\n")[0].split())
        raise QueryError(
            f"{first}; expected one SELECT over runs, curves and evaluations. Columns: docs/results.md."
        ) from None


def _confine(connection: duckdb.DuckDBPyConnection, limits: Limits | None) -> None:
    """Close the file system and the settings.

    The folder for spilled data (`.tmp` of the working folder unless it is unset) stays readable when external access
    is off, so there is none: the two tables are in memory already.
    """
    connection.execute("set temp_directory=''")
    if limits is not None:
        connection.execute(f"set memory_limit='{limits.memory_bytes}B'")
        connection.execute(f"set threads={limits.threads}")
    connection.execute("set enable_external_access=false")
    connection.execute("set lock_configuration=true")


def _refuse_all_but_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    import duckdb

    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(str(statement.type).split(".")[-1].lower() for statement in statements) or "nothing"
        raise QueryError(
            f"this is {kinds}; expected one SELECT over runs, curves and evaluations. The store is never written by a query."
        )
