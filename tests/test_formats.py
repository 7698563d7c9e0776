"""CSV, Avro and Parquet into rows; the same rows in every format."""

import io
import json
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.broken import Broken
from pipelines.sources.files import listed, ranges, read
from schemas.errors import Reason
from schemas.fields import Field
from transforms.formats import avro, csv, ndjson, parquet
from transforms.formats.avro import FRAME
from transforms.formats.avro_schema import flat
from transforms.formats.block import Block
from transforms.formats.records import record_ends, split_fields
from transforms.formats.written import json_row, plain, times

FIELDS = tuple(Field(name, kind, True, "public", "A field.") for name, kind in (
    ("id", "string"), ("at", "timestamp-micros"), ("n", "long"), ("x", "double"), ("ok", "boolean"), ("day", "date")))
ROWS: list[dict[str, Any]] = [
    {"id": "a", "at": "2026-03-04T10:00:00.000001Z", "n": 1, "x": 1.5, "ok": True, "day": "2026-03-04"},
    {"id": 'quote " and, comma', "at": "1999-12-31T23:59:59.999999Z", "n": -(2**63), "x": -0.25, "ok": False, "day": "0001-01-01"},
    {"id": "line\nbreak\r\nand é, \u2028", "at": "0001-01-01T00:00:00.000000Z", "n": 2**63 - 1, "x": 1e300, "ok": None, "day": "9999-12-31"},
    {"id": "all null", "at": None, "n": None, "x": None, "ok": None, "day": None},
]
AVRO = {"type": "record", "name": "Event", "namespace": "a.b", "fields": [
    {"name": "id", "type": {"type": "string", "avro.java.string": "String"}},
    {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
    {"name": "n", "type": ["null", "long"]}, {"name": "x", "type": ["double", "null"]}, {"name": "ok", "type": ["null", "boolean"]},
    {"name": "day", "type": ["null", {"type": "int", "logicalType": "date"}]}]}


def _csv_bytes(rows: list[dict[str, Any]]) -> bytes:
    def cell(value: Any) -> str:
        text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        return '"' + text.replace('"', '""') + '"' if any(c in text for c in '",\r\n') else text
    return "".join(",".join(map(cell, line)) + "\r\n" for line in [list(rows[0]), *(r.values() for r in rows)]).encode()


def _instant(text: str | None) -> Any:
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))


def _day(text: str | None) -> Any:
    return None if text is None else datetime.fromisoformat(text).date()


def _avro_bytes(rows: list[dict[str, Any]], codec: str = "deflate") -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, AVRO, [r | {"at": _instant(r["at"]), "day": _day(r["day"])} for r in rows], codec=codec)
    return out.getvalue()


def _parquet_bytes(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({
        "id": [r["id"] for r in rows], "at": pa.array([_instant(r["at"]) for r in rows], pa.timestamp("us", "UTC")),
        "n": [r["n"] for r in rows], "x": [r["x"] for r in rows], "ok": [r["ok"] for r in rows],
        "day": [_day(r["day"]) for r in rows]}), out)
    return out.getvalue()


def _read_all(path: Path, content: bytes) -> tuple[list[Any], list[Any]]:
    path.write_bytes(content)
    rows: list[Any] = []
    refused: list[Any] = []
    for piece in ranges(listed(str(path))):
        for part in read(piece):
            assert not isinstance(part, Broken)
            for chunk in ndjson.parse(part, 10**6) if part.format == "ndjson" else _parser(part.format)(part, FIELDS):
                rows += chunk.rows
                refused += chunk.refused
    return rows, refused


def _parser(kind: str) -> Any:
    return {"csv": csv.parse, "avro": avro.parse, "parquet": parquet.parse}[kind]


@pytest.mark.parametrize(("name", "write"), [
    ("x.ndjson", lambda rows: b"".join(json.dumps(r).encode() + b"\n" for r in rows)), ("x.csv", _csv_bytes), ("x.avro", _avro_bytes),
    ("x.parquet", _parquet_bytes)])
def test_the_same_rows_in_every_format(tmp_path: Path, name: str, write: Any) -> None:
    rows, refused = _read_all(tmp_path / name, write(ROWS * 700))
    assert refused == []
    assert rows == ROWS * 700
    assert [list(map(type, r.values())) for r in rows] == [list(map(type, r.values())) for r in ROWS * 700]


# CSV

def _csv(head: bytes, data: bytes, limit: int = 10_000_000) -> tuple[list[dict[str, Any]], list[Any]]:
    ends, _ = record_ends(data, head.count(b",") + 1)
    chunks = list(csv.parse(Block("p", "csv", 0, 0, len(ends), data, head), FIELDS, limit))
    return [r for c in chunks for r in c.rows], [r for c in chunks for r in c.refused]


