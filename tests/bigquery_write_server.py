"""BigQuery's Storage Write API on this machine, over gRPC as Google's, for tests, before the tables of tests.bigquery_server.

It takes Arrow batches and refuses what the service refuses (bigquery_write_streams). Proto rows, buffered streams and
FlushRows are not offered. Faults come on request: see Fault.
"""

import re
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from typing import Any

import grpc
from google.cloud.bigquery_storage_v1 import types
from google.rpc import status_pb2

from tests.bigquery_store import Store
from tests.bigquery_write_streams import MOST_BYTES, Code, Refused, Stream, Streams, Word

_SERVICE = "google.cloud.bigquery.storage.v1.BigQueryWrite"
_ENDLESS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]


@dataclass
class Fault:
    """Something that goes wrong at requests whose "Method name" (of a stream or table) the pattern finds, so many times.

    kind: the name of a gRPC status (UNAVAILABLE, RESOURCE_EXHAUSTED, ...): nothing is done, and the call ends with it, or, of an
    append and inline, goes on; "lost": it is done, and the call is cut before the answer; "cut": it is cut before anything is done;
    "slow": it is done and answered `seconds` later; "drain": an append is done and answered, then the call ends without an error,
    whatever is still under way. after: requests that pass before.
    """

    pattern: str
    kind: str
    times: int = 1
    after: int = 0
    inline: bool = False
    seconds: float = 1.0


