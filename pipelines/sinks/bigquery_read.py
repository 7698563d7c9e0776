"""Answers of queries that are larger than memory: page after page, each asked for again where it did not come.

https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from google.api_core import exceptions
from google.api_core.retry import Retry
from google.cloud.bigquery import QueryJobConfig

from pipelines.sinks.bigquery_client import CONNECTION, passes, patiently, reason
from pipelines.sinks.bigquery_jobs import Failed, Place
from schemas.errors import Transient

_ROWS, _MEASURED = 2_000, 50_000  # a page: of rows that hold sealed bytes, and of a few numbers each


def rows(place: Place, sql: str, parameters: Sequence[Any] = (), page: int = _ROWS) -> Iterator[dict[str, Any]]:
    """The rows that a SELECT answers, as they come. Raises Failed or Transient."""
    with _told():
        for row in _asked(place, sql, parameters, page):
            yield dict(row.items())


def batches(place: Place, sql: str, schema: pa.Schema, parameters: Sequence[Any] = (), page: int = _MEASURED,
            default: str | None = None) -> Iterator[pa.RecordBatch]:
    """The same as batches of this schema, whose fields are the answer's by name; numbers of BigQuery are cast to the schema's.

    default: PROJECT.DATASET of tables that are named without one.
    """
    with _told():
        for batch in _asked(place, sql, parameters, page, default).to_arrow_iterable():
            yield pa.RecordBatch.from_arrays([batch[field.name].cast(field.type) for field in schema], schema=schema)


def _asked(place: Place, sql: str, parameters: Sequence[Any], page: int, default: str | None = None) -> Any:
    again = Retry(predicate=passes, initial=place.patience.first, maximum=10.0, multiplier=2.0, timeout=place.patience.seconds)
    config = QueryJobConfig(query_parameters=list(parameters), use_legacy_sql=False)
    if default:
        config.default_dataset = default

    def ask() -> Any:
        job = place.client.query(sql, config, location=place.location, retry=None, job_retry=None, timeout=place.patience.answer)
        return job.result(page_size=page, retry=again, job_retry=None, timeout=place.patience.job)

    return patiently(ask, place.patience)


@contextmanager
def _told() -> Iterator[None]:
    """Errors of BigQuery's without their text."""
    try:
        yield
    except exceptions.RetryError as error:
        raise Transient(f"BigQuery did not answer: {reason(error.cause)}") from None
    except exceptions.GoogleAPICallError as error:
        raise Failed(f"BigQuery refused a query: {reason(error)}") from None
    except CONNECTION as error:
        raise Transient(f"BigQuery cannot be reached: {type(error).__name__}") from None
