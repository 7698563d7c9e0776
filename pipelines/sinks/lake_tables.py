"""The tables of a lake as the contract declares them: made when missing, compared when there."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from pipelines.sinks import lake_views
from pipelines.sinks.lake_catalog import FULL, quoted
from schemas.arrow import stored_columns, window_columns
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured
from schemas.tables import FAILURES, REIDENTIFICATIONS, REPLAYS, RUNS, Column

_SQL = {"string": "VARCHAR", "int": "INTEGER", "long": "BIGINT", "float": "FLOAT", "double": "DOUBLE", "boolean": "BOOLEAN",
        "timestamp-micros": "TIMESTAMP WITH TIME ZONE", "date": "DATE", "bytes": "BLOB"}
SAMPLE = 1000  # events whose digests show which keys made the tables
_OWNER = "events of the contract "


def declare(connection: "duckdb.DuckDBPyConnection", folder: Path, contract: Contract) -> None:
    """Makes events, windows (of a contract that has some), failures, runs and replays where they are missing, adds nullable columns that are new, in one
    transaction; the views over them in another one.

    Call it under the lock of the lake. Raises Misconfigured where the lake holds another contract's events, or where its
    tables have other columns.
    """
    tables = {"events": stored_columns(contract), "failures": FAILURES, "runs": RUNS, "replays": REPLAYS}
    if contract.windows is not None:
        tables["windows"] = window_columns(contract)
    present = _present(connection)
    faults = _owner(connection, folder, contract)
    statements: list[str] = []
    for table, columns in tables.items():
        if table not in present:
            statements += _create(table, columns)
            if any(column.name == "d" for column in columns) and table != "failures":
                statements.append(f"ALTER TABLE lake.{table} SET PARTITIONED BY (d)")
        else:
            added, found = _compare(table, columns, present[table], folder)
            statements += added
            faults += found
    if faults:
        raise Misconfigured(faults)
    if statements and "events" not in present:
        statements.append(f"COMMENT ON TABLE lake.events IS {quoted(_OWNER + contract.name)}")
    _execute(connection, folder, statements)
    _execute(connection, folder, lake_views.statements(connection, contract))


def declare_audit(connection: "duckdb.DuckDBPyConnection", folder: Path) -> None:
    """Makes reidentifications where it is missing; the same terms as `declare`."""
    _declare_one(connection, folder, "reidentifications", REIDENTIFICATIONS)


def declare_replays(connection: "duckdb.DuckDBPyConnection", folder: Path) -> None:
    """Makes replays where it is missing; likewise."""
    _declare_one(connection, folder, "replays", REPLAYS)


def owner(connection: "duckdb.DuckDBPyConnection") -> str:
    """The name of the contract whose events the tables hold, "" where they do not say. Any connection to them will do."""
    found = connection.execute("SELECT comment FROM duckdb_tables() WHERE database_name = 'lake' AND table_name = 'events'").fetchone()
    return str(found[0]).removeprefix(_OWNER) if found and found[0] else ""


def ids(connection: "duckdb.DuckDBPyConnection", contract: Contract, without: Iterable[date] = ()) -> pa.Table:
    """Columns id and id_hash of some events, on other days than these; none of tables that are not the contract's. Any connection to
    them will do."""
    name, days = contract.id.replace('"', '""'), ", ".join(f"DATE '{day}'" for day in without)
    try:
        answer: pa.Table = connection.execute(f'SELECT "{name}" AS id, id_hash FROM lake.events {f"WHERE d NOT IN ({days})" if days else ""} '
                                              f"LIMIT {SAMPLE}").to_arrow_table()
    except duckdb.Error:  # whoever writes them says what is wrong
        return pa.table({"id": pa.array([], pa.string()), "id_hash": pa.array([], pa.int64())})
    return answer


def _declare_one(connection: "duckdb.DuckDBPyConnection", folder: Path, table: str, columns: tuple[Column, ...]) -> None:
    there = _present(connection).get(table)
    statements, faults = _compare(table, columns, there, folder) if there else (_create(table, columns), [])
    if faults:
        raise Misconfigured(faults)
    _execute(connection, folder, statements)


def _execute(connection: "duckdb.DuckDBPyConnection", folder: Path, statements: list[str]) -> None:
    """All of them in one transaction. Raises Misconfigured where it cannot be committed."""
    if not statements:
        return
    connection.begin()
    try:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    except duckdb.Error as error:
        with suppress(duckdb.Error):  # where the commit failed there is nothing left to roll back
            connection.rollback()
        raise Misconfigured([Fault(str(folder), f"its tables cannot be made: {type(error).__name__}", FULL)]) from None


def _present(connection: "duckdb.DuckDBPyConnection") -> dict[str, dict[str, tuple[str, bool]]]:
    """Column to (SQL type, nullable), by table."""
    tables: dict[str, dict[str, tuple[str, bool]]] = {}
    for table, column, kind, nullable in connection.execute("""
            SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns()
            WHERE database_name = 'lake' AND schema_name = 'main'""").fetchall():
        tables.setdefault(table, {})[column] = (kind, nullable)
    return tables


def _owner(connection: "duckdb.DuckDBPyConnection", folder: Path, contract: Contract) -> list[Fault]:
    there = owner(connection)
    if there in ("", contract.name):
        return []
    return [Fault(str(folder), f"holds the events of the contract {there}, and one folder holds one contract's",
                  f"give {contract.name} an --output of its own")]


def _typed(column: Column) -> str:
    return f'"{column.name}" {_SQL[column.type]}{"" if column.nullable else " NOT NULL"}'


def _documented(table: str, column: Column) -> str:
    return f'COMMENT ON COLUMN lake.{table}."{column.name}" IS {quoted(column.doc)}'


def _create(table: str, columns: tuple[Column, ...]) -> list[str]:
    return [f"CREATE TABLE lake.{table} ({', '.join(map(_typed, columns))})"] + [_documented(table, c) for c in columns]


def _compare(table: str, columns: tuple[Column, ...], present: dict[str, tuple[str, bool]], folder: Path) -> tuple[list[str], list[Fault]]:
    """Statements that add what is new, and a fault that shows every other difference."""
    statements: list[str] = []
    differences: list[str] = []
    for column in columns:
        wanted, there = (_SQL[column.type], column.nullable), present.get(column.name)
        if there is None and column.nullable:
            statements += [f"ALTER TABLE lake.{table} ADD COLUMN {_typed(column)}", _documented(table, column)]
        elif there is None:
            differences.append(f"{column.name} is missing and required")
        elif there != wanted:
            differences.append(f"{column.name} is {_words(*there)} and declared {_words(*wanted)}")
    differences += [f"{name} is not declared" for name in sorted(present.keys() - {c.name for c in columns})]
    if not differences:
        return statements, []
    return [], [Fault(f"{folder}: {table}", f"has other columns: {'; '.join(differences)}",
                      "give another --output, or a contract with these columns (new nullable ones may be added)")]


def _words(kind: str, nullable: bool) -> str:
    return kind if nullable else f"{kind} NOT NULL"
