"""One batch of rows on its way into a table of BigQuery: cut into requests, tried again, and the rows found that the table rejects."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import numpy.typing
import pyarrow as pa
from google.api_core import exceptions
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types

from pipelines.sinks.bigquery_append import CUT, MOST_BYTES, OK, Answer
from pipelines.sinks.bigquery_client import Patience, patiently
from pipelines.sinks.bigquery_jobs import Failed
from schemas.errors import Transient

# UNAUTHENTICATED: a call that stays open outlives its token; the next one has another.
_AGAIN = frozenset({CUT, "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "UNAVAILABLE", "UNKNOWN"})
_WIDE = {pa.int32(): pa.int64(), pa.float32(): pa.float64()}
_KINDS = {pa.string(): "STRING", pa.int64(): "INT64", pa.float64(): "DOUBLE", pa.bool_(): "BOOL", pa.timestamp("us", "UTC"): "TIMESTAMP",
          pa.date32(): "DATE", pa.binary(): "BYTES"}

Places = np.typing.NDArray[np.int64]
T = TypeVar("T")


class Sending:
    """One batch under way: which of its rows are still to be sent, and which the table rejects."""

    def __init__(self, client: BigQueryWriteClient, table: str, schema: pa.Schema, batch: pa.RecordBatch, patience: Patience) -> None:
        self._client, self._table, self._schema, self._patience = client, table, schema, patience
        self._batch = pa.RecordBatch.from_arrays([array.cast(field.type) for array, field in zip(batch.columns, schema, strict=True)], schema=schema)
        self._rejected, self._stored, self._blamed = list[int](), False, False
        self._again, self._wait, self._until = "", patience.first, time.monotonic() + patience.seconds

    def all(self) -> list[Places]:
        """All rows, by request."""
        return [*self._fitting(np.arange(self._batch.num_rows))]

    def taken(self, rows: Places) -> pa.RecordBatch:
        whole = len(rows) == rows[-1] - rows[0] + 1
        return self._batch.slice(rows[0], len(rows)) if whole else self._batch.take(pa.array(rows))

    def left(self, rows: Places, answer: Answer) -> list[Places]:
        """What of a request is to be sent again. Raises Failed."""
        if answer.code == OK:
            self._stored, self._wait, self._until = True, self._patience.first, time.monotonic() + self._patience.seconds
            return []
        if answer.rows:
            self._rejected += rows[list(answer.rows)].tolist()
            rest = np.delete(rows, answer.rows)
            return [rest] if len(rest) else []
        if answer.code in _AGAIN:
            self._again = answer.code
            return [rows]
        if answer.code != "INVALID_ARGUMENT":
            raise Failed(f"{short(self._table)}: {answer.word or answer.code}")
        self._look(answer)
        self._blamed = True
        if len(rows) > 1:
            return np.array_split(rows, 2)
        self._rejected += rows.tolist()
        return []

    def pause(self) -> None:
        """Waits a little where the service asked for it. Raises Transient where nothing has been stored for so long."""
        if not self._again:
            return
        if time.monotonic() + self._wait > self._until:
            raise Transient(f"{short(self._table)}: BigQuery stored nothing for {self._patience.seconds:g} s: {self._again}")
        time.sleep(self._wait)
        self._again, self._wait = "", min(2 * self._wait, 10.0)

    def rejects(self) -> list[int]:
        """The rejected rows. Raises Failed where no row of several was taken and none was named: that is not about rows."""
        if self._blamed and not self._stored and self._batch.num_rows > 1:
            raise Failed(f"{short(self._table)}: takes no row of a whole batch, and names none")
        return sorted(self._rejected)

    def _fitting(self, rows: Places) -> Iterator[Places]:
        if not len(rows):
            return
        size = pa.ipc.get_record_batch_size(self.taken(rows))
        if size <= MOST_BYTES or len(rows) == 1:  # a row that is too large by itself is for the service to refuse
            yield rows
        else:
            for part in np.array_split(rows, min(len(rows), -(-size // MOST_BYTES))):
                yield from self._fitting(part)

    def _look(self, answer: Answer) -> None:
        """Raises Failed where a refusal is about columns: no row is to blame for a table that has changed."""
        request = types.GetWriteStreamRequest(name=f"{self._table}/streams/_default", view=types.WriteStreamView.FULL)
        found = asked(lambda: self._client.get_write_stream(request, retry=None, timeout=self._patience.answer), self._table, self._patience)
        differences = _differences(self._schema, found.table_schema)
        if differences or answer.word.startswith("SCHEMA_MISMATCH"):
            raise Failed(f"{short(self._table)}: has another form: {'; '.join(differences) or answer.word}")


def _differences(schema: pa.Schema, table: types.TableSchema) -> list[str]:
    """Why the table takes no row of this schema: columns, never values."""
    there = {field.name.lower(): field for field in table.fields}
    told = []
    for field in schema:
        other = there.pop(field.name.lower(), None)
        if other is None:
            told.append(f"{field.name} is missing")
        elif other.type_.name != _KINDS[field.type]:
            told.append(f"{field.name} is {other.type_.name} and written as {_KINDS[field.type]}")
    return told + [f"{field.name} is required and not written" for field in there.values() if field.mode == types.TableFieldSchema.Mode.REQUIRED]


def asked(call: Callable[[], T], table: str, patience: Patience) -> T:
    """What a call answers, tried again while it may pass. Raises Transient or Failed."""
    try:
        return patiently(call, patience)
    except exceptions.GoogleAPICallError as error:
        code = error.grpc_status_code
        raise Failed(f"{short(table)}: {code.name if code else type(error).__name__}") from None


def wide(schema: pa.Schema) -> pa.Schema:
    """The schema in the types that BigQuery has: 64 bits a number."""
    return pa.schema([field.with_type(_WIDE.get(field.type, field.type)) for field in schema])


def short(table: str) -> str:
    """DATASET.TABLE."""
    return ".".join(table.split("/")[3::2])
