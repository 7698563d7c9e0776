"""Packed files: whole, cut, damaged, and bombs in every format."""

import gzip
import io
import random
import subprocess
import sys
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.sources.avro_blocks import avro_blocks
from pipelines.sources.broken import Unreadable
from pipelines.sources.gzip import unpacked_chunks
from schemas.errors import Reason
from tests.reading import TEXT, parts


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
    blocks, cut = parts(tmp_path / "x.ndjson.gz", content)
    assert sum(b.rows for b in blocks) == rows and b"".join(b.data for b in blocks) == TEXT[:len(TEXT) if rows else 0]
    assert [(c.reason, c.start) for c in cut] == broken


def test_gz_cut_in_half(tmp_path: Path) -> None:
    lines = [b"%032x" % random.Random(i).getrandbits(128) for i in range(20_000)]
    content = gzip.compress(b"\n".join(lines) + b"\n")
    blocks, (cut,) = parts(tmp_path / "x.jsonl.gz", content[:len(content) // 2])
    read_lines = b"".join(b.data for b in blocks).splitlines()
    assert 9_000 < len(read_lines) < 11_000 and read_lines == lines[:len(read_lines)] and sum(b.rows for b in blocks) == len(read_lines)
    assert cut.reason is Reason.TRUNCATED and cut.start == 33 * len(read_lines) and lines[len(read_lines)].startswith(cut.raw)


def test_gz_damaged_in_its_middle_keeps_what_came_before(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(TEXT))
    packed[len(packed) // 2] ^= 0xFF
    blocks, cut = parts(tmp_path / "x.ndjson.gz", bytes(packed))
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


def test_unreadable_carries_no_bytes_in_its_text() -> None:
    with pytest.raises(Unreadable) as raised:
        list(unpacked_chunks(io.BytesIO(b"secret")))  # type: ignore[arg-type]
    assert str(raised.value) == "malformed"
    with pytest.raises(Unreadable) as raised:
        list(avro_blocks(io.BufferedReader(io.BytesIO(b"secret")), "p", 0, 1))  # type: ignore[arg-type]
    assert str(raised.value) == "malformed" and raised.value.raw == b"secret"