@pytest.mark.parametrize(("record", "expected"), [
    (b"a,1,true", {"id": "a", "n": 1, "ok": True}),
    (b"a,-7,false\r", {"id": "a", "n": -7, "ok": False}),
    (b"a,+7,", {"id": "a", "n": 7, "ok": None}),
    (b",,", {"id": None, "n": None, "ok": None}),
    (b'"",,""', {"id": "", "n": None, "ok": None}),
    (b'"a ""b"" c","1",true', {"id": 'a "b" c', "n": 1, "ok": True}),
    (b'"""",1,true', {"id": '"', "n": 1, "ok": True}),
    (b'"x\ny,\r\n",1,true', {"id": "x\ny,\r\n", "n": 1, "ok": True}),
    (b"a,1.0,TRUE", {"id": "a", "n": "1.0", "ok": "TRUE"}),  # stays a string: wrong type later on
    (b"a,1_000,true", {"id": "a", "n": "1_000", "ok": True}),
    (b"a, 1,true", {"id": "a", "n": " 1", "ok": True}),
    ("a,\u0661,true".encode(), {"id": "a", "n": "\u0661", "ok": True}),  # a digit, but not ASCII
    (b"a," + b"9" * 5000 + b",true", {"id": "a", "n": "9" * 5000, "ok": True}),
    (b"\x00,1,true", {"id": "\x00", "n": 1, "ok": True}),
    (b"a,1", None),
    (b"a,1,true,", None),
    (b"", None),
    (b'a"b,1,true', None),  # a quote inside a bare field
    (b'"a"b,1,true', None),
    (b'"a,1,true', None),  # never closed
    (b'"a","b","c","', None),
    (b"a\xff,1,true", None),
    (b'"\xff",1,true', None),
    (b"a\rb,1,true", None),
])
def test_csv_record(record: bytes, expected: dict[str, Any] | None) -> None:
    rows, refused = _csv(b"id,n,ok\n", record + b"\n")
    assert rows == ([] if expected is None else [expected])
    assert [(r[0], r[2], r[3]) for r in refused] == ([(Reason.MALFORMED, 0, b"id,n,ok\n" + record.rstrip(b"\r"))] if expected is None else [])


@pytest.mark.parametrize(("value", "expected"), [
    (b"1.5", 1.5), (b"-2e3", -2000.0), (b".5", 0.5), (b"3", 3.0), (b"nan", "nan"), (b"inf", "inf"), (b"1e999", "1e999"), (b"0x1p3", "0x1p3"), (b"", None)])
def test_csv_number(value: bytes, expected: Any) -> None:
    rows, _ = _csv(b"id,x\n", b"a," + value + b"\n")
    assert rows == [{"id": "a", "x": expected}] and type(rows[0]["x"]) is type(expected)


@pytest.mark.parametrize("head", [b"id,id\n", b"id,\n", b"id,\xff\n", b'id,"n\n', b"\n", b""])
def test_csv_without_a_usable_header_refuses_every_row(head: bytes) -> None:
    rows, refused = _csv(head, b"a,1\nb,2\n")
    assert rows == [] and [r[0] for r in refused] == [Reason.MALFORMED] * 2


def test_csv_row_over_the_limit_and_raw() -> None:
    block = Block("p", "csv", 0, 100, 3, b"a,1\r\n" + b"b" * 50 + b",2\r\nc,3", b"id,n\r\n")
    (chunk,) = csv.parse(block, FIELDS, 20)
    assert chunk.rows == [{"id": "a", "n": 1}, {"id": "c", "n": 3}] and chunk.offsets == [100, 159]
    assert [chunk.raw(i) for i in range(2)] == [b"id,n\na,1", b"id,n\nc,3"]
    assert [r[:3] for r in chunk.refused] == [(Reason.TOO_LARGE, None, 105)]


def test_one_stray_quote_costs_one_row() -> None:
    data = b'a,1\n"b,2\n' + b"c,3\n" * 1000 + b'd,"4\n' + b"e,5\n" * 1000
    rows, refused = _csv(b"id,n\n", data)
    assert len(rows) == 2001 and [r[3] for r in refused] == [b'id,n\n"b,2', b'id,n\nd,"4']


def test_the_end_of_a_record_is_held_back_until_it_is_known() -> None:
    data = b'a,1\n"b\n'
    assert record_ends(data, 2, final=False) == ([4], 4)
    assert record_ends(data, 2, final=True) == ([4, 7], 7)
    assert record_ends(data + b'c",2\n', 2, final=False) == ([4, 12], 12)


@given(st.lists(st.lists(st.text(st.sampled_from('ab",\n\r é'), max_size=6), min_size=3, max_size=3), min_size=1, max_size=8))
def test_csv_that_is_written_right_is_read_back(table: list[list[str]]) -> None:
    data = "".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in table).encode()
    ends, whole = record_ends(data, 3, final=False)
    assert whole == len(data)
    records = [data[b:e] for b, e in zip([0, *ends], ends, strict=False)]
    assert [split_fields(r[:-1].decode()) for r in records] == table


