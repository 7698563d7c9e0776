"""CSV records into rows, strictly."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Reason
from tests.test_formats import FIELDS
from transforms.formats import csv
from transforms.formats.block import Block
from transforms.formats.records import record_ends, split_fields


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
