"""Avro datums into rows."""

import io
import json
from typing import Any

import fastavro
import pytest

from schemas.errors import Reason
from tests.test_formats import FIELDS
from transforms.formats import avro
from transforms.formats.avro import FRAME
from transforms.formats.avro_schema import flat
from transforms.formats.block import Block


def _frames(*frames: tuple[int, bytes]) -> bytes:
    return b"".join(FRAME.pack(count, len(data)) + data for count, data in frames)


def _avro(schema: dict[str, Any], data: bytes, rows: int, limit: int = 10_000_000) -> tuple[list[Any], list[Any]]:
    chunks = list(avro.parse(Block("p", "avro", 0, 10, rows, data, json.dumps(schema).encode()), FIELDS, limit))
    return [r for c in chunks for r in c.rows], [r for c in chunks for r in c.refused]


ONE = {"type": "record", "name": "r", "fields": [{"name": "id", "type": "string"}]}


@pytest.mark.parametrize(("frames", "rows", "refused"), [
    ([(2, b"\x02a\x02b")], ["a", "b"], []),
    ([(3, b"\x02a\x02b")], ["a", "b"], [(Reason.MALFORMED, 12, b"")]),  # bytes are missing
    ([(1, b"\x02a\x02b")], [], [(Reason.MALFORMED, 10, b"\x02a\x02b")]),  # bytes are left over
    ([(3, b"\x02a\x7fb"), (1, b"\x02c")], ["a", "c"], [(Reason.MALFORMED, 11, b"\x7fb"), (Reason.MALFORMED, 12, b"")]),
    ([(3, b"\x02a\x02\xff\x02c")], ["a", "c"], [(Reason.MALFORMED, 11, b"\x02\xff")]),  # bad UTF-8 spoils its own row alone
    ([(2, b"\x02a\x01b")], ["a"], [(Reason.MALFORMED, 11, b"\x01b")]),  # a negative length
    ([(1, b"\x02a"), (2, b"\x10bbbbbbbb\x02c")], ["a", "c"], [(Reason.TOO_LARGE, 11, b"\x10bbbbbbbb")]),
])
def test_avro_frames(frames: list[tuple[int, bytes]], rows: list[str], refused: list[Any]) -> None:
    found, bad = _avro(ONE, _frames(*frames), sum(c for c, _ in frames), 8)
    assert [r["id"] for r in found] == rows
    assert [(r[0], r[2], r[3]) for r in bad] == refused


def test_avro_values() -> None:
    schema = {"type": "record", "name": "r", "fields": [
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["UP", "DOWN"]}}, {"name": "e2", "type": ["null", "E"]},
        {"name": "b", "type": "bytes"}, {"name": "f", "type": {"type": "fixed", "name": "F", "size": 2}},
        {"name": "ms", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "local", "type": {"type": "long", "logicalType": "local-timestamp-micros"}},
        {"name": "far", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "u", "type": ["null", {"type": "int", "logicalType": "date"}, "string"]}, {"name": "x", "type": "double"}]}
    out = io.BytesIO()
    bare = fastavro.parse_schema(flat(json.dumps(schema).encode()).schema)  # type: ignore[union-attr]
    given_rows = [{"e": "DOWN", "e2": "UP", "b": b"\xff", "f": b"ab", "ms": 1, "local": 1, "far": 2**62, "u": 1, "x": float("nan")},
                  {"e": "UP", "e2": None, "b": b"", "f": b"ab", "ms": -1, "local": 0, "far": 0, "u": "text", "x": 1.0}]
    for row in given_rows:
        fastavro.schemaless_writer(out, bare, row)
    (a, b), refused = _avro(schema, _frames((2, out.getvalue())), 2)
    assert refused == [] and a.pop("x") != 0.0
    assert a == {"e": "DOWN", "e2": "UP", "b": {"bytes": "\xff"}, "f": {"bytes": "ab"}, "ms": "1970-01-01T00:00:00.001Z",
                 "local": "1970-01-01T00:00:00.000001", "far": 2**62, "u": "1970-01-02"}
    assert b["u"] == "text" and b["ms"] == "1969-12-31T23:59:59.999Z" and b["e2"] is None


@pytest.mark.parametrize("schema", [
    {"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "array", "items": "null"}}]},
    {"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "map", "values": "int"}}]},
    {"type": "record", "name": "r", "fields": [{"name": "a", "type": ["null", {"type": "record", "name": "s", "fields": []}]}]},
    {"type": "record", "name": "r", "fields": [{"name": "a", "type": "r"}]},
    {"type": "record", "name": "r", "fields": [{"name": "a", "type": "null"}]},  # costs no bytes, so any count would fit
    {"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}]},
    {"type": "record", "name": "r", "fields": [{"name": "a b", "type": "int"}]},
    {"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "fixed", "name": "F", "size": 10**9}}]},
    {"type": "record", "name": "r", "fields": [{"name": "a", "type": []}]},
    {"type": "record", "name": "r", "fields": {"name": "a"}}, {"type": "int"}, "int", [], None, 7,
])
def test_avro_schemas_that_are_not_read(schema: Any) -> None:
    assert flat(json.dumps(schema).encode()) is None


def test_avro_schema_nested_beyond_all_measure() -> None:
    assert flat(b'{"type":' * 100_000) is None and flat(b"[" * 100_000 + b"]" * 100_000) is None
