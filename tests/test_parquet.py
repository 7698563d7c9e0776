"""Arrow columns into rows."""

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from schemas.errors import Reason
from tests.test_formats import FIELDS
from transforms.formats import parquet
from transforms.formats.block import Block


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
