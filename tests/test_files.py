"""Reading files: every row once, whatever the file is like."""

import gzip
import io
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.broken import KEPT, Broken
from pipelines.sources.csv_blocks import csv_blocks
from pipelines.sources.files import InputFile, ReadFiles, listed, ranges, read
from pipelines.sources.lines import MOST_LINES, Lines, first_line, range_chunks, whole_lines
from schemas.errors import Misconfigured, Reason
from tests.reading import TEXT, parts
from transforms.fates import READ
from transforms.formats.block import Block
from transforms.ledger import Tally

# Which files

def test_listed(tmp_path: Path) -> None:
    for name, content in (("b.ndjson", TEXT), ("a.csv.gz", gzip.compress(b"id\n")), ("sub.JSONL", b""), ("c", b' {"a":1}\n'),
                          ("d", b"Obj\x01"), ("e", gzip.compress(b'{"a"')), ("x,y.csv", b"")):
        (tmp_path / name).write_bytes(content)
    files = listed(f"{tmp_path}/*.ndjson, {tmp_path}/b.ndjson,{tmp_path}/a*,{tmp_path}/?,{tmp_path}/sub.*")
    assert [(Path(f.path).name, f.size, f.index, f.format) for f in files] == [
        ("a.csv.gz", 23, 0, "csv.gz"), ("b.ndjson", len(TEXT), 1, "ndjson"), ("c", 9, 2, "ndjson"), ("d", 4, 3, "avro"),
        ("e", 24, 4, "ndjson.gz"), ("sub.JSONL", 0, 5, "ndjson")]


