"""What a BigQuery of this machine holds, and the service's rules: schemas, loads, partitions, insertAll. Rows live in DuckDB.

https://cloud.google.com/bigquery/docs/reference/rest/v2
"""

import base64
import io
import json
import re
import threading
import time
from collections.abc import Callable
from datetime import date, datetime, timezone
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TYPES = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}
SQL = {"STRING": "VARCHAR", "INTEGER": "BIGINT", "FLOAT": "DOUBLE", "BOOLEAN": "BOOLEAN", "TIMESTAMP": "TIMESTAMPTZ", "DATE": "DATE", "BYTES": "BLOB"}
ARROW = {"STRING": pa.string(), "INTEGER": pa.int64(), "FLOAT": pa.float64(), "BOOLEAN": pa.bool_(), "TIMESTAMP": pa.timestamp("us", "UTC"),
         "DATE": pa.date32(), "BYTES": pa.binary()}


class Refused(Exception):
    """An answer of the service's that is an error: status, reason, message (as the service's, it may quote a value)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status, self.reason, self.message = status, reason, message
        super().__init__(message)


class Store:
    """Datasets and tables of one project. location: of a dataset that names none."""

    def __init__(self, project: str, location: str = "EU") -> None:
        self.project, self.location, self.lock = project, location, threading.RLock()
        self.datasets: dict[str, dict[str, Any]] = {}
        self.tables: dict[tuple[str, str], dict[str, Any]] = {}
        self.inserted: set[tuple[str, str, str]] = set()
        self.rejects: Callable[[tuple[str, str], dict[str, Any]], bool] | None = None  # rows that a table refuses besides, for tests
        self.db = duckdb.connect()
        self.db.execute("SET TimeZone = 'UTC'")
        self.db.execute("CREATE MACRO farm_fingerprint(x) AS (hash(x)::HUGEINT - 9223372036854775808)::BIGINT")
        self.db.execute("CREATE MACRO to_json_string(x) AS to_json(x)::VARCHAR")
        self.db.execute("CREATE MACRO countif(x) AS count(*) FILTER (WHERE x)")
        self.db.execute("CREATE MACRO unix_micros(x) AS epoch_us(x)")

    def dataset(self, name: str) -> dict[str, Any]:
        if name not in self.datasets:
            raise Refused(404, "notFound", f"Not found: Dataset {name}")
        return self.datasets[name]

    def make_dataset(self, name: str, resource: dict[str, Any]) -> dict[str, Any]:
        if name in self.datasets:
            raise Refused(409, "duplicate", f"Already Exists: Dataset {name}")
        self.datasets[name] = {**resource, "datasetReference": {"projectId": self.project, "datasetId": name}, "location": resource.get("location") or self.location}
        self.db.execute(f'CREATE SCHEMA "{name}"')
        return self.datasets[name]

    def table(self, dataset: str, name: str) -> dict[str, Any]:
        self.dataset(dataset)
        self._expire(dataset, name)
        if (dataset, name) not in self.tables:
            raise Refused(404, "notFound", f"Not found: Table {dataset}.{name}")
        return self.tables[dataset, name]

    def names(self, dataset: str) -> list[str]:
        self.dataset(dataset)
        return [table for other, table in self.tables if other == dataset]

    def make_table(self, dataset: str, name: str, resource: dict[str, Any]) -> dict[str, Any]:
        self.dataset(dataset)
        self._expire(dataset, name)
        _in_time(resource)
        if (dataset, name) in self.tables:
            raise Refused(409, "duplicate", f"Already Exists: Table {dataset}.{name}")
        fields = [normal(f) for f in resource["schema"]["fields"]]
        known = {f["name"]: f for f in fields}
        partition, cluster = resource.get("timePartitioning"), resource.get("clustering", {}).get("fields", [])
        if partition and known.get(partition.get("field"), {}).get("type") not in ("DATE", "TIMESTAMP"):
            raise Refused(400, "invalid", "The field specified for partitioning is not a DATE or TIMESTAMP")
        if len(cluster) > 4 or not set(cluster) <= known.keys():
            raise Refused(400, "invalid", "Clustering fields are unknown, or more than four")
        columns = ", ".join(f'"{f["name"]}" {SQL[f["type"]]}' for f in fields)
        self.db.execute(f'CREATE TABLE "{dataset}"."{name}" ({columns})')
        self.tables[dataset, name] = {**resource, "schema": {"fields": fields}, "etag": "1", "type": "TABLE", "location": self.datasets[dataset]["location"]}
        return self.tables[dataset, name]

    def delete_table(self, dataset: str, name: str) -> None:
        kind = self.table(dataset, name)["type"]
        del self.tables[dataset, name]
        self.db.execute(f'DROP {kind} "{dataset}"."{name}"')

    def _expire(self, dataset: str, name: str) -> None:
        """A table whose time is over is not there any more, https://cloud.google.com/bigquery/docs/managing-tables#updating_a_tables_expiration_time"""
        if int(self.tables.get((dataset, name), {}).get("expirationTime") or 1 << 62) <= time.time() * 1000:
            del self.tables[dataset, name]
            self.db.execute(f'DROP TABLE "{dataset}"."{name}"')

    def patch_table(self, dataset: str, name: str, change: dict[str, Any], etag: str | None) -> dict[str, Any]:
        """Columns may be added where they are not required, and relaxed; nothing is removed and no type changes."""
        table = self.table(dataset, name)
        _in_time(change)
        if etag and etag != table["etag"]:
            raise Refused(412, "conditionNotMet", "Precondition Failed")
        statements = []
        if "schema" in change:
            fields = [normal(f) for f in change["schema"]["fields"]]
            new, old = ({f["name"].lower(): f for f in some} for some in (fields, table["schema"]["fields"]))
            for key, field in old.items():
                if key not in new:
                    raise Refused(400, "invalid", f"Provided Schema does not match Table {name}. Field {field['name']} is missing in new schema")
                if new[key]["type"] != field["type"]:
                    raise Refused(400, "invalid", f"Provided Schema does not match Table {name}. Field {field['name']} has changed type")
                if field["mode"] != "REQUIRED" and new[key]["mode"] == "REQUIRED":
                    raise Refused(400, "invalid", f"Field {field['name']} has changed mode from NULLABLE to REQUIRED")
            for key in new.keys() - old.keys():
                if new[key]["mode"] == "REQUIRED":
                    raise Refused(400, "invalid", f"Cannot add required fields to an existing schema. (field: {new[key]['name']})")
            statements = [f'ALTER TABLE "{dataset}"."{name}" ADD COLUMN "{f["name"]}" {SQL[f["type"]]}' for f in fields if f["name"].lower() not in old]
            change = {**change, "schema": {"fields": fields}}
        for statement in statements:
            self.db.execute(statement)
        table.update(change, etag=str(int(table["etag"]) + 1))
        return table

    def load(self, dataset: str, named: str, form: str, contents: list[bytes], truncate: bool, lose: int = 0) -> int:
        """Loads files into a table or a partition (TABLE$YYYYMMDD), whole or not at all; answers the rows. lose: rows to leave out."""
        name, _, partition = named.partition("$")
        table = self.table(dataset, name)
        fields = table["schema"]["fields"]
        day = _partition(table, partition) if partition else None
        parts = [(_parquet if form == "PARQUET" else _ndjson)(content, fields, name) for content in contents]
        rows = pa.concat_tables(parts) if parts else _schema(fields).empty_table()
        if day is not None and rows.num_rows:
            column = rows[table["timePartitioning"]["field"]]
            if pc.any(pc.or_kleene(pc.is_null(column), pc.not_equal(column.cast(pa.date32()), pa.scalar(day, pa.date32())))).as_py():
                raise Refused(400, "invalid", f"Some rows belong to different partitions rather than destination partition {named}")
        rows = rows.slice(lose)
        self.db.register("incoming", rows)
        self.db.begin()
        if truncate:
            where = f"WHERE \"{table['timePartitioning']['field']}\"::DATE = DATE '{day}'" if day else ""
            self.db.execute(f'DELETE FROM "{dataset}"."{name}" {where}')
        self.db.execute(f'INSERT INTO "{dataset}"."{name}" BY NAME SELECT * FROM incoming')
        self.db.commit()
        self.db.unregister("incoming")
        return rows.num_rows

    def append(self, dataset: str, name: str, rows: pa.Table) -> None:
        """Rows of the Storage Write API, checked before; what columns the table has meanwhile are null in them."""
        self.db.register("incoming", rows)
        self.db.execute(f'INSERT INTO "{dataset}"."{name}" BY NAME SELECT * FROM incoming')
        self.db.unregister("incoming")

    def insert_all(self, dataset: str, name: str, request: dict[str, Any]) -> list[dict[str, Any]]:
        """The insertErrors: without skipInvalidRows one invalid row stops them all. An insertId seen before is taken and not stored."""
        fields = self.table(dataset, name)["schema"]["fields"]
        errors, taken = [], []
        for index, entry in enumerate(request.get("rows", [])):
            try:
                row = typed(entry["json"], fields, bool(request.get("ignoreUnknownValues")))
                if self.rejects and self.rejects((dataset, name), row):
                    raise Refused(400, "invalid", "told to reject")
            except Refused as error:
                errors.append({"index": index, "errors": [{"reason": error.reason, "location": "", "message": error.message}]})
                continue
            taken.append((index, entry.get("insertId"), row))
        if errors and not request.get("skipInvalidRows"):
            return errors + [{"index": i, "errors": [{"reason": "stopped", "location": "", "message": ""}]} for i, _, _ in taken]
        fresh = [row for _, key, row in taken if key is None or (dataset, name, key) not in self.inserted]
        self.inserted |= {(dataset, name, key) for _, key, _ in taken if key is not None}
        if fresh:
            self.db.register("incoming", pa.Table.from_pylist(fresh, _schema(fields)))
            self.db.execute(f'INSERT INTO "{dataset}"."{name}" BY NAME SELECT * FROM incoming')
            self.db.unregister("incoming")
        return errors


