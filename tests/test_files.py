"""Reading files: every row once, whatever the file is like."""

import gzip
import io
import os
import random
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import apache_beam as beam
import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.avro_blocks import avro_blocks
from pipelines.sources.broken import KEPT, Broken, Unreadable
from pipelines.sources.csv_blocks import csv_blocks
from pipelines.sources.files import InputFile, ReadFiles, listed, ranges, read
from pipelines.sources.gzip import unpacked_chunks
from pipelines.sources.lines import MOST_LINES, Lines, first_line, range_chunks, whole_lines
from pipelines.sources.parquet_pages import declared, largest_page
from pipelines.sources.thrift import read_struct
from schemas.errors import Misconfigured, Reason
from transforms.formats import avro, parquet
from transforms.formats.block import Block
from transforms.ledger import READ, Tally

LINES = [b'{"a":%d}' % i for i in range(1000)]
TEXT = b"".join(line + b"\n" for line in LINES)


def _parts(path: Path, content: bytes, block_bytes: int = 1 << 20) -> tuple[list[Block], list[Broken]]:
    path.write_bytes(content)
    found = [part for piece in ranges(listed(str(path))) for part in read(piece, block_bytes)]
    return [p for p in found if isinstance(p, Block)], [p for p in found if isinstance(p, Broken)]


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


# gzip

def _gz_cases() -> list[tuple[str, bytes, int, list[tuple[Reason, int]]]]:
    whole = gzip.compress(TEXT, mtime=0)
    flipped = bytearray(whole)
    flipped[-5] ^= 1
    return [
        ("whole", whole, 1000, []),
        ("two members", gzip.compress(TEXT[:5000]) + gzip.compress(TEXT[5000:]), 1000, []),
        ("zero padding", whole + b"\0" * 100, 1000, []),
        ("without its trailer", whole[:-8], 1000, [(Reason.TRUNCATED, len(TEXT))]),
        ("trailer cut", whole[:-1], 1000, [(Reason.TRUNCATED, len(TEXT))]),
        ("second member cut", whole + whole[:20], 1000, [(Reason.TRUNCATED, len(TEXT))]),
        ("wrong checksum", bytes(flipped), 1000, [(Reason.MALFORMED, len(TEXT))]),
        ("wrong length", whole[:-4] + b"\1\0\0\0", 1000, [(Reason.MALFORMED, len(TEXT))]),
        ("garbage behind", whole + b"garbage", 1000, [(Reason.MALFORMED, len(TEXT))]),
        ("no gzip", b"plain text", 0, [(Reason.MALFORMED, 0)]),
        ("empty", b"", 0, [(Reason.TRUNCATED, 0)]),
        ("nothing in it", gzip.compress(b""), 0, []),
    ]


@pytest.mark.parametrize(("content", "rows", "broken"), [c[1:] for c in _gz_cases()], ids=[c[0] for c in _gz_cases()])
def test_gz(tmp_path: Path, content: bytes, rows: int, broken: list[tuple[Reason, int]]) -> None:
    blocks, cut = _parts(tmp_path / "x.ndjson.gz", content)
    assert sum(b.rows for b in blocks) == rows and b"".join(b.data for b in blocks) == TEXT[:len(TEXT) if rows else 0]
    assert [(c.reason, c.start) for c in cut] == broken


