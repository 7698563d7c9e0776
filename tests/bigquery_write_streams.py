"""Write streams of the BigQuery of this machine: what they hold, and the rules of the Storage Write API. Rows go into the store's tables.

https://cloud.google.com/bigquery/docs/reference/storage/rpc/google.cloud.bigquery.storage.v1
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.compute as pc
from google.cloud.bigquery_storage_v1 import types

from tests.bigquery_store import Refused as Missing
from tests.bigquery_store import Store, arrow_columns

Code, Word, Kind = grpc.StatusCode, types.StorageError.StorageErrorCode, types.WriteStream.Type
MOST_BYTES = 10_000_000
_TABLE = r"projects/([^/]+)/datasets/([^/]+)/tables/([^/]+)"
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999  # 0001-01-01 and 9999-12-31, in microseconds
_DAYS = -719_162, 2_932_896
_TYPES = {"INTEGER": "INT64", "FLOAT": "DOUBLE", "BOOLEAN": "BOOL"}
_MODES = types.TableFieldSchema.Mode


class Refused(Exception):
    """An answer of the service's that is an error. rows: (index, message) of those that have an error of their own; ends: it ends the call."""

    def __init__(self, code: grpc.StatusCode, word: Any, message: str, rows: tuple[tuple[int, str], ...] = (), ends: bool = False) -> None:
        self.code, self.word, self.message, self.rows, self.ends = code, word, message, rows, ends
        super().__init__(message)


@dataclass
class Stream:
    """One stream. held: rows that are not visible yet; rows: how many were taken."""

    name: str
    kind: Any
    table: tuple[str, str]
    created: float
    held: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    finalized: bool = False
    committed: float = 0.0


