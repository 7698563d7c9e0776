"""Blocks of Parquet files, which come as one Arrow IPC stream each: columns to rows, in the terms of JSON."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import Reason
from schemas.fields import Field
from transforms.formats.block import Block, Rows
from transforms.formats.written import json_row, plain, times

CHUNK = 1024
_MOST_BYTES = 10_000_000  # of a row
_BAD = object()  # a string that is not UTF-8


def parse(block: Block, fields: tuple[Field, ...], max_row_bytes: int = _MOST_BYTES) -> Iterator[Rows]:
    """Yields the block's rows in chunks; every row comes out, as a row or refused (malformed, too_large).

    Where two columns have one name all rows are malformed. raw(i) is the row as JSON.
    """
    start = block.start
    with pa.ipc.open_stream(block.data) as reader:
        for batch in reader:
            distinct = [_values(c.dictionary) if pa.types.is_dictionary(c.type) else None for c in batch.columns]
            sound = _sound(batch.schema, distinct, max_row_bytes)
            for first in range(0, batch.num_rows, CHUNK):
                yield _chunk(batch.slice(first, CHUNK), distinct, start + first, None if sound else max_row_bytes)
            start += batch.num_rows


def _sound(schema: pa.Schema, distinct: list[list[Any] | None], limit: int) -> bool:
    """True where the distinct strings alone show that no row can be malformed or too large: then no row is looked at."""
    texts = [values for values in distinct if values is not None]
    return (len(set(schema.names)) == len(schema.names) and not any(_BAD in values for values in texts)
            and all(pa.types.is_dictionary(kind) or _is_number(kind) or pa.types.is_temporal(kind) for kind in schema.types)
            and sum(max((len(value) for value in values if type(value) is str), default=0) for values in texts) <= limit)


def _chunk(batch: pa.RecordBatch, distinct: list[list[Any] | None], start: int, limit: int | None) -> Rows:
    """limit: bytes of strings that a row may hold; None where all rows are known to be sound."""
    names = batch.schema.names
    columns = [_values(c) if d is None else _spread(d, c.indices) for c, d in zip(batch.columns, distinct, strict=True)]
    if limit is None:
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        return Rows(rows, list(range(start, start + len(rows))), lambda i: json_row(rows[i]), [])
    alike = len(set(names)) < len(names)
    kept: list[dict[str, Any]] = []
    offsets: list[int] = []
    refused: list[tuple[Reason, str | None, int, bytes]] = []
    for i, row in enumerate(zip(*columns, strict=True)):
        if alike or any(value is _BAD for value in row):
            keys = [f"{name}#{n}" for n, name in enumerate(names)] if alike else names
            named = {key: None if value is _BAD else value for key, value in zip(keys, row, strict=True)}
            refused.append((Reason.MALFORMED, None, start + i, json_row(named)[:_MOST_BYTES]))
        elif sum(len(value) for value in row if type(value) is str) > limit:
            refused.append((Reason.TOO_LARGE, None, start + i, json_row(dict(zip(names, row, strict=True)))[:_MOST_BYTES]))
        else:
            kept.append(dict(zip(names, row, strict=True)))
            offsets.append(start + i)
    return Rows(kept, offsets, lambda i: json_row(kept[i]), refused)


def _spread(distinct: list[Any], indices: pa.Array) -> list[Any]:
    return [None if i is None else distinct[i] for i in indices.to_pylist()]


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind))


def _values(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _spread(_values(column.dictionary), column.indices)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _texts(column)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return times(column)
    if _is_number(kind):
        values: list[Any] = column.to_pylist()
        return values
    if pa.types.is_float16(kind):
        return _values(column.cast(pa.float32()))
    if pa.types.is_temporal(kind):  # times of day and durations, which no contract has: as texts with their type
        return [None if text is None else {str(kind): text} for text in _number_texts(column)]
    return [plain(value) for value in column.to_pylist()]


def _number_texts(column: pa.Array) -> list[Any]:
    texts: list[Any] = pc.cast(column.view(pa.int32() if column.type.bit_width == 32 else pa.int64()), pa.string()).to_pylist()
    return texts


def _texts(column: pa.Array) -> list[Any]:
    try:
        texts: list[Any] = column.to_pylist()
        return texts
    except UnicodeDecodeError:
        return [_text(value) for value in column.cast(pa.binary()).to_pylist()]


def _text(value: bytes | None) -> Any:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return _BAD
