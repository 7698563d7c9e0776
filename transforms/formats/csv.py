"""CSV (RFC 4180), UTF-8, comma, a header line: strict. One bad record refuses one record.

Values become what the contract's type says of them; what does not convert stays a string, which the typing step refuses.
An empty field without quotes is null; `""` is an empty string in a string field and null in others.
"""

import math
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from schemas.errors import Reason
from schemas.fields import Field
from transforms.formats.block import Block, Rows
from transforms.formats.records import MOST_BYTES, record_ends, split_fields, without_line_end

CHUNK = 1024
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")  # longer ones fit no integer type
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BOOLEANS = {"true": True, "false": False}

Value = str | int | float | bool | None


def column_names(head: bytes) -> list[str] | None:
    """The names in a header line; None where it is none: bad quoting, bad UTF-8, an empty name, a name that stands twice."""
    try:
        fields = split_fields(without_line_end(head).decode())
    except UnicodeDecodeError:
        return None
    names = [field for field in fields or () if field]
    return names if fields and len(set(names)) == len(fields) else None


def parse(block: Block, fields: tuple[Field, ...], max_row_bytes: int = MOST_BYTES) -> Iterator[Rows]:
    """Yields the block's records in chunks; every record comes out, as a row or refused (malformed, too_large).

    raw(i) is the header line, a newline and the record, so that it can be read again by itself.
    """
    names = column_names(block.head)
    ends, _ = record_ends(block.data, len(names) if names else 1)
    types = {f.name: f.type for f in fields}
    converters = [_CONVERTERS.get(types.get(name, "string"), _as_string) for name in names or ()]
    start = 0
    for first in range(0, len(ends), CHUNK):
        chunk = ends[first:first + CHUNK]
        yield _chunk(block, [start, *chunk], names, converters, max_row_bytes)
        start = chunk[-1]


def _chunk(block: Block, bounds: list[int], names: list[str] | None, converters: list[Callable[[Any], Value]], limit: int) -> Rows:
    kept: list[list[str | None]] = []
    spans: list[tuple[int, int]] = []
    refused: list[tuple[Reason, str | None, int, bytes]] = []
    head = without_line_end(block.head) + b"\n"

    def raw(begin: int, end: int) -> bytes:
        return head + without_line_end(block.data[begin:end])

    for begin, end in pairwise(bounds):
        record = without_line_end(block.data[begin:end])
        if len(record) > limit:
            refused.append((Reason.TOO_LARGE, None, block.start + begin, raw(begin, end)))
            continue
        values = _values(record, len(names)) if names else None
        if values is None:
            refused.append((Reason.MALFORMED, None, block.start + begin, raw(begin, end)))
            continue
        kept.append(values)
        spans.append((begin, end))
    columns = [list(map(convert, column)) for convert, column in zip(converters, zip(*kept, strict=True), strict=True)] if kept else []
    rows = [dict(zip(names or (), values, strict=True)) for values in zip(*columns, strict=True)]
    return Rows(rows, [block.start + begin for begin, _ in spans], lambda i: raw(*spans[i]), refused)


def _values(record: bytes, columns: int) -> list[str | None] | None:
    """The record's fields; None where it is no record of so many."""
    if record.count(b",") < columns - 1:
        return None
    try:
        fields = split_fields(record.decode())
    except UnicodeDecodeError:
        return None
    return fields if fields and len(fields) == columns else None


def _as_string(value: str | None) -> Value:
    return value


def _as_integer(value: str | None) -> Value:
    return int(value) if value and _INTEGER.fullmatch(value) else value or None


def _as_number(value: str | None) -> Value:
    if not value or not _NUMBER.fullmatch(value):
        return value or None
    number = float(value)
    return number if math.isfinite(number) else value


def _as_boolean(value: str | None) -> Value:
    return _BOOLEANS.get(value, value) if value else None


def _or_null(value: str | None) -> Value:
    return value or None


_CONVERTERS: dict[str, Callable[[Any], Value]] = {
    "string": _as_string, "int": _as_integer, "long": _as_integer, "float": _as_number, "double": _as_number,
    "boolean": _as_boolean, "timestamp-micros": _or_null, "date": _or_null}
