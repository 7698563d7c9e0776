"""Page headers of a Parquet column chunk, read without unpacking anything.

Arrow allocates and unpacks what a page header declares, up to 2 GiB, whatever the footer says; so the headers are looked at
first. They are Thrift structs in the compact protocol (parquet.thrift, PageHeader; thrift-compact-protocol.md).
"""

import io

_HEADER = 1 << 16  # bytes read for one header: it may hold the page's smallest and largest value
_LONGEST_HEADER = 1 << 20
_UNCOMPRESSED_SIZE, _COMPRESSED_SIZE = 2, 3  # fields of PageHeader
_BOOLEANS, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _LISTS, _MAP, _STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 11, 12
_DEEPEST = 8


def largest_page(file: io.RawIOBase, begin: int, end: int) -> int:
    """The largest unpacked size in bytes that a page between these offsets declares. Raises ValueError for what is no page."""
    largest = 0
    while begin < end:
        file.seek(begin)
        header = file.read(_HEADER) or b""
        try:
            length, unpacked, packed = _sizes(header)
        except IndexError:
            length, unpacked, packed = _whole(header + (file.read(_LONGEST_HEADER) or b""))
        if packed < 0 or unpacked < 0:
            raise ValueError("page size")
        largest = max(largest, unpacked)
        begin += length + packed
    return largest


def _whole(header: bytes) -> tuple[int, int, int]:
    try:
        return _sizes(header)
    except IndexError:
        raise ValueError("page header") from None


def _sizes(header: bytes) -> tuple[int, int, int]:
    """(length of the header, unpacked size, packed size of the page). Raises IndexError where the header is cut."""
    sizes = {_UNCOMPRESSED_SIZE: -1, _COMPRESSED_SIZE: -1}
    at, field = 0, 0
    while header[at]:
        field, kind, at = _field(header, at, field)
        if field in sizes and kind in _INTEGERS:
            value, at = _varint(header, at)
            sizes[field] = value >> 1 ^ -(value & 1)
        else:
            at = _skip(header, at, kind, 0)
    return at + 1, sizes[_UNCOMPRESSED_SIZE], sizes[_COMPRESSED_SIZE]


def _field(data: bytes, at: int, before: int) -> tuple[int, int, int]:
    """(field id, type, where its value stands)."""
    kind, delta = data[at] & 0x0F, data[at] >> 4
    if delta:
        return before + delta, kind, at + 1
    value, at = _varint(data, at + 1)
    return value >> 1 ^ -(value & 1), kind, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("number")


def _skip(data: bytes, at: int, kind: int, depth: int) -> int:
    """Where the value of this type ends."""
    if depth > _DEEPEST:
        raise ValueError("depth")
    if kind in _BOOLEANS:
        return at
    if kind == _BYTE:
        return at + 1
    if kind in _INTEGERS:
        return _varint(data, at)[1]
    if kind == _DOUBLE:
        return at + 8
    if kind == _BINARY:
        length, at = _varint(data, at)
        return at + length
    if kind == _STRUCT:
        field = 0
        while data[at]:
            field, inner, at = _field(data, at, field)
            at = _skip(data, at, inner, depth + 1)
        return at + 1
    if kind in _LISTS:
        count, inner = data[at] >> 4, data[at] & 0x0F
        at += 1
        if count == 15:
            count, at = _varint(data, at)
        for _ in range(count):
            at = _skip(data, at, inner, depth + 1) if inner not in _BOOLEANS else at + 1
            _ = data[at]
        return at
    raise ValueError("type")
