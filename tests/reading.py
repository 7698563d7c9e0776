"""What tests of the readers share: read a file as the job does."""

from pathlib import Path
from typing import Any

from pipelines.sources.broken import Broken
from pipelines.sources.files import listed, ranges, read
from transforms.formats import avro, parquet
from transforms.formats.block import Block

TEXT = b"".join(b'{"a":%d}\n' % i for i in range(1000))


def parts(path: Path, content: bytes, block_bytes: int = 1 << 20) -> tuple[list[Block], list[Broken]]:
    """The blocks of a file of this content, and what is broken in it."""
    path.write_bytes(content)
    found = [part for piece in ranges(listed(str(path))) for part in read(piece, block_bytes)]
    return [p for p in found if isinstance(p, Block)], [p for p in found if isinstance(p, Broken)]


def rows_of(blocks: list[Block]) -> tuple[list[dict[str, Any]], int]:
    """The rows of Avro or Parquet blocks, and how many are refused; both together are what the blocks declare."""
    parse = avro.parse if blocks and blocks[0].format == "avro" else parquet.parse
    chunks = [c for b in blocks for c in parse(b, ())]
    assert sum(b.rows for b in blocks) == sum(len(c.rows) + len(c.refused) for c in chunks)
    return [r for c in chunks for r in c.rows], sum(len(c.refused) for c in chunks)