def normal(field: dict[str, Any]) -> dict[str, Any]:
    """A field as the service answers it: old type names, a mode."""
    kind = TYPES.get(field["type"], field["type"])
    if kind not in SQL:
        raise Refused(400, "invalid", f"Invalid value for type: {kind} is not a valid value")
    if field.get("mode", "NULLABLE") not in ("NULLABLE", "REQUIRED"):
        raise Refused(400, "invalid", "this service has no repeated fields")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,299}", field["name"]):
        raise Refused(400, "invalid", f"Invalid field name {field['name']}")
    if len(field.get("description", "")) > 1024:
        raise Refused(400, "invalid", "The description for a field is too long")
    for tag in field.get("policyTags", {}).get("names", []):
        if not re.fullmatch(r"projects/[^/]+/locations/[^/]+/taxonomies/[^/]+/policyTags/[^/]+", tag):
            raise Refused(400, "invalid", f"Invalid policy tag {tag}")
    return {**field, "type": kind, "mode": field.get("mode", "NULLABLE")}


def _in_time(resource: dict[str, Any]) -> None:
    if resource.get("expirationTime") is not None and int(resource["expirationTime"]) <= time.time() * 1000:
        raise Refused(400, "invalid", "Invalid value for expirationTime: it must be in the future")


def _partition(table: dict[str, Any], text: str) -> date:
    if "timePartitioning" not in table:
        raise Refused(400, "invalid", "Partition decorator on a table that is not partitioned")
    try:
        return datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        raise Refused(400, "invalid", f"Invalid time partition {text}") from None


