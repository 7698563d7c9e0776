"""Structs of Apache Thrift's compact protocol (thrift-compact-protocol.md), as Parquet's footer and page headers are written.

Read by hand because Arrow's accessors end the process on some damaged footers, where Python cannot catch it.
"""

from typing import Any

_TRUE, _FALSE, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _LISTS, _STRUCT = 1, 2, 3, (4, 5, 6), 7, 8, (9, 10), 12
_DEEPEST = 12
_LONGEST_NUMBER = 70  # bits


def read_struct(data: bytes, at: int = 0, depth: int = 0) -> tuple[dict[int, Any], int]:
    """({field id: value}, where the struct ends). Integers, bytes, lists and structs; of a field that stands twice the last counts.

    Linear in what is read. Raises IndexError where the bytes end too early, ValueError for what is no struct (or holds a map, which Parquet
    never does).
    """
    if depth > _DEEPEST:
        raise ValueError("depth")
    fields: dict[int, Any] = {}
    field = 0
    while data[at]:
        kind, delta = data[at] & 0x0F, data[at] >> 4
        at += 1
        if delta:
            field += delta
        else:
            field, at = _integer(data, at)
        if kind in (_TRUE, _FALSE):
            fields[field] = kind == _TRUE
        else:
            fields[field], at = _value(data, at, kind, depth)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in _INTEGERS:
        return _integer(data, at)
    if kind == _BINARY:
        length, at = _varint(data, at)
        if length > len(data) - at:
            raise IndexError
        return data[at:at + length], at + length
    if kind == _STRUCT:
        return read_struct(data, at, depth + 1)
    if kind in _LISTS:
        return _list(data, at, depth + 1)
    if kind in (_TRUE, _FALSE, _BYTE):  # in a list a boolean is a byte
        return data[at], at + 1
    if kind == _DOUBLE:
        return data[at:at + 8], at + 8
    raise ValueError("type")


def _list(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    count, kind = data[at] >> 4, data[at] & 0x0F
    at += 1
    if count == 15:
        count, at = _varint(data, at)
    if depth > _DEEPEST:
        raise ValueError("depth")
    if count > len(data) - at:  # each element takes a byte
        raise IndexError
    values = []
    for _ in range(count):
        value, at = _value(data, at, kind, depth)
        values.append(value)
    return values, at


def _integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return value >> 1 ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, _LONGEST_NUMBER, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("number")
