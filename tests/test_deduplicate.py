"""The rule against an oracle that looks at one row at a time, and the transform through the runner."""

from datetime import date, timedelta

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts import plain_contract
from transforms.deduplicate import CONFLICT, KEEP, REPEAT, Deduplicate, deduplicate
from transforms.marks import Marks
from transforms.park import Park

HOUR = 3_600_000_000


def marks(rows: list[tuple[int, int, int]]) -> Marks:
    columns = np.array(rows, np.int64).reshape(-1, 3)
    return Marks(columns[:, 0], columns[:, 1], columns[:, 2])


@pytest.mark.parametrize(("rows", "verdicts", "remark"), [
    ([], [], "nothing"),
    ([(1, 7, 0)], [KEEP], "one row"),
    ([(1, 7, 0), (1, 7, 0)], [KEEP, REPEAT], "same id, same content"),
    ([(1, 7, 0), (1, 8, 0)], [KEEP, CONFLICT], "same id, other content"),
    ([(1, 7, 0), (1, 8, 0), (1, 7, 0), (1, 8, 0)], [KEEP, CONFLICT, REPEAT, CONFLICT], "a refused copy is none to compare with"),
    ([(1, 7, 0), (2, 7, 0)], [KEEP, KEEP], "other id, same content"),
    ([(1, 7, 0), (1, 7, 2 * HOUR)], [KEEP, KEEP], "beyond the horizon"),
    ([(1, 7, 0), (1, 7, HOUR)], [KEEP, REPEAT], "exactly the horizon"),
    ([(1, 7, 3 * HOUR), (1, 7, 0)], [KEEP, KEEP], "the first in the input counts, not the earliest"),
    ([(1, 7, 0), (1, 8, 2 * HOUR), (1, 8, HOUR)], [KEEP, KEEP, REPEAT], "near two that are stored: the same content as one of them"),
])
def test_rule(rows: list[tuple[int, int, int]], verdicts: list[int], remark: str) -> None:
    assert deduplicate(marks(rows), timedelta(hours=1)).tolist() == verdicts, remark


def oracle(rows: list[tuple[int, int, int]], stored: list[tuple[int, int, int]], horizon: int) -> list[int]:
    kept = list(stored)
    answers = []
    for ident, content, time in rows:
        near = [c for i, c, t in kept if i == ident and abs(t - time) <= horizon]
        answers.append(REPEAT if content in near else CONFLICT if near else KEEP)
        if not near:
            kept.append((ident, content, time))
    return answers


a_row = st.tuples(st.integers(-3, 3), st.integers(0, 2), st.integers(0, 5))


@settings(max_examples=300, deadline=None)
@given(st.lists(a_row, max_size=30), st.lists(a_row, max_size=12))
def test_any_rows_any_stored(rows: list[tuple[int, int, int]], stored: list[tuple[int, int, int]]) -> None:
    stored.sort()
    got = deduplicate(marks(rows), timedelta(microseconds=2), marks(stored)).tolist()
    assert got == oracle(rows, stored, 2)


def block(key: str, rows: list[tuple[str, str, int, int]]) -> tuple[str, pa.RecordBatch]:
    """(id, text, id hash, content hash) rows as Decode hands them on."""
    n = len(rows)
    day = date(2026, 3, 4)
    ids, texts, id_hashes, contents = (list(c) for c in zip(*rows))
    return key, pa.RecordBatch.from_arrays(
        [pa.array(ids), pa.array([0] * n, pa.timestamp("us", "UTC")), pa.array(texts), pa.array([f"{key}:{i}" for i in range(n)]),
         pa.array([day] * n), pa.array(id_hashes, pa.int64()), pa.array(contents, pa.int64())],
        ["id", "at", "text", "origin", "d", "id_hash", "content_hash"])


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("in_files", [True, False])
def test_transform(tmp_path, shards: int, in_files: bool) -> None:
    contract = plain_contract()
    blocks = [block("000000-2", [("a", "x", 1, 1), ("b", "y", -2, 2)]), block("000000-1", [("a", "x", 1, 1), ("b", "z", -2, 3), ("c", "q", 5, 5)])]
    park = Park(str(tmp_path) if in_files else None)
    with beam.Pipeline("FnApiRunner") as pipeline:
        out = pipeline | beam.Create(blocks, reshuffle=False) | Deduplicate(contract, park, shards=shards)
        stored = out.events | beam.FlatMap(lambda b: b["origin"].to_pylist()).with_output_types(str)
        assert_that(stored, equal_to(["000000-1:0", "000000-1:1", "000000-1:2"]), "the first in the order of the input is kept")
        assert_that(out.tally | beam.Map(lambda t: tuple(t)), equal_to([("repeated", "", 1)]), "repeated")
        conflicts = out.refused | "rows" >> beam.FlatMap(lambda b: b.to_pylist()).with_output_types(dict)
        assert_that(conflicts | beam.Map(lambda r: (r["stage"], r["reason"], r["field"], r["origin"], r["row"])).with_output_types(tuple),
                    equal_to([("deduplicate", "conflict", "id", "000000-2:1", b'{"id":"b","at":"1970-01-01T00:00:00+00:00","text":"y"}')]), "conflict")
    content = b"".join(p.read_bytes() for p in tmp_path.glob("*"))
    assert in_files == bool(content)
    assert b"id_hash" not in content, "what waits in files is encrypted"