def test_listed_tells_every_fault(tmp_path: Path) -> None:
    for name in ("a.txt", "b.avro.gz", "c.parquet.gz", "_SUCCESS"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(Misconfigured) as raised:
        listed(f"{tmp_path}/*,{tmp_path}/none*,nowhere://x/*")
    problems = [(f.where, f.problem.removeprefix(f"{tmp_path}/")) for f in raised.value.faults]
    assert problems == [("--input", "none* matches no file"), ("--input", "nowhere://x/* cannot be listed"), ("--input", "_SUCCESS has no known format"),
                        ("--input", "a.txt has no known format"), ("--input", "b.avro.gz has no known format"), ("--input", "c.parquet.gz has no known format")]
    with pytest.raises(Misconfigured):
        listed(" , ")


def test_ranges() -> None:
    files = [InputFile("a", 250, 0, "ndjson"), InputFile("b", 250, 1, "csv"), InputFile("c", 0, 2, "ndjson"), InputFile("d", 0, 3, "avro")]
    assert [(r.path, r.start, r.stop) for r in ranges(files, 100)] == [
        ("a", 0, 100), ("a", 100, 200), ("a", 200, 250), ("b", 0, 250), ("c", 0, 0), ("d", 0, 0)]


# Lines

@given(st.lists(st.sampled_from([b"", b"x", b"{}\r", b"ab" * 9]), max_size=20), st.booleans(), st.integers(1, 40), st.integers(1, 30), st.booleans())
def test_lines_over_any_ranges(lines: list[bytes], ends: bool, size: int, block: int, bom: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if ends and lines else b"")
    data = (b"\xef\xbb\xbf" if bom else b"") + data
    file = io.BytesIO(data)
    found: list[tuple[int, bytes, int]] = []
    for start in range(0, max(len(data), 1), size):
        first = first_line(file, start, stop := min(start + size, len(data)))
        found += [] if first is None else whole_lines(range_chunks(file, first, stop), first, block)
    text = data[3:] if bom else data
    assert b"".join(d for _, d, _ in found) == text
    assert sum(n for _, _, n in found) == len([x for x in text.split(b"\n")[:-1]]) + (not text.endswith(b"\n") and bool(text))
    assert all(data[at:at + len(d)] == d and d.count(b"\n") + (not d.endswith(b"\n")) == n for at, d, n in found)


def test_a_file_that_is_shorter_than_listed(tmp_path: Path) -> None:
    path = tmp_path / "x.ndjson"
    path.write_bytes(TEXT)
    pieces = ranges(listed(str(path)), 5000)
    path.write_bytes(TEXT[:7002])
    found = [list(read(piece)) for piece in pieces]
    assert [sum(p.rows for p in part if isinstance(p, Block)) for part in found][2:] == [0] * (len(pieces) - 2)
    assert [p.reason for part in found for p in part if isinstance(p, Broken)] == [Reason.TRUNCATED]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        list(read(pieces[0]))


def test_long_lines_are_cut_and_offsets_stay_right() -> None:
    long = b"x" * (KEPT + 3_000_000)
    data = b"a\n" + long + b"\nb\n" + long[:KEPT] + b"\nc"
    found = list(whole_lines((data[i:i + 300_000] for i in range(0, len(data), 300_000)), 0, 1 << 30))
    assert [(at, len(d), n) for at, d, n in found] == [
        (0, 2, 1), (2, KEPT + 2, 1), (2 + len(long) + 1, 2 + KEPT + 1, 2), (len(data) - 1, 1, 1)]
    assert found[2].data == b"b\n" + long[:KEPT] + b"\n" and found[3].data == b"c"
    assert [len(d) for _, d, _ in whole_lines([long[:9_000_000]] * 3, 0, 1)] == [KEPT + 1]


def test_a_file_of_newlines_makes_small_blocks() -> None:
    found = list(whole_lines([b"\n" * 1_000_000], 0, 1 << 30))
    assert sum(n for _, _, n in found) == 1_000_000 and max(n for _, _, n in found) <= 2 * MOST_LINES


# CSV

def test_csv_blocks(tmp_path: Path) -> None:
    body = b"".join(b'%d,"a\nb"\n' % i if i % 7 == 0 else b'%d,x"y\n' % i if i % 11 == 0 else b"%d,z\n" % i for i in range(1000))
    for block_bytes in (1, 10, 1 << 20):
        blocks, broken = parts(tmp_path / "x.csv", b"\xef\xbb\xbfid,text\n" + body, block_bytes)
        assert sum(b.rows for b in blocks) == 1000 and broken == []
        assert b"".join(b.data for b in blocks) == body and {b.head for b in blocks} == {b"id,text\n"}
        assert [b.start for b in blocks] == [11 + sum(len(c.data) for c in blocks[:i]) for i in range(len(blocks))]


@pytest.mark.parametrize(("content", "rows", "broken"), [
    (b"", 0, []), (b"id,n", 0, []), (b"id,n\n", 0, []), (b"id,n\na,1", 1, []), (b'id,n\n"a,1\nb,2\n', 2, []), (b"\n" * 5, 4, []),
    (b"x" * 70_000 + b"\n1\n", 0, [Reason.MALFORMED]), (b"id,n\r", 0, []), (b"id,n\ra,1\rb,2\r", 0, [Reason.MALFORMED]), (b"id,n\r\na,1\r\n", 1, [])])
def test_csv_edges(tmp_path: Path, content: bytes, rows: int, broken: list[Reason]) -> None:
    blocks, cut = parts(tmp_path / "x.csv", content)
    assert (sum(b.rows for b in blocks), [c.reason for c in cut]) == (rows, broken)


def test_csv_keeps_an_open_record_over_blocks_but_not_for_ever() -> None:
    lines = [Lines(0, b'id,n\n"open\n', 2), Lines(11, b'still open",1\nb,2\n', 2)]
    assert [(b.start, b.rows) for b in csv_blocks(iter(lines), "p", 0)] == [(5, 2)]
    many = [Lines(0, b'id,n\n"open\n', 2)] + [Lines(11 + i * 1_000_000, b"b,2\n" * 250_000, 250_000) for i in range(12)]
    assert sum(b.rows for b in csv_blocks(iter(many), "p", 0)) == 1 + 3_000_000


# The transform

def test_read_files(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(TEXT)
    (tmp_path / "b.ndjson.gz").write_bytes(gzip.compress(TEXT)[:-8])
    with beam.Pipeline(FnApiRunner()) as pipeline:
        found = pipeline | ReadFiles(listed(f"{tmp_path}/*"), 1000)
        assert_that(found.blocks | "B" >> beam.Map(lambda b: (b.index, b.start, b.rows)).with_output_types(tuple[int, int, int]),
                    equal_to([(0, 0, 1000), (1, 0, 1000)]), "blocks")
        assert_that(found.tally, equal_to([Tally(READ, "", 1000), Tally(READ, "", 1001)]), "tally")
        assert_that(found.refused | "R" >> beam.Map(lambda b: b.to_pylist()[0]).with_output_types(dict), equal_to([{
            "stage": "read", "reason": "truncated", "field": None, "origin": f"{tmp_path}/b.ndjson.gz:{len(TEXT)}", "attempt": 1, "d": None, "row": b""}]), "refused")
    with pytest.raises(ValueError, match="cut"):
        ReadFiles((), KEPT + 1)
