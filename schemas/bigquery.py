"""BigQuery's table schemas, as pure data: what its REST API takes as a Table resource (schema, partitioning, clustering).

https://cloud.google.com/bigquery/docs/reference/rest/v2/tables
"""

from datetime import timedelta
from typing import Any

from schemas.arrow import stored_columns, window_columns
from schemas.contract import Contract
from schemas.tables import FAILURES, REIDENTIFICATIONS, REPLAYS, RUNS, Column

AUDIT = "reidentifications"
_TYPES = {"string": "STRING", "int": "INT64", "long": "INT64", "float": "FLOAT64", "double": "FLOAT64", "boolean": "BOOL",
          "timestamp-micros": "TIMESTAMP", "date": "DATE", "bytes": "BYTES"}


def tables(contract: Contract) -> dict[str, dict[str, Any]]:
    """{table name: Table resource} for events, failures, runs and replays, and for windows where the contract has some. Columns that say
    something about a person name the policy tag `penstock_sensitive`, to be replaced by a resource name when the tables are made."""
    title = f"{contract.name} {contract.version}"
    kept = dict(contract.expiration)
    windows = {"windows": _table(window_columns(contract), f"{title}: windows of the events.", "d", ["key"], kept.get("windows"))} if contract.windows else {}
    return {
        "events": _table(stored_columns(contract), f"{title}: events as stored.", "d", ["id_hash"], kept.get("events")),
        "failures": _table(FAILURES, "Rows that were refused, sealed.", None, ["run", "stage", "reason"]),
        "runs": _table(RUNS, "The ledger: one row a run.", None, []),
        "replays": _table(REPLAYS, "Which failures were tried again, and what came of each.", None, ["run", "stage", "reason"]),
    } | windows


def audit() -> dict[str, dict[str, Any]]:
    """{table name: Table resource} of what is kept of each time that tokens were turned back: the same for every contract, and needed for that alone."""
    return {AUDIT: _table(REIDENTIFICATIONS, "Who turned tokens back, why, and how many: one row a run.", None, [])}


def _table(columns: tuple[Column, ...], description: str, partition: str | None, clustering: list[str],
           kept: timedelta | None = None) -> dict[str, Any]:
    table: dict[str, Any] = {"description": description, "schema": {"fields": [field(c) for c in columns]}}
    if partition:
        table["timePartitioning"] = {"type": "DAY", "field": partition}
        if kept:
            table["timePartitioning"]["expirationMs"] = str(kept // timedelta(milliseconds=1))
    if clustering:
        table["clustering"] = {"fields": clustering}
    return table


def field(column: Column) -> dict[str, Any]:
    field: dict[str, Any] = {"name": column.name, "type": _TYPES[column.type], "mode": "NULLABLE" if column.nullable else "REQUIRED",
                             "description": column.doc[:1024]}
    if column.privacy != "public":
        field["policyTags"] = {"names": ["penstock_sensitive"]}
    return field
