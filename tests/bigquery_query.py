"""Queries of the BigQuery of this machine: the few forms of GoogleSQL that we send, put into DuckDB's words."""

import base64
import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import duckdb
import pyarrow as pa

from tests.bigquery_store import Refused, Store

_MOST_ROWS = 10_000  # a page, where nobody asks for fewer
_PARAMETERS: dict[str, Callable[[str], Any]] = {
    "STRING": str, "INT64": int, "FLOAT64": float, "DATE": date.fromisoformat, "TIMESTAMP": lambda text: datetime.fromisoformat(text.replace("Z", "+00:00"))}
_LEAST_BYTES = 10 << 20  # what a table costs at least, https://cloud.google.com/bigquery/pricing
_KINDS = (("DECIMAL", "BIGNUMERIC"), ("HUGEINT", "BIGNUMERIC"), ("TIMESTAMP", "TIMESTAMP"), ("DATE", "DATE"), ("BOOLEAN", "BOOLEAN"), ("DOUBLE", "FLOAT"),
          ("FLOAT", "FLOAT"), ("BLOB", "BYTES"), ("VARCHAR", "STRING"), ("BIGINT", "INTEGER"), ("INTEGER", "INTEGER"))


def answer(store: Store, configuration: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what getQueryResults answers, the job's statistics). Raises Refused."""
    query = configuration["query"]
    if query.get("useLegacySql", True):
        raise Refused(400, "invalidQuery", "this service has no legacy SQL")
    sql = query["query"]
    default = query.get("defaultDataset", {}).get("datasetId", "main")
    tables = _tables(sql) | {(default, name) for name in re.findall(r"\b(?:from|join)\s+(\w+)", sql, re.IGNORECASE)}
    defined = set(re.findall(r"\b(\w+) AS \(", sql, re.IGNORECASE))
    tables = {(dataset, name) for dataset, name in tables if name not in defined}
    for dataset, name in tables:
        store.table(dataset, name)
    cost = _LEAST_BYTES * len(tables)
    most = query.get("maximumBytesBilled")
    if most is not None and cost > int(most):
        raise Refused(400, "bytesBilledLimitExceeded", f"Query exceeded limit for bytes billed: {most}. {cost} or higher required.")
    word = "SCRIPT" if re.search(r";\s*\S", sql) else sql.split(None, 1)[0].upper()
    statistics = {"totalBytesProcessed": str(cost), "totalBytesBilled": str(cost), "statementType": "SELECT" if word == "WITH" else word}
    dry = configuration.get("dryRun")
    if statistics["statementType"] != "SELECT":
        if dry:
            return {}, statistics
        raise Refused(400, "invalidQuery", "this service answers SELECT alone")
    parameters = {p["name"]: _parameter(p["parameterType"], p["parameterValue"]) for p in query.get("queryParameters", [])}
    if set(re.findall(r"@(\w+)", sql)) != parameters.keys():
        raise Refused(400, "invalidQuery", "Query parameters do not match")
    try:
        store.db.execute(f'SET schema = "{default}"')
        found = store.db.execute(f"{'DESCRIBE ' if dry else ''}{translated(sql)}", parameters or None)
        if dry:
            fields = [{"name": name, "type": _kind(kind), "mode": "NULLABLE"} for name, kind, *_ in found.fetchall()]
            return {}, {**statistics, "schema": {"fields": fields}}
        names, kinds = [c[0] for c in found.description], [str(c[1]) for c in found.description]
        rows = found.to_arrow_table()
    except duckdb.Error as error:
        raise Refused(400, "invalidQuery", str(error)) from None
    types = [_kind(kind) for kind in kinds]
    return {"schema": {"fields": [{"name": n, "type": t, "mode": "NULLABLE"} for n, t in zip(names, types)]}, "totalRows": str(rows.num_rows),
            "rows": _rows(rows, types), "totalBytesProcessed": str(cost)}, statistics


def listed(store: Store, dataset: str, name: str, asked: dict[str, list[str]]) -> dict[str, Any]:
    """Rows of a table as they lie, without a query (tabledata.list). Raises Refused."""
    fields = {f["name"]: f["type"] for f in store.table(dataset, name)["schema"]["fields"]}
    chosen = asked["selectedFields"][0].split(",") if "selectedFields" in asked else list(fields)
    if set(chosen) - fields.keys():
        raise Refused(400, "invalid", "No such field")
    found = store.db.execute(f'SELECT * FROM "{dataset}"."{name}"').to_arrow_table().select(chosen)
    return page({"totalRows": str(found.num_rows), "rows": _rows(found, [fields[c] for c in chosen])}, asked)


def make_view(store: Store, dataset: str, name: str, resource: dict[str, Any], anew: bool = False) -> dict[str, Any]:
    """Makes a view, or makes one anew; its SQL must name tables that are there. Raises Refused.

    https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#ViewDefinition
    """
    store.dataset(dataset)
    if (dataset, name) in store.tables and not anew:
        raise Refused(409, "duplicate", f"Already Exists: Table {dataset}.{name}")
    if resource["view"].get("useLegacySql", True):
        raise Refused(400, "invalidQuery", "this service has no legacy SQL")
    sql = resource["view"]["query"]
    for other, table in _tables(sql):
        store.table(other, table)
    try:
        store.db.execute(f'CREATE OR REPLACE VIEW "{dataset}"."{name}" AS {translated(sql)}')
        columns = store.db.execute(f'DESCRIBE "{dataset}"."{name}"').fetchall()
    except duckdb.Error as error:
        raise Refused(400, "invalidQuery", str(error)) from None
    before = store.tables.get((dataset, name), {})
    store.tables[dataset, name] = {**before, **resource, "schema": {"fields": [{"name": c[0], "type": _kind(c[1]), "mode": "NULLABLE"} for c in columns]},
                                   "etag": str(int(before.get("etag", 0)) + 1), "type": "VIEW", "location": store.datasets[dataset]["location"]}
    return store.tables[dataset, name]


def patch_view(store: Store, dataset: str, name: str, change: dict[str, Any], etag: str | None) -> dict[str, Any]:
    """The view with other SQL. Raises Refused."""
    there = store.table(dataset, name)
    if etag and etag != there["etag"]:
        raise Refused(412, "conditionNotMet", "Precondition Failed")
    if there["type"] != "VIEW":
        raise Refused(400, "invalid", "Cannot update view query of a non-view")
    return make_view(store, dataset, name, change, anew=True)


def _tables(sql: str) -> set[tuple[str, str]]:
    return set(re.findall(r"`(?:[a-z0-9-]+\.)?(\w+)\.(\w+)`", sql))


def page(answer: dict[str, Any], asked: dict[str, list[str]]) -> dict[str, Any]:
    """A page of an answer: maxResults rows from pageToken on, with the token of the next one."""
    first = int(asked.get("pageToken", ["0"])[0])
    stop = first + int(asked.get("maxResults", [str(_MOST_ROWS)])[0])
    more = {"pageToken": str(stop)} if stop < len(answer["rows"]) else {}
    return {**answer, "rows": answer["rows"][first:stop], **more}


def _parameter(kind: dict[str, Any], value: dict[str, Any]) -> Any:
    if kind["type"] == "ARRAY":
        return [_parameter(kind["arrayType"], one) for one in value.get("arrayValues", [])]
    text = value["value"]
    if kind["type"] not in _PARAMETERS:
        raise Refused(400, "invalidQuery", f"this service takes no parameter of type {kind['type']}")
    return None if text is None else _PARAMETERS[kind["type"]](text)


def translated(sql: str) -> str:
    """GoogleSQL to DuckDB's, of the forms that we send."""
    sql = re.sub(r"`(?:[a-z0-9-]+\.)?(\w+)\.(\w+)`", r'"\1"."\2"', sql)
    sql = re.sub(r"`(\w+)`", r'"\1"', sql)
    sql = re.sub(r"@(\w+)", r"$\1", sql)
    sql = re.sub(r"\bSTRUCT\(", "row(", sql)
    sql = re.sub(r"\bIN UNNEST\((\$\w+)\)", r"IN (SELECT unnest(\1))", sql)
    sql = re.sub(r"\bSAFE_CAST\(", "TRY_CAST(", sql)
    sql = re.sub(r"TIMESTAMP_DIFF\((.+?), (\S+), SECOND\)", r"date_sub('second', \2, \1)", sql).replace("CURRENT_TIMESTAMP()", "now()")
    return re.sub(r"\bBIGNUMERIC\b", "HUGEINT", re.sub(r"\bINT64\b", "BIGINT", re.sub(r"\bFLOAT64\b", "DOUBLE", sql)))


def _kind(kind: str) -> str:
    for begin, name in _KINDS:
        if kind.upper().startswith(begin) or (begin == "VARCHAR" and kind.upper() in ("STRING", "NUMBER")):
            return name
    raise Refused(400, "invalidQuery", f"this service has no type {kind}")


def _rows(rows: pa.Table, types: list[str]) -> list[dict[str, Any]]:
    columns = []
    for column, kind in zip(rows.columns, types):
        if kind == "TIMESTAMP":
            values = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()  # formatOptions.useInt64Timestamp
        else:
            values = column.to_pylist()
        columns.append([None if v is None else _text(v, kind) for v in values])
    return [{"f": [{"v": value} for value in row]} for row in zip(*columns)]


def _text(value: Any, kind: str) -> str:
    if kind == "BYTES":
        return base64.b64encode(value).decode()
    if kind == "BIGNUMERIC":
        return str(int(value))
    if kind == "BOOLEAN":
        return "true" if value else "false"
    return value.isoformat() if kind == "DATE" else str(value)
