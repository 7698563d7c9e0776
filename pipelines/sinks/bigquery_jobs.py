"""Jobs of BigQuery that are done once, however often they are sent: load jobs under ids of our own, and queries.

A job's id says what it does: asked for twice, the second request is refused (409) and the first job is found. A job that
failed keeps its id for ever, so the attempt's number is part of it.
https://cloud.google.com/bigquery/docs/running-jobs#generate-jobid
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from google.api_core import exceptions
from google.cloud.bigquery import Client, LoadJob, LoadJobConfig, QueryJobConfig

from pipelines.sinks.bigquery_client import AGAIN, Patience, patiently, reason
from schemas.errors import Transient

MOST_ATTEMPTS = 4  # that this process makes of a job which fails in a way that may pass
_MOST_FOUND = 50  # failed jobs of earlier processes that are stepped over


class Failed(Exception):
    """BigQuery says no, and would say it again. The message names the job's purpose and BigQuery's reason, never a row."""


class Place(NamedTuple):
    """Where jobs run: the client, the dataset's location, and how long to wait."""

    client: Client
    location: str
    patience: Patience


class Load(NamedTuple):
    """What a load job does. name: its id but for dataset and attempt; table: DATASET.TABLE or DATASET.TABLE$YYYYMMDD; source: a local
    file, bytes, or gs:// URIs; form: PARQUET or NEWLINE_DELIMITED_JSON; replace: WRITE_TRUNCATE, else WRITE_APPEND.
    """

    name: str
    table: str
    source: Path | bytes | Sequence[str]
    form: str = "PARQUET"
    replace: bool = False
    labels: dict[str, str] = {}  # noqa: RUF012  (never changed)


def load(place: Place, what: Load) -> int:
    """Loads once and answers the rows that the job counted. Raises Failed or Transient."""
    return int(loaded(place, what).output_rows or 0)


def loaded(place: Place, what: Load) -> LoadJob:
    """Loads once and answers the job that did it, which an earlier process may have started. Raises Failed or Transient."""
    made, dataset = 0, what.table.partition(".")[0]  # ids are a project's: a run of one name may load into two datasets
    for attempt in range(_MOST_FOUND):
        job, found = _started(place, what, f"{what.name}-{dataset}-{attempt}")
        job = _told(partial(_ended, place, job), what.table)
        if job.error_result is None:
            return job
        told = str(job.error_result.get("reason", "unknown"))
        made += not found
        if not found and told not in AGAIN:
            raise Failed(f"BigQuery refused to load {what.table}: {told}")
        if made >= MOST_ATTEMPTS:
            raise Transient(f"loading {what.table} failed {made} times: {told}")
    raise Failed(f"loading {what.table} has failed {_MOST_FOUND} times under this run's id; start a run under an id of its own")


def _started(place: Place, what: Load, job_id: str) -> tuple[LoadJob, bool]:
    """(the job of this id, whether an earlier process had started it)."""
    config = LoadJobConfig(source_format=what.form, create_disposition="CREATE_NEVER", labels=dict(what.labels),
                           write_disposition="WRITE_TRUNCATE" if what.replace else "WRITE_APPEND", max_bad_records=0)
    reference = f"{place.client.project}.{what.table}"
    sent = 0

    def send() -> LoadJob:
        nonlocal sent
        sent += 1
        given = {"job_id": job_id, "job_config": config, "location": place.location, "timeout": place.patience.answer}
        if isinstance(what.source, (Path, bytes)):
            with _opened(what.source) as file:
                return place.client.load_table_from_file(file, reference, num_retries=0, **given)
        return place.client.load_table_from_uri(list(what.source), reference, retry=None, **given)

    try:
        return _told(lambda: patiently(send, place.patience), what.table), False
    except exceptions.Conflict:
        # Where it was sent more than once, the first of ours arrived and its answer was lost.
        return _told(lambda: patiently(lambda: _get(place, job_id), place.patience), what.table), sent == 1


def _get(place: Place, job_id: str) -> Any:
    """The job that was refused as being there: it may take a while to show, https://github.com/googleapis/python-bigquery/issues/2134"""
    try:
        return place.client.get_job(job_id, location=place.location, retry=None, timeout=place.patience.answer)
    except exceptions.NotFound:
        raise exceptions.ServiceUnavailable("not there yet") from None  # type: ignore[no-untyped-call]


def _told(call: Callable[[], Any], table: str) -> Any:
    """What the call answers; errors of BigQuery's without their text."""
    try:
        return call()
    except exceptions.Conflict:
        raise
    except exceptions.GoogleAPICallError as error:
        raise Failed(f"BigQuery refused to load {table}: {reason(error)}") from None


def _ended(place: Place, job: Any) -> Any:
    """The job when it is done. Raises Transient where it takes too long."""
    def look() -> Any:
        if job.state != "DONE":
            job.reload(retry=None, timeout=place.patience.answer)
        if job.state != "DONE":
            raise exceptions.ServiceUnavailable("not done yet")  # type: ignore[no-untyped-call]
        return job

    return patiently(look, replace(place.patience, seconds=place.patience.job))


def query(place: Place, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """The rows that a SELECT answers. Raises Failed or Transient."""
    config = QueryJobConfig(query_parameters=list(parameters), use_legacy_sql=False)

    def ask() -> list[dict[str, Any]]:
        job = place.client.query(sql, config, location=place.location, retry=None, job_retry=None, timeout=place.patience.answer)
        return [dict(row.items()) for row in job.result(retry=None, job_retry=None, timeout=place.patience.job)]

    try:
        return patiently(ask, place.patience)
    except exceptions.GoogleAPICallError as error:
        raise Failed(f"BigQuery refused a query: {reason(error)}") from None


def lines(rows: Sequence[dict[str, Any]]) -> bytes:
    """Rows as newline-delimited JSON."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _opened(source: Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")