def test_gz_cut_in_half(tmp_path: Path) -> None:
    lines = [b"%032x" % random.Random(i).getrandbits(128) for i in range(20_000)]
    content = gzip.compress(b"\n".join(lines) + b"\n")
    blocks, (cut,) = _parts(tmp_path / "x.jsonl.gz", content[:len(content) // 2])
    read_lines = b"".join(b.data for b in blocks).splitlines()
    assert 9_000 < len(read_lines) < 11_000 and read_lines == lines[:len(read_lines)] and sum(b.rows for b in blocks) == len(read_lines)
    assert cut.reason is Reason.TRUNCATED and cut.start == 33 * len(read_lines) and lines[len(read_lines)].startswith(cut.raw)


def test_gz_damaged_in_its_middle_keeps_what_came_before(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(TEXT))
    packed[len(packed) // 2] ^= 0xFF
    blocks, cut = _parts(tmp_path / "x.ndjson.gz", bytes(packed))
    assert len(cut) == 1 and cut[0].reason is Reason.MALFORMED
    assert sum(b.rows for b in blocks) > 100


_BOMB = """
import sys
from pathlib import Path
from pipelines.sources.files import Broken, listed, ranges, read
from transforms.formats import avro, csv, ndjson, parquet
parse = {"csv": csv.parse, "avro": avro.parse, "parquet": parquet.parse, "ndjson": lambda block, _: ndjson.parse(block, 1000)}
rows = 0
for piece in ranges(listed(sys.argv[1])):
    for part in read(piece):
        if isinstance(part, Broken):
            rows += 1
            print(part.reason)
        else:
            rows += part.rows
            for chunk in parse[part.format](part, ()):
                rows -= len(chunk.rows) + len(chunk.refused)
# The peak of this program alone: getrusage would tell that of the process which started it, if that was larger.
print(rows, Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def _gz_bomb(path: Path, text: bytes) -> None:
    """10 GB packed in about 10 MB, made from one member of 100 MB, repeated."""
    member = gzip.compress(text * (100_000_000 // len(text)), 9)
    path.write_bytes(member * 100)


def _avro_bomb(path: Path) -> None:
    out = io.BytesIO()
    fastavro.writer(out, {"type": "record", "name": "r", "fields": [{"name": "s", "type": "bytes"}]}, [{"s": bytes(80 << 20)}], codec="deflate")
    path.write_bytes(out.getvalue())


def _parquet_bomb(path: Path) -> None:
    table = pa.table({"s": pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), ["x" * 5_000_000])})
    pq.write_table(table, path, compression="zstd")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_bombs_are_refused_in_little_memory(tmp_path: Path) -> None:
    _gz_bomb(tmp_path / "a.ndjson.gz", bytes(1000))
    _gz_bomb(tmp_path / "b.csv.gz", b'"' + b"x" * 998 + b"\n")
    _avro_bomb(tmp_path / "c.avro")
    _parquet_bomb(tmp_path / "d.parquet")
    done = subprocess.run([sys.executable, "-c", _BOMB, f"{tmp_path}/*"], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    *reasons, last = done.stdout.split("\n")[:-1]
    units, kilobytes = map(int, last.split())
    assert reasons == ["too_large"] * 4 and units == 4 and kilobytes < 512_000


# CSV

def test_csv_blocks(tmp_path: Path) -> None:
    body = b"".join(b'%d,"a\nb"\n' % i if i % 7 == 0 else b'%d,x"y\n' % i if i % 11 == 0 else b"%d,z\n" % i for i in range(1000))
    for block_bytes in (1, 10, 1 << 20):
        blocks, broken = _parts(tmp_path / "x.csv", b"\xef\xbb\xbfid,text\n" + body, block_bytes)
        assert sum(b.rows for b in blocks) == 1000 and broken == []
        assert b"".join(b.data for b in blocks) == body and {b.head for b in blocks} == {b"id,text\n"}
        assert [b.start for b in blocks] == [11 + sum(len(c.data) for c in blocks[:i]) for i in range(len(blocks))]


@pytest.mark.parametrize(("content", "rows", "broken"), [
    (b"", 0, []), (b"id,n", 0, []), (b"id,n\n", 0, []), (b"id,n\na,1", 1, []), (b'id,n\n"a,1\nb,2\n', 2, []), (b"\n" * 5, 4, []),
    (b"x" * 70_000 + b"\n1\n", 0, [Reason.MALFORMED])])
def test_csv_edges(tmp_path: Path, content: bytes, rows: int, broken: list[Reason]) -> None:
    blocks, cut = _parts(tmp_path / "x.csv", content)
    assert (sum(b.rows for b in blocks), [c.reason for c in cut]) == (rows, broken)


def test_csv_keeps_an_open_record_over_blocks_but_not_for_ever() -> None:
    lines = [Lines(0, b'id,n\n"open\n', 2), Lines(11, b'still open",1\nb,2\n', 2)]
    assert [(b.start, b.rows) for b in csv_blocks(iter(lines), "p", 0)] == [(5, 2)]
    many = [Lines(0, b'id,n\n"open\n', 2)] + [Lines(11 + i * 1_000_000, b"b,2\n" * 250_000, 250_000) for i in range(12)]
    assert sum(b.rows for b in csv_blocks(iter(many), "p", 0)) == 1 + 3_000_000


# Avro

SCHEMA = {"type": "record", "name": "r", "fields": [{"name": "id", "type": "string"}, {"name": "n", "type": ["null", "long"]}]}
RECORDS = [{"id": f"row {i}", "n": i} for i in range(5000)]


def _avro(codec: str = "null", records: list[Any] = RECORDS, schema: Any = SCHEMA, interval: int = 4000) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, schema, records, codec=codec, sync_interval=interval, sync_marker=b"0123456789abcdef")
    return out.getvalue()


def _rows(blocks: list[Block]) -> tuple[list[Any], int]:
    parse = avro.parse if blocks and blocks[0].format == "avro" else parquet.parse
    chunks = [c for b in blocks for c in parse(b, ())]
    assert sum(b.rows for b in blocks) == sum(len(c.rows) + len(c.refused) for c in chunks)
    return [r for c in chunks for r in c.rows], sum(len(c.refused) for c in chunks)


def _repacked(codec: bytes, pack: Any) -> bytes:
    """The null-codec file with its blocks packed by hand, for codecs that the writer may not have here."""
    plain = _avro()
    head = plain.index(b"0123456789abcdef") + 16
    out = plain[:head].replace(b"\x14avro.codec\x08null", b"\x14avro.codec" + _long(len(codec)) + codec)
    stream = io.BytesIO(plain[head:])
    while stream.tell() < len(plain) - head:
        count, data = fastavro.schemaless_reader(stream, "long", None), fastavro.schemaless_reader(stream, "bytes", None)
        packed = pack(data)
        out += _long(count) + _long(len(packed)) + packed + stream.read(16)
    return out


def _long(number: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", number)
    return out.getvalue()


@pytest.mark.parametrize("content", [
    _avro(), _avro("deflate"), _avro("bzip2"), _avro("xz"),
    _repacked(b"snappy", lambda d: pa.Codec("snappy").compress(d, asbytes=True) + struct.pack(">I", zlib.crc32(d))),
    _repacked(b"zstandard", lambda d: pa.Codec("zstd").compress(d, asbytes=True))], ids=["null", "deflate", "bzip2", "xz", "snappy", "zstandard"])
def test_avro_codecs(tmp_path: Path, content: bytes) -> None:
    blocks, broken = _parts(tmp_path / "x.avro", content, 10_000)
    assert broken == [] and _rows(blocks) == (RECORDS, 0) and len(blocks) > 3
    assert [b.start for b in blocks] == [sum(c.rows for c in blocks[:i]) for i in range(len(blocks))]


def test_avro_cut_anywhere_reads_the_blocks_before(tmp_path: Path) -> None:
    content = _avro("deflate")
    ends = [m.end() for m in re.finditer(b"0123456789abcdef", content)]
    for at in (0, 3, 10, ends[0] - 1, ends[0] + 1, ends[1] - 17, ends[1] - 1, ends[3] + 5, len(content) - 1):
        blocks, (broken,) = _parts(tmp_path / "x.avro", content[:at])
        rows, refused = _rows(blocks)
        assert broken.reason is Reason.TRUNCATED and refused == 0 and rows == RECORDS[:len(rows)]
        assert bool(rows) == (at > ends[1])
    assert _parts(tmp_path / "x.avro", content[:ends[2]])[1] == []  # between two blocks a cut cannot be seen: the format has no footer


def _with_count(count: int) -> bytes:
    content = _avro()
    head = content.index(b"0123456789abcdef") + 16
    stream = io.BytesIO(content[head:])
    fastavro.schemaless_reader(stream, "long", None)
    return content[:head] + _long(count) + content[head + stream.tell():]


@pytest.mark.parametrize(("content", "refused", "broken"), [
    (_with_count(300_000_000), 0, [Reason.MALFORMED]), (_with_count(-1), 0, [Reason.MALFORMED]), (_with_count(0), 0, [Reason.MALFORMED]),
    (_with_count(1), 1, []), (_with_count(1500), None, []),
    (_avro().replace(b"0123456789abcdef", b"0123456789abcdeg", 1), 0, [Reason.MALFORMED]),
    (_avro().replace(b"\x08null", b"\x08nuul", 1), 0, [Reason.MALFORMED] * 2), (b"not Avro at all", 0, [Reason.MALFORMED]),
    (_avro(records=[{"a": [1]}], schema={"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "array", "items": "int"}}]}), 0, [Reason.MALFORMED]),
    (b"Obj\x01" + _long(1) + _long(10**12), 0, [Reason.TRUNCATED]), (b"Obj\x01" + _long(-(2**63)) + _long(1), 0, [Reason.TRUNCATED]),
    (b"Obj\x01" + b"\xff" * 12, 0, [Reason.MALFORMED]),
], ids=range(12))
def test_avro_damage(tmp_path: Path, content: bytes, refused: int | None, broken: list[Reason]) -> None:
    blocks, cut = _parts(tmp_path / "x.avro", content)
    rows, found = _rows(blocks)
    assert [c.reason for c in cut][:2] == broken
    assert refused is None or found == refused


def test_avro_damage_in_one_block_leaves_the_others(tmp_path: Path) -> None:
    content = bytearray(_avro("deflate"))
    at = [m.end() for m in re.finditer(b"0123456789abcdef", bytes(content))][1]
    content[at + 10] ^= 0x55
    blocks, (broken,) = _parts(tmp_path / "x.avro", bytes(content))
    rows, _ = _rows(blocks)
    assert broken.reason is Reason.MALFORMED and 4000 < len(rows) < 5000 and rows[0] == RECORDS[0] and rows[-1] == RECORDS[-1]


# Parquet

def _parquet(rows: int = 60_000, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"id": [f"row {i}" for i in range(rows)], "n": range(rows), "kind": ["a", "b", None] * (rows // 3)}), out, **options)
    return out.getvalue()


def test_parquet_blocks(tmp_path: Path) -> None:
    blocks, broken = _parts(tmp_path / "x.parquet", _parquet(row_group_size=20_000))
    rows, refused = _rows(blocks)
    assert broken == [] and refused == 0 and rows == [{"id": f"row {i}", "n": i, "kind": ("a", "b", None)[i % 3]} for i in range(60_000)]
    assert [b.start for b in blocks] == [sum(c.rows for c in blocks[:i]) for i in range(len(blocks))] and len(blocks) >= 3


def test_parquet_cut_damaged_or_nested(tmp_path: Path) -> None:
    content = _parquet(30_000, row_group_size=10_000, compression="snappy")
    for at in (0, 5, 1000, len(content) - 1):
        assert [b.reason for b in _parts(tmp_path / "x.parquet", content[:at])[1]] == [Reason.TRUNCATED]
    assert [b.reason for b in _parts(tmp_path / "x.parquet", b"not Parquet at all")[1]] == [Reason.MALFORMED]
    footer = content[:-8] + (10**6).to_bytes(4, "little") + b"PAR1"
    assert [b.reason for b in _parts(tmp_path / "x.parquet", footer)[1]] == [Reason.MALFORMED]
    damaged = content[:len(content) // 2] + os.urandom(5000) + content[len(content) // 2 + 5000:]
    blocks, (broken,) = _parts(tmp_path / "x.parquet", damaged)
    assert broken.reason is Reason.MALFORMED
    out = io.BytesIO()
    pq.write_table(pa.table({"a": [[1], [2]]}), out)
    assert [b.reason for b in _parts(tmp_path / "x.parquet", out.getvalue())[1]] == [Reason.MALFORMED]


def test_parquet_page_that_unpacks_to_too_much_whatever_the_footer_says() -> None:
    out = io.BytesIO()
    pq.write_table(pa.table({"s": ["x" * 100_000_000]}), out, compression="zstd", use_dictionary=False, write_statistics=False)
    chunk = pq.read_metadata(out).row_group(0).column(0)
    found = largest_page(io.BytesIO(out.getvalue()), chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size)
    assert 100_000_000 <= found < 100_000_100
    for junk in (b"\x15" * 50, b"", b"\x00" * 9):
        with pytest.raises(ValueError, match="page|number|type"):
            largest_page(io.BytesIO(junk), 0, 50)  # type: ignore[arg-type]


def test_thrift_structs() -> None:
    assert read_struct(bytes([0x15, 0x03, 0x18, 0x01, 0x61, 0x11, 0x1C, 0x15, 0x02, 0x00, 0x19, 0x25, 0x02, 0x04, 0x00])) == (
        {1: -2, 2: b"a", 3: True, 4: {1: 1}, 5: [1, 2]}, 15)
    assert read_struct(b"\x05\x80\x01\x06\x00") == ({64: 3}, 5)  # a field id of its own
    for damaged, error in ((b"\x15", IndexError), (b"\x18\x7fab\x00", IndexError), (b"\x19\xf5\xff\xff\xff\xff\x0f", IndexError), (b"\x1c" * 99, ValueError),
                           (b"\x19\x19" * 99, ValueError), (b"\x1b\x00", ValueError), (b"\x15" + b"\xff" * 11, ValueError)):
        with pytest.raises(error):
            read_struct(damaged)


def test_footers() -> None:
    content = _parquet(30)
    footer = content[-8 - int.from_bytes(content[-8:-4], "little"):-8]
    found = declared(footer)
    assert found.rows == 30 and found.columns == ("id", "n", "kind") and len(found.chunks) == 3
    assert all(content[begin:end] for begin, end in found.chunks) and found.unpacked > 100
    for junk in (b"", b"\x00", footer[:50], b"\x15" * 40):
        with pytest.raises(ValueError):
            declared(junk)


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


def test_unreadable_carries_no_bytes_in_its_text() -> None:
    with pytest.raises(Unreadable) as raised:
        list(unpacked_chunks(io.BytesIO(b"secret")))  # type: ignore[arg-type]
    assert str(raised.value) == "malformed"
    with pytest.raises(Unreadable) as raised:
        list(avro_blocks(io.BufferedReader(io.BytesIO(b"secret")), "p", 0, 1))  # type: ignore[arg-type]
    assert str(raised.value) == "malformed" and raised.value.raw == b"secret"