class Streams:
    """All streams of a store. clock: seconds since the epoch."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self.store, self.clock, self.known = store, clock, dict[str, Stream]()
        self.names_rows = True
        """False: a row that is refused is not named, and the whole request is an INVALID_ARGUMENT."""

    @property
    def rejects(self) -> Callable[[tuple[str, str], dict[str, Any]], bool] | None:
        """The store's own: rows that a table refuses besides."""
        return self.store.rejects

    @rejects.setter
    def rejects(self, rejects: Callable[[tuple[str, str], dict[str, Any]], bool] | None) -> None:
        self.store.rejects = rejects

    def create(self, parent: str, kind: Any) -> Stream:
        if kind not in (Kind.PENDING, Kind.COMMITTED):
            raise Refused(Code.INVALID_ARGUMENT, Word.INVALID_STREAM_TYPE, "this service has PENDING and COMMITTED streams", ends=True)
        table = self._table(parent)
        now = self.clock()
        stream = Stream(f"{parent}/streams/s{len(self.known)}", kind, table, now, committed=now if kind == Kind.COMMITTED else 0.0)
        self.known[stream.name] = stream
        return stream

    def get(self, name: str) -> Stream:
        """A stream; `_default` is there wherever the table is."""
        if name.endswith("/streams/_default"):
            return Stream(name, Kind.COMMITTED, self._table(name.removesuffix("/streams/_default")), 0.0)
        if name not in self.known:
            raise Refused(Code.NOT_FOUND, Word.STREAM_NOT_FOUND, f"Requested entity was not found: {name}", ends=True)
        return self.known[name]

    def schema(self, stream: Stream) -> types.TableSchema:
        return types.TableSchema(fields=[types.TableFieldSchema(name=f["name"], type_=_TYPES.get(f["type"], f["type"]), mode=_MODES[f["mode"]])
                                         for f in self.store.table(*stream.table)["schema"]["fields"]])

    def append(self, name: str, schema: bytes, batch: bytes, offset: int | None) -> int | None:
        """Appends the rows of one request, or none of them; answers the offset of the first."""
        stream = self.get(name)
        default = name.endswith("/_default")
        self._table(name.partition("/streams/")[0])
        if default and offset is not None:
            raise Refused(Code.INVALID_ARGUMENT, Word.STORAGE_ERROR_CODE_UNSPECIFIED, "offset is not allowed on the default stream", ends=True)
        if stream.finalized:
            raise Refused(Code.INVALID_ARGUMENT, Word.STREAM_FINALIZED, "Stream has been finalized and cannot be appended", ends=True)
        if offset is not None and offset < stream.rows:
            raise Refused(Code.ALREADY_EXISTS, Word.OFFSET_ALREADY_EXISTS, f"The offset is within stream, expected offset {stream.rows}, received {offset}")
        if offset is not None and offset > stream.rows:
            raise Refused(Code.OUT_OF_RANGE, Word.OFFSET_OUT_OF_RANGE, f"The offset is beyond stream, expected offset {stream.rows}, received {offset}")
        rows = self._read(stream, schema, batch)
        first, stream.rows = stream.rows, stream.rows + rows.num_rows
        if stream.kind == Kind.PENDING:
            stream.held.append(rows)
        else:
            self.store.append(*stream.table, rows)
        return None if default else first

    def finalize(self, name: str) -> int:
        if name.endswith("/_default"):
            raise Refused(Code.INVALID_ARGUMENT, Word.INVALID_STREAM_TYPE, "the default stream cannot be finalized", ends=True)
        stream = self.get(name)
        stream.finalized = True
        return stream.rows

    def commit(self, parent: str, names: list[str]) -> tuple[float, list[types.StorageError]]:
        """(time of the commit, or 0 and the errors: nothing is committed where one stream has one)."""
        errors = []
        self._table(parent)
        if not names:
            raise Refused(Code.INVALID_ARGUMENT, Word.STORAGE_ERROR_CODE_UNSPECIFIED, "no streams", ends=True)
        for name in names:
            stream = self.known.get(name)
            word = (Word.STREAM_NOT_FOUND if stream is None or not name.startswith(f"{parent}/") else Word.INVALID_STREAM_TYPE
                    if stream.kind != Kind.PENDING else Word.INVALID_STREAM_STATE if stream.committed or not stream.finalized else None)
            if word is not None:
                errors.append(types.StorageError(code=word, entity=name, error_message="told"))
        if errors:
            return 0.0, errors
        now = self.clock()
        for stream in (self.known[name] for name in dict.fromkeys(names)):
            for rows in stream.held:
                self.store.append(*stream.table, rows)
            stream.held, stream.committed = [], now
        return now, []

    def _table(self, name: str) -> tuple[str, str]:
        match = re.fullmatch(_TABLE, name)
        if not match:
            raise Refused(Code.INVALID_ARGUMENT, Word.STORAGE_ERROR_CODE_UNSPECIFIED, "Invalid table name", ends=True)
        try:
            if match[1] != self.store.project:
                raise Missing(404, "notFound", "Not found: Project")
            self.store.table(match[2], match[3])
        except Missing as error:
            raise Refused(Code.NOT_FOUND, Word.TABLE_NOT_FOUND, error.message, ends=True) from None
        return match[2], match[3]

    def _read(self, stream: Stream, schema: bytes, batch: bytes) -> pa.Table:
        """The rows of a request, as the table has them. Raises Refused."""
        name, fields = stream.table[1], self.store.table(*stream.table)["schema"]["fields"]
        try:
            with pa.ipc.open_stream(schema + batch) as reader:
                rows = reader.read_all()
            rows.validate(full=True)
        except (pa.ArrowInvalid, OSError):
            raise Refused(Code.INVALID_ARGUMENT, Word.STORAGE_ERROR_CODE_UNSPECIFIED, "Input Arrow batch cannot be read", ends=True) from None
        try:
            found = arrow_columns(rows, fields, name)
        except Missing as error:
            word = Word.SCHEMA_MISMATCH_EXTRA_FIELDS if "Cannot add fields" in error.message else Word.STORAGE_ERROR_CODE_UNSPECIFIED
            raise Refused(Code.INVALID_ARGUMENT, word, error.message, ends=True) from None
        wrong: dict[int, str] = {}
        for f in fields:
            column = found[f["name"]]
            if f["mode"] == "REQUIRED":
                wrong |= _at(pc.is_null(column), f"Field {f['name']}: required field is missing")
            if f["type"] in ("TIMESTAMP", "DATE"):
                numbers, (first, last) = (column.cast(pa.int64()), (_FIRST, _LAST)) if f["type"] == "TIMESTAMP" else (column.cast(pa.int32()), _DAYS)
                wrong |= _at(pc.or_(pc.less(numbers, first), pc.greater(numbers, last)), f"Field {f['name']}: value out of range")
        if self.store.rejects:
            wrong |= {n: "told to reject" for n, row in enumerate(found.to_pylist()) if self.store.rejects(stream.table, row)}
        if wrong and not self.names_rows:
            raise Refused(Code.INVALID_ARGUMENT, Word.STORAGE_ERROR_CODE_UNSPECIFIED, "Errors found while processing rows")
        if wrong:
            raise Refused(Code.INVALID_ARGUMENT, Word.STORAGE_ERROR_CODE_UNSPECIFIED, "Errors found while processing rows", tuple(sorted(wrong.items())))
        return found


def _at(mask: Any, message: str) -> dict[int, str]:
    return dict.fromkeys(pc.indices_nonzero(mask.fill_null(False)).to_pylist(), message)
