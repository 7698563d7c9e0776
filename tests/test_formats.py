"""The same rows in every format, and values in the terms of JSON."""

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

from pipelines.sources.broken import Broken
from pipelines.sources.files import listed, ranges, read
from schemas.fields import Field
from transforms.formats import avro, csv, ndjson, parquet
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