@given(st.binary(max_size=60).map(lambda b: bytes(b'a,"\n\r'[x % 5] for x in b)), st.integers(0, 60))
def test_both_sides_cut_csv_alike(data: bytes, at: int) -> None:
    """What the source decides with all lines in view, the parser decides with those of one block."""
    lines = data.find(b"\n", at) + 1 or len(data)
    first, rest = data[:lines], data[lines:]
    ends, whole = record_ends(first, 2, final=False)
    assert record_ends(first[:whole], 2)[0] == ends
    again, until = record_ends(first[whole:] + rest, 2, final=False)
    tail = (first[whole:] + rest)[until:]
    total = len(ends) + len(again) + len(record_ends(tail, 2)[0])
    assert total == len(record_ends(data, 2)[0])


# Avro

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


# Parquet

def _parquet(table: pa.Table, limit: int = 10_000_000) -> tuple[list[Any], list[Any]]:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    chunks = list(parquet.parse(Block("p", "parquet", 0, 5, table.num_rows, sink.getvalue().to_pybytes()), FIELDS, limit))
    return [r for c in chunks for r in c.rows], [r for c in chunks for r in c.refused]


@pytest.mark.parametrize(("column", "expected"), [
    (pa.array([1, None], pa.uint64()), [1, None]), (pa.array([0.5, None], pa.float16()), [0.5, None]),
    (pa.array(["a", None]).dictionary_encode(), ["a", None]), (pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
    (pa.array([1, 2], pa.timestamp("ns", "Europe/Zurich")), ["1970-01-01T00:00:00.000000001Z", "1970-01-01T00:00:00.000000002Z"]),
    (pa.array([1, None], pa.timestamp("us")), ["1970-01-01T00:00:00.000001", None]),  # no zone, no offset
    (pa.array([86400000, None], pa.date64()), ["1970-01-02", None]), (pa.array([1, None], pa.time64("us")), [{"time64[us]": "1"}, None]),
    (pa.array([b"\xff", None]), [{"bytes": "\xff"}, None]), (pa.array([Decimal("1.50"), Decimal("2.00")]), [1.5, 2]),
    (pa.array([2**62, -(2**62)], pa.timestamp("us", "UTC")), [2**62, -(2**62)]), (pa.nulls(2), [None, None]),
])
def test_parquet_values(column: pa.Array, expected: list[Any]) -> None:
    rows, refused = _parquet(pa.table({"v": column}))
    assert [r["v"] for r in rows] == expected and refused == []


@pytest.mark.parametrize("encode", [lambda c: c, lambda c: c.dictionary_encode()])
def test_parquet_bad_utf8_refuses_its_row(encode: Any) -> None:
    texts = encode(pa.array([b"good", b"\xff", b"also"]).view(pa.string()))
    rows, refused = _parquet(pa.table({"id": texts, "n": [1, 2, 3]}))
    assert [r["id"] for r in rows] == ["good", "also"]
    assert [(r[0], r[2], r[3]) for r in refused] == [(Reason.MALFORMED, 6, b'{"id":null,"n":2}')]


def test_parquet_too_large_row_and_columns_of_one_name() -> None:
    rows, refused = _parquet(pa.table({"id": pa.array(["a", "b" * 30]).dictionary_encode()}), 20)
    assert len(rows) == 1 and [r[:3] for r in refused] == [(Reason.TOO_LARGE, None, 6)]
    rows, refused = _parquet(pa.table([pa.array([1, 2]), pa.array([3, 4])], names=["a", "a"]))
    assert rows == [] and [r[3] for r in refused] == [b'{"a#0":1,"a#1":3}', b'{"a#0":2,"a#1":4}']


# Values

@pytest.mark.parametrize(("value", "expected"), [
    (b"\x00\xff", {"bytes": "\x00\xff"}), (Decimal("10"), 10), (Decimal("0.1"), 0.1), (Decimal("0.1000000000000000000001"), "0.1000000000000000000001"),
    (Decimal("NaN"), "NaN"), ([b"a"], [{"bytes": "a"}]), ({"k": Decimal("1.5")}, {"k": 1.5}), (None, None), ("s", "s")])
def test_plain(value: Any, expected: Any) -> None:
    assert plain(value) == expected and type(plain(value)) is type(expected)


def test_times_keep_what_rfc3339_cannot_write_as_numbers() -> None:
    days = pa.array([-719_163, -719_162, 2_932_896, 2_932_897, 2**31 - 1, None], pa.int32()).cast(pa.date32())
    assert times(days) == [-719_163, "0001-01-01", "9999-12-31", 2_932_897, 2**31 - 1, None]
    assert times(pa.array([253402300799, 253402300800], pa.timestamp("s", "UTC"))) == ["9999-12-31T23:59:59Z", 253402300800]


def test_json_row_writes_every_row() -> None:
    row = {"a": "\ud800", "b": float("nan"), "c": 2**70, "d": [2**70, "\ud800"], "\udfff": 1}
    assert json.loads(json_row(row)) == {"a": "\\ud800", "b": "nan", "c": str(2**70), "d": [str(2**70), "\\ud800"], "\\udfff": 1}
    assert json_row({"at": datetime(2026, 1, 1, tzinfo=timezone.utc)}) == b'{"at":"2026-01-01T00:00:00+00:00"}'
