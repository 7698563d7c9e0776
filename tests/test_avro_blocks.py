"""Avro files taken apart: every codec, every kind of damage."""

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from schemas.errors import Reason
from tests.reading import parts, rows_of

SCHEMA = {"type": "record", "name": "r", "fields": [{"name": "id", "type": "string"}, {"name": "n", "type": ["null", "long"]}]}
RECORDS = [{"id": f"row {i}", "n": i} for i in range(5000)]


def _avro(codec: str = "null", records: list[Any] = RECORDS, schema: Any = SCHEMA, interval: int = 4000) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, schema, records, codec=codec, sync_interval=interval, sync_marker=b"0123456789abcdef")
    return out.getvalue()


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
    blocks, broken = parts(tmp_path / "x.avro", content, 10_000)
    assert broken == [] and rows_of(blocks) == (RECORDS, 0) and len(blocks) > 3
    assert [b.start for b in blocks] == [sum(c.rows for c in blocks[:i]) for i in range(len(blocks))]


def test_avro_cut_anywhere_reads_the_blocks_before(tmp_path: Path) -> None:
    content = _avro("deflate")
    ends = [m.end() for m in re.finditer(b"0123456789abcdef", content)]
    for at in (0, 3, 10, ends[0] - 1, ends[0] + 1, ends[1] - 17, ends[1] - 1, ends[3] + 5, len(content) - 1):
        blocks, (broken,) = parts(tmp_path / "x.avro", content[:at])
        rows, refused = rows_of(blocks)
        assert broken.reason is Reason.TRUNCATED and refused == 0 and rows == RECORDS[:len(rows)]
        assert bool(rows) == (at > ends[1])
    assert parts(tmp_path / "x.avro", content[:ends[2]])[1] == []  # between two blocks a cut cannot be seen: the format has no footer


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
    blocks, cut = parts(tmp_path / "x.avro", content)
    rows, found = rows_of(blocks)
    assert [c.reason for c in cut][:2] == broken
    assert refused is None or found == refused


def test_avro_damage_in_one_block_leaves_the_others(tmp_path: Path) -> None:
    content = bytearray(_avro("deflate"))
    at = [m.end() for m in re.finditer(b"0123456789abcdef", bytes(content))][1]
    content[at + 10] ^= 0x55
    blocks, (broken,) = parts(tmp_path / "x.avro", bytes(content))
    rows, _ = rows_of(blocks)
    assert broken.reason is Reason.MALFORMED and 4000 < len(rows) < 5000 and rows[0] == RECORDS[0] and rows[-1] == RECORDS[-1]
