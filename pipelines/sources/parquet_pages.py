"""What a Parquet file declares in its footer and its page headers (parquet.thrift), before anything of it is unpacked.

Arrow allocates and unpacks what a page header declares, up to 2 GiB, whatever the footer says; so these are looked at first.
"""

import io
from dataclasses import dataclass
from typing import Any

from pipelines.sources.thrift import read_struct

# Fields of FileMetaData, SchemaElement, RowGroup, ColumnChunk, ColumnMetaData and PageHeader.
_SCHEMA, _ROWS, _GROUPS = 2, 3, 4
_REPETITION, _NAME, _CHILDREN = 3, 4, 5
_CHUNKS = 1
_METADATA = 3
_ENCODINGS, _UNPACKED, _PACKED, _DATA_PAGE, _DICTIONARY_PAGE = 2, 6, 7, 9, 11
_PAGE_UNPACKED, _PAGE_PACKED = 2, 3
_REPEATED = 2
_DELTAS = {6, 7}  # DELTA_LENGTH_BYTE_ARRAY, DELTA_BYTE_ARRAY: Arrow cannot read them into a dictionary
_HEADER = 1 << 16  # bytes read for one page header: it may hold the page's smallest and largest value
_LONGEST_HEADER = 1 << 20


@dataclass(frozen=True)
class Declared:
    """What a footer says. unpacked: bytes of all columns; chunks: (begin, end) of each column chunk in the file; deltas: the columns
    with chunks of strings as differences from the ones before them.
    """

    rows: int
    columns: tuple[str, ...]
    unpacked: int
    chunks: tuple[tuple[int, int], ...]
    deltas: tuple[str, ...]


def declared(footer: bytes) -> Declared:
    """Reads FileMetaData. Raises ValueError where it is none, or its columns are not flat."""
    try:
        metadata, _ = read_struct(footer)
        elements = metadata[_SCHEMA][1:]
        if any(e.get(_CHILDREN) or e.get(_REPETITION) == _REPEATED for e in elements):
            raise ValueError("nested")
        names = tuple(e[_NAME].decode() for e in elements)
        groups = [[chunk[_METADATA] for chunk in group[_CHUNKS]] for group in metadata.get(_GROUPS, [])]
        columns = [column for group in groups for column in group]
        deltas = {name for group in groups for name, column in zip(names, group) if _DELTAS.intersection(column.get(_ENCODINGS, []))}
        return Declared(int(metadata[_ROWS]), names, sum(max(c[_UNPACKED], 0) for c in columns), tuple(map(_chunk, columns)), tuple(sorted(deltas)))
    except (AttributeError, IndexError, KeyError, TypeError):
        raise ValueError("footer") from None


def largest_page(file: io.RawIOBase, begin: int, end: int) -> int:
    """The largest unpacked size in bytes that a page between these offsets declares. Raises ValueError for what is no page."""
    largest = 0
    while begin < end:
        file.seek(begin)
        header = file.read(_HEADER) or b""
        try:
            length, unpacked, packed = _page(header)
        except IndexError:
            length, unpacked, packed = _whole(header + (file.read(_LONGEST_HEADER) or b""))
        if packed < 0 or unpacked < 0:
            raise ValueError("page size")
        largest = max(largest, unpacked)
        begin += length + packed
    return largest


def _chunk(column: dict[int, Any]) -> tuple[int, int]:
    pages = [at for at in (column[_DATA_PAGE], column.get(_DICTIONARY_PAGE)) if at]  # 0 is none: Arrow's data page, of a group without rows
    begin = min(pages, default=0)
    if begin < 0 or column[_PACKED] < 0:
        raise ValueError("offset")
    return begin, begin + column[_PACKED]


def _page(header: bytes) -> tuple[int, int, int]:
    """(length of the header, unpacked size, packed size of the page). Raises IndexError where the header is cut."""
    fields, length = read_struct(header)
    try:
        return length, int(fields[_PAGE_UNPACKED]), int(fields[_PAGE_PACKED])
    except (KeyError, TypeError):
        raise ValueError("page header") from None


def _whole(header: bytes) -> tuple[int, int, int]:
    try:
        return _page(header)
    except IndexError:
        raise ValueError("page header") from None
