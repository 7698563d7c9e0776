"""Where CSV records (RFC 4180) begin and end: shared by the source, which cuts files, and the parser, which cuts blocks.

A quoted field may hold newlines. So a line with an open quote is completed by the lines after it, if that gives a record
of as many fields as the header; else the line stands alone, malformed, and one stray quote costs one line, not
the file. Both sides decide the same way on the same bytes.
"""

import re

import numpy as np
import numpy.typing as npt

MOST_BYTES = 10_000_000  # of one record
_QUOTES = re.compile(rb'"+')


def split_fields(record: bytes, most: int) -> list[bytes | None] | None:
    """The fields of a record that holds quotes, its line end taken off; None where its quoting is wrong or it has over `most` fields.

    An empty field without quotes is None, one with quotes b"".
    """
    fields: list[bytes | None] = []
    at, end = 0, len(record)
    while True:
        if len(fields) == most:
            return None
        if record.startswith(b'"', at):
            close = _closing(record, at + 1)
            if close < 0:
                return None
            fields.append(record[at + 1:close].replace(b'""', b'"'))
            at = close + 1
        else:
            comma = record.find(b",", at)
            field = record[at:comma] if comma >= 0 else record[at:]
            if b'"' in field or b"\r" in field or b"\n" in field:
                return None
            fields.append(field or None)
            at += len(field)
        if at == end:
            return fields
        if not record.startswith(b",", at):
            return None
        at += 1


def without_line_end(record: bytes) -> bytes:
    """The record without its newline, or carriage return and newline."""
    if record.endswith(b"\n"):
        return record[:-2] if record.endswith(b"\r\n") else record[:-1]
    return record


def record_ends(data: bytes, columns: int, final: bool = True) -> tuple[list[int], int]:
    """(end of each record, end of the last one that is surely whole) in bytes of whole lines.

    columns: how many fields the header has; final: no more lines follow, so all is decided. Linear in len(data): each line
    is looked at once as itself and once as the inside of another record.
    """
    values = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(values == 10) + 1
    if data and not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    if b'"' not in data:
        return ends.tolist(), len(data)
    quotes = np.diff(np.searchsorted(np.flatnonzero(values == 34), ends), prepend=0)
    odd = np.flatnonzero(quotes & 1).tolist()
    outer = np.ones(len(ends), bool)
    whole = len(data)
    i = 0
    while i < len(odd):
        first = odd[i]
        begin = int(ends[first - 1]) if first else 0
        if i + 1 == len(odd):
            if not final and len(data) - begin <= MOST_BYTES:
                whole = begin
            break
        end = int(ends[odd[i + 1]])
        if end - begin <= MOST_BYTES and _is_record(data[begin:end], columns):
            outer[first:odd[i + 1]] = False
            i += 1
        i += 1
    ends = ends[outer]
    return _up_to(ends, whole), whole


def _up_to(ends: npt.NDArray[np.int64], whole: int) -> list[int]:
    found: list[int] = ends[:int(np.searchsorted(ends, whole, side="right"))].tolist()
    return found


def _is_record(lines: bytes, columns: int) -> bool:
    fields = split_fields(without_line_end(lines), columns)
    return fields is not None and len(fields) == columns


def _closing(record: bytes, at: int) -> int:
    """Where the quote stands that closes a field whose content begins at `at`; -1 if none. Two quotes stand for one."""
    for run in _QUOTES.finditer(record, at):
        if (run.end() - run.start()) % 2:
            return run.end() - 1
    return -1
