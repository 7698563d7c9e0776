"""Questions to a dataset, by somebody at a terminal: one SELECT, looked at before it is run, and never dearer than allowed."""

import base64
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timezone
from typing import Any, NamedTuple

from google.api_core import exceptions
from google.cloud.bigquery import Client, QueryJob, QueryJobConfig

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import Patience, patiently, reason
from schemas.errors import Fault, Misconfigured, Transient

_NUMBERS = ("INTEGER", "INT64", "FLOAT", "FLOAT64", "NUMERIC", "BIGNUMERIC")


class Answer(NamedTuple):
    """The columns' names, which of them hold numbers, and the rows."""

    names: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: list[tuple[Any, ...]]


def look(client: Client, dataset: Dataset, location: str, sql: str, patience: Patience) -> QueryJob:
    """What BigQuery says of one SELECT in GoogleSQL without running it: what it would read, and the columns of its answer. Tables without a dataset's
    name are the dataset's. Raises Misconfigured where it is not one SELECT, or cannot be run.
    """
    config = QueryJobConfig(use_legacy_sql=False, default_dataset=default(dataset), dry_run=True, use_query_cache=False)
    with _told():
        looked: QueryJob = patiently(lambda: client.query(sql, config, location=location, retry=None, job_retry=None, timeout=patience.answer), patience)
    if looked.statement_type != "SELECT":
        raise Misconfigured([Fault("SQL", "is not one SELECT", "ask one question; the tables are changed by runs alone")])
    return looked


def ask(client: Client, dataset: Dataset, location: str, sql: str, most_bytes: int, patience: Patience) -> Answer:
    """The answer of one SELECT in GoogleSQL; tables without a dataset's name are the dataset's.

    Raises Misconfigured where it is not a SELECT, would read more than most_bytes, or cannot be run.
    """
    looked = look(client, dataset, location, sql, patience)
    if looked.total_bytes_processed and looked.total_bytes_processed > most_bytes:
        raise Misconfigured([Fault("SQL", f"would read {looked.total_bytes_processed:,} bytes", "name fewer columns and days (where d = ...), "
                                   "or allow more: --maximum_bytes_billed")])
    config = QueryJobConfig(use_legacy_sql=False, default_dataset=default(dataset), maximum_bytes_billed=most_bytes)

    def run() -> Answer:
        found = client.query(sql, config, location=location, retry=None, job_retry=None, timeout=patience.answer).result(
            retry=None, job_retry=None, timeout=patience.job)
        return Answer(tuple(f.name for f in found.schema), tuple(f.field_type in _NUMBERS for f in found.schema), [row.values() for row in found])

    with _told():
        return patiently(run, patience)


def default(dataset: Dataset) -> str:
    """The dataset as a query's default."""
    return f"{dataset.project}.{dataset.name}"


@contextmanager
def _told() -> Iterator[None]:
    """Errors of BigQuery's as faults of the SQL."""
    try:
        yield
    except Transient as error:
        raise Misconfigured([Fault("SQL", str(error), "try again, or check --bigquery_endpoint")]) from None
    except exceptions.GoogleAPICallError as error:
        told = error.errors[0].get("message", "") if reason(error) in ("invalidQuery", "notFound") else reason(error)  # who asks may read the tables
        raise Misconfigured([Fault("SQL", f"cannot be run: {told}", "it is GoogleSQL, over the tables that penstock tables shows")]) from None


def texts(rows: Sequence[tuple[Any, ...]]) -> list[tuple[str | None, ...]]:
    """Values as a terminal or a CSV file shows them."""
    return [tuple(None if v is None else _text(v) for v in row) for row in rows]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    plain = _json(value)
    return plain if isinstance(plain, str) else json.dumps(plain) if isinstance(plain, (dict, list)) else str(value)


def objects(answer: Answer) -> list[str]:
    """A JSON object a row: times as RFC 3339, bytes as base64, numbers that JSON has not as null."""
    return [json.dumps({name: _json(value) for name, value in zip(answer.names, row, strict=True)}) for row in answer.rows]


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (dict, list)):
        return json.loads(json.dumps(value, default=_json))
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
