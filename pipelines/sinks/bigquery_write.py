"""Rows into BigQuery by its Storage Write API, as Arrow batches: the default stream (at least once) and pending streams (once).

https://cloud.google.com/bigquery/docs/write-api, https://cloud.google.com/bigquery/docs/supported-data-types
"""

import os
from collections.abc import Mapping
from typing import cast

import pyarrow as pa
from google.api_core import exceptions
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport

from pipelines.sinks.bigquery_append import OK, Answer, Appends
from pipelines.sinks.bigquery_client import Patience, passes
from pipelines.sinks.bigquery_jobs import Failed
from pipelines.sinks.bigquery_sending import Sending, asked, short, wide
from transforms import channel
from transforms.channel import Service

EMULATOR = "BIGQUERY_STORAGE_EMULATOR_HOST"
_WRITE = Service(BigQueryWriteClient, BigQueryWriteGrpcTransport, "bigquerystorage.googleapis.com", "bigquerystorage.europe-west3.rep.googleapis.com", 9060,
                 "--bigquery_storage_endpoint", "roles/bigquery.dataEditor", variable=EMULATOR)


class RowsRejected(Exception):
    """The table does not take some rows of a batch. rows: their indexes in it; all others are in the stream."""

    def __init__(self, rows: list[int]) -> None:
        self.rows = rows
        super().__init__(f"the table rejects {len(rows):,} rows")


def connect(endpoint: str = "", environment: Mapping[str, str] = os.environ) -> BigQueryWriteClient:
    """A client.

    endpoint: HOST or HOST:PORT; "" for BIGQUERY_STORAGE_EMULATOR_HOST where that is set, else Google's. Raises Misconfigured.
    """
    return cast(BigQueryWriteClient, channel.connect(_WRITE, endpoint, environment))


class Rows:
    """The default stream of one table, for many threads at once: what is appended is visible at once, and stored twice where an answer
    was lost. table: projects/P/datasets/D/tables/T; schema: of every batch.
    """

    def __init__(self, client: BigQueryWriteClient, table: str, schema: pa.Schema, patience: Patience = Patience()) -> None:
        self._client, self.table, self._schema, self._patience = client, table, wide(schema), patience
        self._appends = Appends(client, f"{table}/streams/_default", self._schema, patience.answer)

    def append(self, batch: pa.RecordBatch) -> list[int]:
        """Stores the rows but those that the table rejects, whose indexes it answers.

        Raises Transient where the service does not answer for so long, Failed where it never will: table missing, changed, forbidden.
        """
        sending = Sending(self._client, self.table, self._schema, batch, self._patience)
        todo = sending.all()
        while todo:
            sent = [(rows, self._appends.send(sending.taken(rows))) for rows in todo]
            todo = [again for rows, future in sent for again in sending.left(rows, self._appends.answer(future))]
            sending.pause()
        return sending.rejects()

    def close(self) -> None:
        self._appends.close()


class Pending:
    """One pending stream of a table: nothing of it is visible until it is committed, whole. For one thread.

    Raises Transient where the service does not answer for so long, Failed where it refuses; then the stream is left to itself.
    """

    def __init__(self, client: BigQueryWriteClient, table: str, schema: pa.Schema, patience: Patience = Patience()) -> None:
        self._client, self.table, self._schema, self._patience, self._rows = client, table, wide(schema), patience, 0
        request = types.CreateWriteStreamRequest(parent=table, write_stream=types.WriteStream(type_=types.WriteStream.Type.PENDING))
        self.name = str(asked(lambda: client.create_write_stream(request, retry=None, timeout=patience.answer), table, patience).name)
        self._appends = Appends(client, self.name, self._schema, patience.answer)

    def append(self, batch: pa.RecordBatch) -> None:
        """Adds rows, each once whatever happens to answers: a row has its place in the stream. Raises also RowsRejected."""
        sending = Sending(self._client, self.table, self._schema, batch, self._patience)
        todo = sending.all()[::-1]
        while todo:
            rows = todo.pop()
            answer = self._appends.answer(self._appends.send(sending.taken(rows), self._rows))
            if answer.code == "ALREADY_EXISTS":  # an earlier try was stored, and its answer lost
                answer = Answer(OK)
            if answer.code == OK:
                self._rows += len(rows)
            todo += sending.left(rows, answer)[::-1]
            sending.pause()
        if rejected := sending.rejects():
            raise RowsRejected(rejected)

    def finish(self) -> int:
        """Closes the stream to more rows; the rows that BigQuery counts in it. Raises Failed where those are not the rows that were sent."""
        self._appends.close()
        request = types.FinalizeWriteStreamRequest(name=self.name)
        rows = int(asked(lambda: self._client.finalize_write_stream(request, retry=None, timeout=self._patience.answer), self.table,
                          self._patience).row_count)
        if rows != self._rows:
            raise Failed(f"{short(self.table)}: {self._rows:,} rows were sent, BigQuery counts {rows:,}")
        return rows


def commit(client: BigQueryWriteClient, table: str, names: list[str], patience: Patience = Patience()) -> None:
    """Makes finished pending streams of one table visible, all at once. Asked for twice, it commits once.

    Raises Transient where nobody knows whether it was done (ask again), Failed where BigQuery refuses: nothing is visible then.
    """
    request = types.BatchCommitWriteStreamsRequest(parent=table, write_streams=names)

    def done() -> bool:
        streams = [client.get_write_stream(types.GetWriteStreamRequest(name=name), retry=None, timeout=patience.answer) for name in names]
        return all(types.WriteStream.pb(stream).HasField("commit_time") for stream in streams)

    def once() -> None:
        try:
            answer = client.batch_commit_write_streams(request, retry=None, timeout=patience.answer)
        except exceptions.GoogleAPICallError as error:
            if not passes(error) and done():  # an earlier try did it
                return
            raise
        if answer.stream_errors and not done():
            raise Failed(f"{short(table)}: {answer.stream_errors[0].code.name}")

    if names:
        asked(once, table, patience)
