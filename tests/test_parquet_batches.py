"""Parquet files: blocks, damage, and what their headers declare."""

import io
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.sources.parquet_pages import declared, largest_page
from pipelines.sources.thrift import read_struct
from schemas.errors import Reason
from tests.reading import parts, rows_of


def _parquet(rows: int = 60_000, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"id": [f"row {i}" for i in range(rows)], "n": range(rows), "kind": ["a", "b", None] * (rows // 3)}), out, **options)
    return out.getvalue()


def test_parquet_blocks(tmp_path: Path) -> None:
    blocks, broken = parts(tmp_path / "x.parquet", _parquet(row_group_size=20_000))
    rows, refused = rows_of(blocks)
    assert broken == [] and refused == 0 and rows == [{"id": f"row {i}", "n": i, "kind": ("a", "b", None)[i % 3]} for i in range(60_000)]
    assert [b.start for b in blocks] == [sum(c.rows for c in blocks[:i]) for i in range(len(blocks))] and len(blocks) >= 3


@pytest.mark.parametrize("groups", [1, 0])
def test_parquet_without_rows_is_read_as_such(tmp_path: Path, groups: int) -> None:
    """Of a group without rows Arrow writes dictionary pages and no data page, whose offset is 0 then."""
    out, nothing = io.BytesIO(), pa.table({"id": pa.array([], pa.string()), "n": pa.array([], pa.int64()), "flag": pa.array([], pa.bool_())})
    with pq.ParquetWriter(out, nothing.schema) as writer:
        for _ in range(groups):
            writer.write_table(nothing)
    assert pq.read_metadata(out).num_row_groups == groups
    assert parts(tmp_path / "x.parquet", out.getvalue()) == ([], [])


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_parquet_strings_as_differences(tmp_path: Path, encoding: str) -> None:
    """Arrow reads no dictionary out of them; written out, each may be as long as its page, so few rows are read at once."""
    words = ["x" * 100_000 + str(i % 3) for i in range(400)]
    out = io.BytesIO()
    pq.write_table(pa.table({"id": words, "n": range(400)}), out, use_dictionary=False, column_encoding={"id": encoding}, compression="zstd")
    blocks, broken = parts(tmp_path / "x.parquet", out.getvalue())
    rows, refused = rows_of(blocks)
    assert broken == [] and refused == 0 and [(row["id"], row["n"]) for row in rows] == list(zip(words, range(400)))
    assert max(b.rows for b in blocks) < 400


def test_parquet_cut_damaged_or_nested(tmp_path: Path) -> None:
    content = _parquet(30_000, row_group_size=10_000, compression="snappy")
    for at in (0, 5, 1000, len(content) - 1):
        assert [b.reason for b in parts(tmp_path / "x.parquet", content[:at])[1]] == [Reason.TRUNCATED]
    assert [b.reason for b in parts(tmp_path / "x.parquet", b"not Parquet at all")[1]] == [Reason.MALFORMED]
    footer = content[:-8] + (10**6).to_bytes(4, "little") + b"PAR1"
    assert [b.reason for b in parts(tmp_path / "x.parquet", footer)[1]] == [Reason.MALFORMED]
    damaged = content[:len(content) // 2] + Random(7).randbytes(5000) + content[len(content) // 2 + 5000:]
    blocks, (broken,) = parts(tmp_path / "x.parquet", damaged)
    assert broken.reason is Reason.MALFORMED
    out = io.BytesIO()
    pq.write_table(pa.table({"a": [[1], [2]]}), out)
    assert [b.reason for b in parts(tmp_path / "x.parquet", out.getvalue())[1]] == [Reason.MALFORMED]


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
