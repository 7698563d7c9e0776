"""Where CSV records (RFC 4180) begin and end: shared by the source, which cuts files, and the parser, which cuts blocks.

A quoted field may hold newlines. So a line with an open quote is completed by the lines after it, if that gives a record
of as many fields as the header; else the line stands alone, malformed, and one stray quote costs one line, not
the file. Both sides decide the same way on the same bytes.
"""

import numpy as np
import numpy.typing as npt

MOST_BYTES = 10_000_000  # of one record


def split_fields(record: str) -> list[str | None] | None:
    """The fields of a record, its line end taken off; None where its quoting is wrong. Linear in its length.

    An empty field without quotes is None, one with quotes "".
    """
    # Every second part stands between quotes; an empty part between two of these is a quote that was doubled.
    parts = record.split('"')
    last = len(parts) - 1
    if last % 2 or (last and parts[0] and not parts[0].endswith(",")):
        return None
    fields: list[str | None] = []
    if not last or parts[0]:
        fields += _bare(parts[0][:-1] if last else parts[0])
    i = 1
    while i <= last:
        first = i
        while not parts[i + 1] and i + 1 < last:
            i += 2
        fields.append('"'.join(parts[first:i + 1:2]))
        after, i = parts[i + 1], i + 2
        if after and not after.startswith(","):
            return None
        if i <= last:
            if not after.endswith(","):
                return None
            fields += _bare(after[1:-1]) if len(after) > 1 else ()
        elif after:
            fields += _bare(after[1:])
        if "\n" in after or "\r" in after:
            return None
    return None if "\n" in parts[0] or "\r" in parts[0] else fields


def _bare(text: str) -> list[str | None]:
    return [field or None for field in text.split(",")]


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
    fields = split_fields(without_line_end(lines).decode("latin-1"))  # a byte a character: quotes and commas stay what they are
    return fields is not None and len(fields) == columns