def _schema(fields: list[dict[str, Any]]) -> pa.Schema:
    return pa.schema([(f["name"], ARROW[f["type"]]) for f in fields])


def _parquet(content: bytes, fields: list[dict[str, Any]], name: str) -> pa.Table:
    try:
        rows = pq.read_table(io.BytesIO(content))
    except (pa.ArrowInvalid, OSError):
        raise Refused(400, "invalid", "Error while reading data, error message: Input file is not in Parquet format.") from None
    for column in rows.schema:
        if column.nullable and any(f["name"] == column.name and f["mode"] == "REQUIRED" for f in fields):
            raise Refused(400, "invalid", f"Provided Schema does not match Table {name}. Field {column.name} has changed mode from REQUIRED to NULLABLE")
    return arrow_columns(rows, fields, name)


def arrow_columns(rows: pa.Table, fields: list[dict[str, Any]], name: str) -> pa.Table:
    """Arrow columns as the table has them; nulls of columns that are not given. Raises Refused."""
    known = {f["name"]: f for f in fields}
    arrays: dict[str, Any] = {}
    for column in rows.schema:
        field = known.get(column.name)
        if field is None:
            raise Refused(400, "invalid", f"Provided Schema does not match Table {name}. Cannot add fields (field: {column.name})")
        fits = {"INTEGER": pa.types.is_integer, "FLOAT": pa.types.is_floating, "TIMESTAMP": lambda t: pa.types.is_timestamp(t) and t.tz is not None}
        if not fits.get(field["type"], lambda t, kind=field["type"]: t == ARROW[kind])(column.type):
            raise Refused(400, "invalid", f"Provided Schema does not match Table {name}. Field {column.name} has changed type from {field['type']}")
        arrays[column.name] = rows[column.name].cast(ARROW[field["type"]])
    missing = [f["name"] for f in fields if f["mode"] == "REQUIRED" and f["name"] not in arrays]
    if missing:
        raise Refused(400, "invalid", f"Provided Schema does not match Table {name}. Field {missing[0]} is missing in new schema")
    return pa.table({f["name"]: arrays.get(f["name"], pa.nulls(rows.num_rows, ARROW[f["type"]])) for f in fields}, _schema(fields))


