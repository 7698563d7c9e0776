"""Appends to one write stream of BigQuery: a call that stays open, requests going out while answers come in, made anew where it was cut.

https://cloud.google.com/bigquery/docs/reference/storage/rpc/google.cloud.bigquery.storage.v1#bigquerywrite
"""

import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from queue import SimpleQueue
from typing import Any, NamedTuple

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types
from google.rpc import status_pb2  # type: ignore[import-untyped]

OK, CUT = "OK", "ABORTED"
MOST_BYTES = 9_000_000
"""Of one request: the service takes 10 MB, some of which is not rows."""
_IN_FLIGHT = 32 << 20
_DETAILS = "grpc-status-details-bin"


class Answer(NamedTuple):
    """What became of one append. code: the name of its gRPC status, OK where all its rows are stored, else none of them is;
    word: BigQuery's own (SCHEMA_MISMATCH_EXTRA_FIELDS, STREAM_FINALIZED, ...), or ""; rows: those that have an error of their own.
    """

    code: str
    word: str = ""
    rows: tuple[int, ...] = ()


class Appends:
    """Appends to one stream, by many threads at once; never more than in_flight bytes (but one request always) wait for their answers.

    seconds: how long one answer may take.
    """

    def __init__(self, client: BigQueryWriteClient, stream: str, schema: pa.Schema, seconds: float, in_flight: int = _IN_FLIGHT) -> None:
        self._client, self._stream, self._seconds, self._in_flight = client, stream, seconds, in_flight
        self._schema = types.ArrowSchema(serialized_schema=schema.serialize().to_pybytes())
        self._lock = threading.Lock()
        self._connection: _Connection | None = None

    def send(self, batch: pa.RecordBatch, offset: int | None = None) -> "Future[Answer]":
        """Sends rows, which fit one request; waits while too much is under way."""
        rows = batch.serialize().to_pybytes()
        request = types.AppendRowsRequest(write_stream=self._stream, offset=offset, arrow_rows=types.AppendRowsRequest.ArrowData(
            writer_schema=self._schema, rows=types.ArrowRecordBatch(serialized_record_batch=rows)))
        with self._lock:
            if self._connection is None or not self._connection.open:
                self._connection = _Connection(self._client, self._stream, self._in_flight)
            connection = self._connection
        return connection.send(request, len(rows), self._seconds)

    def answer(self, sent: "Future[Answer]") -> Answer:
        """What became of it. Where no answer comes in time the connection is given up, and nobody knows."""
        try:
            return sent.result(self._seconds)
        except Late:
            self.close()
            return Answer("DEADLINE_EXCEEDED")

    def close(self) -> None:
        """Ends the call; the next send opens another one."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _Connection:
    """One call of AppendRows. Its answers come in the order of its requests."""

    def __init__(self, client: BigQueryWriteClient, stream: str, in_flight: int) -> None:
        self.open, self._in_flight, self._bytes, self._told = True, in_flight, 0, Answer(CUT)
        self._requests: SimpleQueue[types.AppendRowsRequest | None] = SimpleQueue()
        self._waiting: deque[tuple[Future[Answer], int]] = deque()
        self._changed = threading.Condition()
        transport: Any = client.transport  # the client itself would wait for the first answer before it gives the call out of its hands
        self._call = transport.append_rows(iter(self._requests.get, None), metadata=(("x-goog-request-params", f"write_stream={stream}"),))
        threading.Thread(target=self._read, name="append-answers", daemon=True).start()

    def send(self, request: types.AppendRowsRequest, size: int, seconds: float) -> "Future[Answer]":
        sent: Future[Answer] = Future()
        with self._changed:
            room = self._changed.wait_for(lambda: not (self.open and self._waiting) or self._bytes + size <= self._in_flight, seconds)
            if room and self.open:
                self._waiting.append((sent, size))
                self._bytes += size
                self._requests.put(request)
                return sent
            told = self._told
        self.close()
        sent.set_result(told)
        return sent

    def close(self) -> None:
        with self._changed:
            self.open = False
        self._requests.put(None)
        self._call.cancel()

    def _read(self) -> None:
        ended = Answer(CUT)
        try:
            for response in self._call:
                with self._changed:
                    if not self._waiting:
                        continue
                    sent, size = self._waiting.popleft()
                    self._bytes -= size
                    self._changed.notify_all()
                sent.set_result(_answer(response))
        except grpc.RpcError as error:  # of the first request without an answer; of those after it nobody knows
            ended = _ended(error)
        with self._changed:
            self.open = False
            if ended.code == "UNAVAILABLE":
                self._told = ended
            left = [sent for sent, _ in self._waiting]
            self._waiting.clear()
            self._changed.notify_all()
        self._requests.put(None)
        for number, sent in enumerate(left):
            sent.set_result(ended if number == 0 else self._told)


def _answer(response: types.AppendRowsResponse) -> Answer:
    if not response.error.code and not response.row_errors:
        return Answer(OK)
    return Answer(_name(response.error.code) if response.error.code else "INVALID_ARGUMENT", _word(response.error.details),
                  tuple(sorted({error.index for error in response.row_errors})))


def _ended(error: Any) -> Answer:
    details = [value for key, value in error.trailing_metadata() or () if key == _DETAILS]
    return Answer(error.code().name, _word(status_pb2.Status.FromString(details[0]).details) if details else "")


def _word(details: Iterable[Any]) -> str:
    """BigQuery's own word among the details of a status. Their texts are not looked at: they may quote a row."""
    for detail in details:
        if detail.type_url.endswith("StorageError"):
            return str(types.StorageError.deserialize(detail.value).code.name)
    return ""


def _name(code: int) -> str:
    return next((status.name for status in grpc.StatusCode if status.value[0] == code), "UNKNOWN")