class BigQueryWrite:
    """The server, on a port of its own: `with BigQueryWrite(service.store) as write:`. host: its HOST:PORT; calls: "Method name" of each request."""

    def __init__(self, store: Store, port: int = 0, workers: int = 64) -> None:
        self.streams, self.faults, self.calls = Streams(store), list[Fault](), list[str]()
        self._lock, self._sizes = store.lock, list[int]()
        self._server = grpc.server(futures.ThreadPoolExecutor(workers), options=_ENDLESS)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {
            "CreateWriteStream": self._unary(self._create, types.CreateWriteStreamRequest, "parent"),
            "GetWriteStream": self._unary(self._get, types.GetWriteStreamRequest, "name"),
            "FinalizeWriteStream": self._unary(self._finalize, types.FinalizeWriteStreamRequest, "name"),
            "BatchCommitWriteStreams": self._unary(self._commit, types.BatchCommitWriteStreamsRequest, "parent"),
            "AppendRows": grpc.stream_stream_rpc_method_handler(self._append, None, types.AppendRowsResponse.serialize)}),))
        self.host = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"

    @property
    def largest(self) -> int:
        """Bytes of the largest append."""
        return max(self._sizes, default=0)

    def __enter__(self) -> "BigQueryWrite":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()

    def _fault(self, request: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and re.search(fault.pattern, request):
                if fault.after:
                    fault.after -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def _unary(self, do: Callable[[Any], Any], request_type: Any, named: str) -> grpc.RpcMethodHandler:
        def serve(request: Any, context: grpc.ServicerContext) -> Any:
            told = f"{do.__name__[1:]} {getattr(request, named)}"
            with self._lock:
                self.calls.append(told)
                fault = self._fault(told)
            if fault and fault.kind not in ("lost", "slow"):
                context.abort(Code.UNAVAILABLE if fault.kind in ("cut", "drain") else Code[fault.kind], "told to refuse")
            try:
                with self._lock:
                    answer = do(request)
            except Refused as error:
                _end(context, error)
            if fault and fault.kind == "lost":
                context.abort(Code.UNAVAILABLE, "Connection reset by peer")
            if fault:
                _linger(context, fault.seconds)
            return answer
        return grpc.unary_unary_rpc_method_handler(serve, request_type.deserialize, lambda answer: type(answer).serialize(answer))

    def _create(self, request: types.CreateWriteStreamRequest) -> types.WriteStream:
        return self._shown(self.streams.create(request.parent, request.write_stream.type_), True)

    def _get(self, request: types.GetWriteStreamRequest) -> types.WriteStream:
        return self._shown(self.streams.get(request.name), request.view == types.WriteStreamView.FULL)

    def _finalize(self, request: types.FinalizeWriteStreamRequest) -> types.FinalizeWriteStreamResponse:
        return types.FinalizeWriteStreamResponse(row_count=self.streams.finalize(request.name))

    def _commit(self, request: types.BatchCommitWriteStreamsRequest) -> types.BatchCommitWriteStreamsResponse:
        at, errors = self.streams.commit(request.parent, list(request.write_streams))
        return types.BatchCommitWriteStreamsResponse(stream_errors=errors) if errors else types.BatchCommitWriteStreamsResponse(
            commit_time={"seconds": int(at), "nanos": int(at % 1 * 1e6) * 1000})

    def _shown(self, stream: Stream, full: bool) -> types.WriteStream:
        shown = types.WriteStream(name=stream.name, type_=stream.kind, create_time={"seconds": int(stream.created)})
        if stream.committed:
            shown.commit_time = {"seconds": int(stream.committed)}
        if full:
            shown.table_schema = self.streams.schema(stream)
        return shown

    def _append(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[types.AppendRowsResponse]:
        name, schema = "", b""
        for content in requests:
            request = types.AppendRowsRequest.deserialize(content)
            name = request.write_stream or name
            schema = request.arrow_rows.writer_schema.serialized_schema or schema
            told = f"append {name}"
            with self._lock:
                self.calls.append(told)
                self._sizes.append(len(content))
                fault = self._fault(told)
            try:
                if fault and fault.kind in Code.__members__:
                    raise Refused(Code[fault.kind], Word.STORAGE_ERROR_CODE_UNSPECIFIED, "told to refuse", ends=not fault.inline)
                if fault and fault.kind == "cut":
                    context.abort(Code.UNAVAILABLE, "Connection reset by peer")
                if ("write_stream=" + name) not in dict(context.invocation_metadata()).get("x-goog-request-params", ""):
                    raise Refused(Code.INVALID_ARGUMENT, Word.STORAGE_ERROR_CODE_UNSPECIFIED, "the header does not name the stream", ends=True)
                if len(content) > MOST_BYTES:
                    raise Refused(Code.INVALID_ARGUMENT, Word.STORAGE_ERROR_CODE_UNSPECIFIED, f"AppendRows request too large: {len(content)}", ends=True)
                if not name or not schema or not request.arrow_rows.rows.serialized_record_batch:
                    raise Refused(Code.INVALID_ARGUMENT, Word.STORAGE_ERROR_CODE_UNSPECIFIED, "stream, schema or rows are missing", ends=True)
                offset = request.offset if types.AppendRowsRequest.pb(request).HasField("offset") else None
                with self._lock:
                    at = self.streams.append(name, schema, request.arrow_rows.rows.serialized_record_batch, offset)
                answer = types.AppendRowsResponse(write_stream=name, append_result=types.AppendRowsResponse.AppendResult(offset=at))
            except Refused as error:
                if error.ends:
                    _end(context, error)
                answer = types.AppendRowsResponse(write_stream=name, error=_status(error), row_errors=[
                    types.RowError(index=index, code=types.RowError.RowErrorCode.FIELDS_ERROR, message=message) for index, message in error.rows])
            if fault and fault.kind == "lost":
                context.abort(Code.UNAVAILABLE, "Connection reset by peer")
            if fault and fault.kind == "slow":
                _linger(context, fault.seconds)
            yield answer
            if fault and fault.kind == "drain":
                return


def _linger(context: grpc.ServicerContext, seconds: float) -> None:
    """So long, or until the client has given up."""
    gone = threading.Event()
    if context.add_callback(gone.set):
        gone.wait(seconds)


def _status(error: Refused) -> Any:
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    status.details.add().Pack(types.StorageError.pb(types.StorageError(code=error.word, error_message=error.message)))
    return status


def _end(context: grpc.ServicerContext, error: Refused) -> Any:
    context.set_trailing_metadata((("grpc-status-details-bin", _status(error).SerializeToString()),))
    context.abort(error.code, error.message)
