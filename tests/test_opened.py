"""Rows of failures as they are read again: the same as they were read the first time, whatever their format."""

from typing import Any

import pytest

from pipelines.replay_rows import block, message, opened
from pipelines.sinks.replays import Failure
from schemas.contract import load
from transforms.batch import refused_rows
from transforms.formats import csv
from transforms.formats.avro_datum import MAGIC
from transforms.formats.block import Block, Message
from transforms.formats.messages import Front
from transforms.formats.opened import BODY, CSV, FORM, JSON, OPENED, parse
from transforms.seal import private_key, seal

HEAD = b"application_id,age,note"
RECORDS = [b"A1,30,plain", b"A2,,", b'A3,31,"a ""quoted"", word"', b'A4,32,"two\nlines"', b"A5,33,one\" quote", b"", b"too,few", b"a,b,c,d", b'A6,34,"never closed',
           b"\xff,1,x", b'A7,35,"x" y', b"A8,36,\r", b'"",37,""', b"A9,38," + b"n" * 200]

AT_THE_END = RECORDS.index(b"A8,36,\r")  # of a file, without a newline


def read(messages: list[Message]) -> tuple[dict[int, dict[str, Any]], dict[int, tuple[str, bytes]]]:
    """(rows, refused), by their place."""
    rows, refused = {}, {}
    for found in parse(Block("", OPENED, 0, 0, len(messages), b"", messages=tuple(messages)), load("census").fields, Front(), 100):
        rows |= dict(zip(found.offsets, found.rows))
        refused |= {offset: (str(reason), raw) for reason, _, offset, raw in found.refused}
        assert all(found.raw(i) == messages[offset].data or messages[offset].attributes[FORM] == BODY for i, offset in enumerate(found.offsets))
    return rows, refused


def test_csv_records_are_read_as_the_first_time() -> None:
    """Each by itself and all together: whatever stands in one, none is taken for a part of another."""
    first: dict[int, Any] = {}
    for i, record in enumerate(RECORDS):
        parsed = list(csv.parse(Block("f", "csv", 0, 0, 1, record + (b"" if i == AT_THE_END else b"\n"), HEAD + b"\n"), load("census").fields, 100))
        ended = [r for rows in parsed for r in rows.rows] + [str(reason) for rows in parsed for reason, *_ in rows.refused]
        first[i] = ended[0] if len(ended) == 1 else "malformed"
    messages = [Message(HEAD + b"\n" + record, str(i), 0, {FORM: CSV}) for i, record in enumerate(RECORDS)]
    rows, refused = read(messages)
    assert {**rows, **{i: reason for i, (reason, _) in refused.items()}} == first and sorted([*rows, *refused]) == list(range(len(RECORDS)))
    assert all(raw == messages[i].data for i, (_, raw) in refused.items())
    assert rows[3]["note"] == "two\nlines" and rows[1] == {"application_id": "A2", "age": None, "note": None}


def test_forms_may_stand_in_any_order() -> None:
    texts = [(JSON, b'{"age":1}'), (CSV, HEAD + b"\nA1,2,x"), (CSV, b"age\n3"), (BODY, b'{"age":4}'), (JSON, b"{"), (CSV, b""), (BODY, MAGIC + b"cut"), (JSON, b'{"age":5}')]
    rows, refused = read([Message(text, str(i), 0, {FORM: form}) for i, (form, text) in enumerate(texts)])
    assert {i: row["age"] for i, row in rows.items()} == {0: 1, 1: 2, 2: 3, 3: 4, 7: 5}
    assert {i: reason for i, (reason, _) in refused.items()} == {4: "malformed", 5: "malformed", 6: "malformed"}


def test_a_line_of_a_file_is_never_taken_for_an_avro_container() -> None:
    _, refused = read([Message(MAGIC + b'{"age":1}', "0", 0, {FORM: JSON})])
    assert refused == {0: ("malformed", MAGIC + b'{"age":1}')}


@pytest.mark.parametrize(("stage", "origin", "form"), [
    ("decode", "/data/a.csv:17", CSV), ("decode", "gs://b/A.CSV.gz:17", CSV), ("deduplicate", "/data/a.csv:17", JSON), ("decode", "/data/a.csv/b.ndjson:3", JSON),
    ("decode", "projects/p/subscriptions/s:17", BODY), ("infer", "projects/p/subscriptions/s:17", BODY), ("decode", "a.parquet:0", JSON)])
def test_the_form_of_a_row(stage, origin, form) -> None:
    made = message("3", Failure("r", stage, "malformed", origin, 1), b"x", now=5)
    assert (made.id, made.attributes) == ("3", {FORM: form}) and (made.published == 5) == (form == BODY)


def sealed(pem: bytes, rows: list[tuple[str, bytes]]) -> list[Failure]:
    batch = seal(refused_rows("decode", [("malformed", None, origin, None, row) for origin, row in rows]), "r", pem)
    return [Failure(*(f[name] for name in ("run", "stage", "reason", "origin", "attempt", "sealed"))) for f in batch.to_pylist()]


def test_parts_are_bounded_in_bytes_and_rows_and_hold_an_origin_once(key_folder) -> None:
    pem, unwrap = (key_folder / "failures.public.pem").read_bytes(), private_key((key_folder / "failures.private.pem").read_bytes())
    rows = sealed(pem, [("a:1", b"x" * 40), ("a:2", b"x" * 40), ("a:3", b"x" * 40), ("a:4", b"x" * 300), ("a:5", b"x"), ("a:5", b"y"), ("a:6", b"x")])
    foreign = rows[1]._replace(origin="a:9")

    def origins(failures: list[Failure], most_bytes: int, most_rows: int = 9) -> list[list[str]]:
        return [[f.origin for f in part.failures] for part in opened(failures, unwrap, most_bytes, most_rows)]

    assert origins(rows, 100) == [["a:1", "a:2"], ["a:3"], ["a:4"], ["a:5"], ["a:5", "a:6"]]
    assert origins(rows[:3], 10_000, 2) == [["a:1", "a:2"], ["a:3"]]
    assert origins([], 100) == []
    parts = list(opened([foreign, *rows[:1], foreign], unwrap, 100))
    assert [(len(p.failures), p.others) for p in parts] == [(1, 2)] and parts[0].rows == [b"x" * 40]
    assert all(f.sealed is None for f in parts[0].failures)
    assert [(len(p.failures), p.others) for p in opened([foreign], unwrap)] == [(0, 1)]
    assert [m.id for m in block(parts[0], 1, without=["0"]).messages] == []