def _ndjson(content: bytes, fields: list[dict[str, Any]], name: str) -> pa.Table:
    return pa.Table.from_pylist([typed(json.loads(line), fields) for line in content.splitlines() if line.strip()], _schema(fields))


def typed(row: dict[str, Any], fields: list[dict[str, Any]], ignore_unknown: bool = False) -> dict[str, Any]:
    """A JSON row as the table takes it. Raises Refused, whose text quotes values, as the service's does."""
    known = {f["name"]: f for f in fields}
    for key in row.keys() - known.keys():
        if not ignore_unknown:
            raise Refused(400, "invalid", f"no such field: {key}.")
    found = {}
    for name, field in known.items():
        value = row.get(name)
        if value is None and field["mode"] == "REQUIRED":
            raise Refused(400, "invalid", f"Missing required field: {name}.")
        try:
            found[name] = None if value is None else _PLAIN[field["type"]](value)
        except (ValueError, TypeError):
            raise Refused(400, "invalid", f"Cannot convert value to {field['type'].lower()} (bad value): {value}") from None
    return found


def _integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and value != int(value)) or not -2**63 <= int(value) < 2**63:
        raise ValueError
    return int(value)


def _boolean(value: Any) -> bool:
    return {"true": True, "false": False}[str(value).lower()] if str(value).lower() in ("true", "false") else _never()


def _string(value: Any) -> str:
    return _never() if isinstance(value, (dict, list)) else value if isinstance(value, str) else json.dumps(value)


def _never() -> Any:
    raise ValueError


def _timestamp(value: Any) -> datetime:
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, timezone.utc)
    found = datetime.fromisoformat(value.replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


_PLAIN = {"STRING": _string, "INTEGER": _integer, "FLOAT": float, "BOOLEAN": _boolean, "DATE": lambda v: date.fromisoformat(v), "TIMESTAMP": _timestamp,
          "BYTES": lambda v: base64.b64decode(v, validate=True)}
