"""Mutated rows and files through the readers and Decode: the books must come out, nothing may crash, hang or eat the memory.

    python -m tests.fuzz --items=100000 [--seed=7]

An item is one mutated line of NDJSON (nine of ten) or one mutated file (CSV, gz, Avro, Parquet). Item N of a seed is always
the same one.
"""

import argparse
import gzip
import io
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.sources.broken import Broken
from pipelines.sources.files import Range, read
from pipelines.tools.census_lines import events
from schemas.contract import Contract, load
from transforms.columns import Typing
from transforms.decode import Digest, decode
from transforms.formats import avro, csv, parquet
from transforms.formats.block import Block

LINES = 90  # of 100 items; the other ten are files
_A_FILE = 60  # rows
_STRANGE = [b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r\n", b"\n", b"\0", b'"', b'""', b'"' * 101, b"\\ud800", b"\\u0000", b"NaN", b"-Infinity", b"1e999",
            b"9" * 400, b"-9223372036854775809", b"18446744073709551616", b"[" * 3000, b'{"a":' * 2000, b",", b",,,,", b"x" * 70_000, b"\x1f\x8b", b"Obj\x01", b"PAR1",
            b'"ssn":1,', b"null", b"\xff" * 10, b"\x80" * 12 + b"\x01", b"\x00" * 64]


