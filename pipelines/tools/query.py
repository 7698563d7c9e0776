"""penstock query OUT SQL: asks the tables in DuckDB's SQL, or BigQuery's in its own, and changes nothing."""

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import duckdb

from pipelines.sinks import bigquery_ask
from pipelines.sinks.bigquery import dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_tables import location
from pipelines.sinks.lake_catalog import Reader
from pipelines.tools.options import QueryOptions
from schemas.errors import Fault, Misconfigured, Transient

_SELECTS = ("SELECT", "EXPLAIN")  # to DuckDB, DESCRIBE, SHOW, SUMMARIZE, FROM and WITH are SELECTs too
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
            "FLOAT", "DOUBLE", "DECIMAL")
_WIDEST = 60
_CONTROL = {c: f"\\x{c:02x}" for c in [*range(32), *range(127, 160)]}  # what a terminal would obey
_ROWS = 10_000


def run(options: QueryOptions) -> int:
    """Prints the answer. Raises Misconfigured where the folder is not a lake or the SQL cannot be run."""
    if options.output.startswith("bq://"):
        return _bigquery(options, sys.stdout)
    reader = Reader(Path(options.output))
    try:
        answer(reader, options.sql, options.format, sys.stdout)
    finally:
        reader.close()
    return 0


def _bigquery(options: QueryOptions, out: TextIO) -> int:
    named, patience = dataset(options.output), Patience(seconds=15.0)
    client = connect(named.project, options.bigquery_endpoint)
    try:
        found = bigquery_ask.ask(client, named, location(client, named, patience), options.sql, options.maximum_bytes_billed, patience)
    except Transient as error:
        raise Misconfigured([Fault("OUT", str(error), "try again, or check --bigquery_endpoint")]) from None
    if options.format == "json":
        out.writelines(f"{line}\n" for line in bigquery_ask.objects(found))
    elif options.format == "csv":
        lines = csv.writer(out, lineterminator="\n")
        lines.writerow(found.names)
        lines.writerows(bigquery_ask.texts(found.rows))
    else:
        _table(found.names, found.numeric, bigquery_ask.texts(found.rows), out)
    return 0


def answer(reader: Reader, sql: str, form: str, out: TextIO) -> None:
    """Writes the answer of one SELECT over the tables of a lake as "table", "csv" or "json" (one object a line).

    Times are UTC. Raises Misconfigured with DuckDB's own message where the SQL cannot be run.
    """
    try:
        asked = _relation(reader.connection, sql)
        if form == "json":
            members = ", ".join(map(_member, range(len(asked.columns)), asked.columns, asked.types))
            out.writelines(f"{line}\n" for (line,) in _rows(asked.project(f"to_json({{{members}}})")))
            return
        texts = _rows(asked.project(", ".join(f"CAST(#{n + 1} AS VARCHAR)" for n in range(len(asked.columns)))))
        if form == "csv":
            lines = csv.writer(out, lineterminator="\n")
            lines.writerow(asked.columns)
            lines.writerows(texts)
        else:
            _table(asked.columns, [str(t).split("(")[0] in _NUMBERS for t in asked.types], list(texts), out)
    except duckdb.Error as error:
        raise Misconfigured([Fault("SQL", str(error).strip(),
                                   "`show tables` names the tables and `describe events` the columns of one")]) from None


def _relation(connection: "duckdb.DuckDBPyConnection", sql: str) -> "duckdb.DuckDBPyRelation":
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type.name not in _SELECTS:
        raise Misconfigured([Fault("SQL", "is not one SELECT", "ask one question; the tables are changed by runs alone")])
    return connection.sql(sql)


def _rows(relation: "duckdb.DuckDBPyRelation") -> Iterator[tuple[str | None, ...]]:
    while rows := relation.fetchmany(_ROWS):
        yield from rows


def _member(position: int, name: str, kind: Any) -> str:
    """A column as a member of a JSON object: times as RFC 3339, numbers that JSON has not as null."""
    value = f"#{position + 1}"
    if str(kind) == "TIMESTAMP WITH TIME ZONE":
        value = f"strftime({value} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')"
    elif str(kind) in ("FLOAT", "DOUBLE"):
        value = f"CASE WHEN isfinite({value}) THEN {value} END"
    elif str(kind) == "BLOB":
        value = f"to_base64({value})"
    return f'"{name.replace(chr(34), chr(34) * 2)}": {value}'


def _table(names: Sequence[str], numeric: Sequence[bool], rows: list[tuple[str | None, ...]], out: TextIO) -> None:
    shown = [[_cell(text) for text in row] for row in [tuple(names), *rows]]
    widths = [max(len(row[n]) for row in shown) for n in range(len(names))]
    lines = ["  ".join(text.rjust(width) if right else text.ljust(width) for text, width, right in zip(row, widths, numeric, strict=True))
             for row in shown]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines.append(f"({len(rows):,} row{'' if len(rows) == 1 else 's'})")
    out.writelines(f"{line.rstrip()}\n" for line in lines)


def _cell(text: str | None) -> str:
    shown = "NULL" if text is None else text.translate(_CONTROL)
    return shown if len(shown) <= _WIDEST else shown[:_WIDEST - 1] + "…"
