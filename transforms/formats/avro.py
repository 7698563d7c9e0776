"""Avro blocks (specification 1.11, object container files): rows by the writer's schema, fields by name.

Block.head is that schema as JSON; Block.data is a sequence of FRAMEs, one for each block of the file: number of rows and of
bytes, then the unpacked datums. So damage in one block of a file spoils no row of another.
"""

import struct
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from typing import Any, NamedTuple

import fastavro
import pyarrow as pa

from schemas.errors import Reason
from schemas.fields import Field
from transforms.formats.avro_schema import Flat, flat
from transforms.formats.block import Block, Rows
from transforms.formats.written import json_row, plain, times

FRAME = struct.Struct("<II")  # rows, bytes
CHUNK = 1024
_MOST_BYTES = 10_000_000  # of a row, and of what is sealed of a damaged block
_UNREADABLE = (EOFError, IndexError, KeyError, OverflowError, StopIteration, TypeError, ValueError, struct.error)

Refused = tuple[Reason, str | None, int, bytes]


class _Datum(NamedTuple):
    row: dict[str, Any] | None  # None: no row, for this reason
    reason: Reason
    number: int
    raw: bytes


def parse(block: Block, fields: tuple[Field, ...], max_row_bytes: int = _MOST_BYTES) -> Iterator[Rows]:
    """Yields the block's rows in chunks; every row that it declares comes out, as a row or refused (malformed, too_large).

    From a datum that cannot be read on, all rows of its block of the file are malformed; the first of them carries the
    bytes. raw(i) is the row as JSON.
    """
    shape = flat(block.head)
    rows: list[dict[str, Any]] = []
    offsets: list[int] = []
    refused: list[Refused] = []
    for datum in _datums(block, max_row_bytes):
        if datum.row is None:
            refused.append((datum.reason, None, datum.number, datum.raw))
        else:
            rows.append(datum.row)
            offsets.append(datum.number)
        if len(rows) + len(refused) >= CHUNK:
            yield _chunk(rows, offsets, refused, shape)
            rows, offsets, refused = [], [], []
    if rows or refused:
        yield _chunk(rows, offsets, refused, shape)


def _chunk(rows: list[dict[str, Any]], offsets: list[int], refused: list[Refused], shape: Flat | None) -> Rows:
    if shape is not None and rows:
        for name, (unit, instant) in shape.times.items():
            _write_times(rows, name, unit, instant)
        for name in shape.binary:
            for row in rows:
                row[name] = plain(row[name])
    return Rows(rows, offsets, lambda i: json_row(rows[i]), refused)


def _write_times(rows: list[dict[str, Any]], name: str, unit: str, instant: bool) -> None:
    kind = pa.date32() if unit == "D" else pa.timestamp(unit, "UTC" if instant else None)
    at = [i for i, row in enumerate(rows) if type(row[name]) is int]  # a union may hold other branches
    numbers = pa.array([rows[i][name] for i in at], pa.int32() if unit == "D" else pa.int64())
    for i, text in zip(at, times(numbers.cast(kind)), strict=True):
        rows[i][name] = text


def _datums(block: Block, limit: int) -> Iterator[_Datum]:
    number, at = block.start, 0
    schema = _reader(block.head)
    while at + FRAME.size <= len(block.data):
        count, size = FRAME.unpack_from(block.data, at)
        at += FRAME.size
        yield from _frame(block.data[at:at + size], count, number, schema, limit)
        number += count
        at += size


def _frame(data: bytes, count: int, number: int, schema: Any, limit: int) -> Iterator[_Datum]:
    """`count` datums out of these bytes. What is left over shows that the count is wrong: then the last one is no row."""
    stream = BytesIO(data)
    for i in range(count):
        begin = stream.tell()
        try:
            datum = _datum(stream, schema, number + i)
        except _UNREADABLE:
            yield _Datum(None, Reason.MALFORMED, number + i, data[begin:begin + _MOST_BYTES])
            for missing in range(i + 1, count):
                yield _Datum(None, Reason.MALFORMED, number + missing, b"")
            return
        end = stream.tell()
        if i + 1 == count and end < len(data):
            yield _Datum(None, Reason.MALFORMED, number + i, data[begin:begin + _MOST_BYTES])
        elif end - begin > limit:
            yield _Datum(None, Reason.TOO_LARGE, number + i, data[begin:min(end, begin + _MOST_BYTES)])
        else:
            yield datum


def _datum(stream: BytesIO, schema: Any, number: int) -> _Datum:
    begin = stream.tell()
    try:
        return _Datum(fastavro.schemaless_reader(stream, schema, None), Reason.MALFORMED, number, b"")
    except UnicodeDecodeError:
        stream.seek(begin)
    # Read once more to find where the row ends: bad UTF-8 in one row is no fault of the next.
    fastavro.schemaless_reader(stream, schema, None, handle_unicode_errors="replace")
    return _Datum(None, Reason.MALFORMED, number, stream.getbuffer()[begin:stream.tell()].tobytes())


@lru_cache(maxsize=16)
def _reader(head: bytes) -> Any:
    shape = flat(head)
    return fastavro.parse_schema(shape.schema) if shape else None