def mutated(content: bytes, random: Random) -> bytes:
    """The content with one to three mutations."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        content = random.choice(MUTATIONS)(content, random)
    return content


def _flip(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8)) if content else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(content: bytes, random: Random) -> bytes:
    at = random.randint(0, len(content))
    return content[:at] if random.random() < 0.8 else content[at:]


def _insert(content: bytes, random: Random) -> bytes:
    at = random.randint(0, len(content))
    return content[:at] + random.randbytes(random.randint(1, 12)) + content[at:]


def _strange(content: bytes, random: Random) -> bytes:
    at, over = random.randint(0, len(content)), random.choice((0, 0, 1, 8))
    return content[:at] + random.choice(_STRANGE) + content[at + over:]


def _doubled(content: bytes, random: Random) -> bytes:
    begin = random.randint(0, len(content))
    return content[:begin + random.randint(0, 200)] + content[begin:]


def _swapped(content: bytes, random: Random) -> bytes:
    a, b, c = sorted(random.randint(0, len(content)) for _ in range(3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def _storm(content: bytes, random: Random) -> bytes:
    old, new = random.choice(((b",", b'",'), (b":", b" :"), (b"\n", b"\r\n"), (b'"', b'""'), (b"a", b'"'), (b"e", b"\n"), (b"0", b"\xff"), (b"1", b"-")))
    return content.replace(old, new, random.choice((1, 5, -1)))


def _number(content: bytes, random: Random) -> bytes:
    """A length or a count somewhere becomes a huge one."""
    at = random.randint(0, len(content))
    huge = random.choice((300_000_000, 2**31 - 1, 2**63 - 1, 1, 0, 2**35)) << 1
    varint = b""
    while huge > 0x7F:
        varint, huge = varint + bytes([huge & 0x7F | 0x80]), huge >> 7
    return content[:at] + varint + bytes([huge]) + content[at + random.choice((0, 1, 2)):]


MUTATIONS: list[Callable[[bytes, Random], bytes]] = [_flip, _cut, _insert, _strange, _doubled, _swapped, _storm, _number]


class Bases:
    """Sound rows of the census contract, and files of them in every format."""

    def __init__(self, contract: Contract, seed: int = 1) -> None:
        self.lines = [e.line for e in events(400, seed) if e.fate == "stored"]
        rows = [json.loads(line) for line in self.lines[:_A_FILE]]
        text = b"".join(line + b"\n" for line in self.lines[:_A_FILE])
        table = io.StringIO()
        names = [f.name for f in contract.fields]
        table.write(",".join(names) + "\n")
        for row in rows:
            table.write(",".join(_cell(row.get(name)) for name in names) + "\n")
        self.files = [("csv", table.getvalue().encode()), ("ndjson.gz", gzip.compress(text, mtime=0)), ("csv.gz", gzip.compress(table.getvalue().encode(), mtime=0)),
                      ("ndjson.gz", gzip.compress(text[:9000], mtime=0) + gzip.compress(text[9000:], mtime=0))]
        fields = [{"name": f.name, "type": ["null", {"int": "int", "long": "long"}.get(f.type, "string")]} for f in contract.fields]
        whole = [{name: row.get(name) for name in names} for row in rows]
        for codec in ("null", "deflate"):
            out = io.BytesIO()
            fastavro.writer(out, {"type": "record", "name": "Application", "fields": fields}, whole, codec=codec, sync_interval=6000, sync_marker=bytes(range(16)))
            self.files.append(("avro", out.getvalue()))
        for options in ({"compression": "none", "use_dictionary": False}, {"compression": "zstd"}, {"compression": "snappy", "row_group_size": 20, "data_page_version": "2.0"}):
            sink = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(whole), sink, **options)
            self.files.append(("parquet", sink.getvalue()))


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in '",\n') else text


class Books:
    """Reads one file as the job does and checks its books."""

    def __init__(self, contract: Contract, folder: Path) -> None:
        self.contract, self.path = contract, folder / "item"
        self.typing, self.digest = Typing(contract), Digest(contract, bytes(32))
        self.fates: Counter[str] = Counter()

    def check(self, kind: str, content: bytes) -> None:
        """Raises AssertionError where a row is lost or counted twice, and whatever the readers raise."""
        self.path.write_bytes(content)
        step = 20_000 if kind == "ndjson" else max(len(content), 1)
        rows = 0
        for start in range(0, max(len(content), 1), step):
            for part in read(Range(str(self.path), kind, 0, start, min(start + step, len(content))), 50_000):
                rows += 1 if isinstance(part, Broken) else part.rows
                self.fates.update([f"read: {part.reason}"] if isinstance(part, Broken) else [])
                if isinstance(part, Block):
                    self._decode(part)
        if kind == "ndjson":
            text = content.removeprefix(b"\xef\xbb\xbf")
            assert rows == text.count(b"\n") + (not text.endswith(b"\n") and bool(text)), "lines and rows differ"

    def _decode(self, block: Block) -> None:
        kept, refused = decode(block, self.contract, self.typing, self.digest)
        assert kept.num_rows + refused.num_rows == block.rows, f"{block.rows} rows became {kept.num_rows} and {refused.num_rows} refused"
        if block.format != "ndjson":
            parse = {"csv": csv.parse, "avro": avro.parse, "parquet": parquet.parse}[block.format]
            for rows in parse(block, self.contract.fields, self.contract.max_row_bytes):
                assert len(rows.rows) == len(rows.offsets)
                assert all(isinstance(rows.raw(i), bytes) for i in range(len(rows.rows)))
        self.fates["stored"] += kept.num_rows
        self.fates.update(refused["reason"].to_pylist())


def items(bases: Bases, first: int, count: int, seed: int) -> Iterator[tuple[int, str, list[bytes]]]:
    """(number, kind, its lines or its one file); numbers from `first` on, a hundred items at a time."""
    for hundred in range(first, first + count, 100):
        random = Random(f"{seed}/{hundred}")
        size = min(100, first + count - hundred)
        lines = [mutated(random.choice(bases.lines), random) for _ in range(size * LINES // 100)]
        for at in range(0, len(lines), 30):
            yield hundred + at, "ndjson", lines[at:at + 30]
        for file in range(size - len(lines)):
            kind, content = random.choice(bases.files)
            yield hundred + len(lines) + file, kind, [mutated(content, random)]


def run(count: int, seed: int, folder: Path, seconds: float | None = None) -> Counter[str]:
    """Runs the items; seconds: how long one may take, None for any time. Answers rows by fate. Raises AssertionError with the
    number of the item that failed."""
    contract = load("census")
    bases, books = Bases(contract), Books(contract, folder)
    slowest = (0.0, 0)
    for number, kind, parts in items(bases, 0, count, seed):
        begun = time.perf_counter()
        try:
            books.check(kind, b"\n".join(parts))
        except Exception as fault:  # whatever it is, it is a find: told with the number of its item
            raise AssertionError(f"item {number} ({kind}, seed {seed}): {type(fault).__name__}: {fault}") from fault
        slowest = max(slowest, (time.perf_counter() - begun, number))
        assert seconds is None or slowest[0] < seconds, f"item {slowest[1]} took {slowest[0]:.2f} s"
        if seconds is not None and sys.stderr.isatty() and number % 1000 == 0:
            print(f"\r{number:,}", end="", file=sys.stderr)
    books.fates["slowest item, ms"] = round(1000 * slowest[0])
    return books.fates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fates = run(options.items, options.seed, Path(folder), seconds=1.0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1 << 20 if sys.platform == "darwin" else 1 << 10)
    print(f"{options.items:,} items, seed {options.seed}: books balanced; peak memory {peak} MB")
    print("\n".join(f"  {fate:24}{rows:>12,}" for fate, rows in sorted(fates.items())))
    if peak > 800:
        sys.exit("peak memory is over 800 MB")


if __name__ == "__main__":
    main()
