"""Avro object container files (specification 1.11) taken apart into blocks, with limits before anything is unpacked.

fastavro has no limits: a few bytes can declare 300,000,000 rows. Here the framing is read by hand and only datums of a known
count and size go to it. A file that ends between two blocks looks whole: the format has no footer.
"""

import io
import json
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from pipelines.sources.avro_codecs import LARGEST, Overfull, Undecodable, unpack, unsigned
from pipelines.sources.broken import KEPT, SEALED, Broken, Unreadable
from pipelines.sources.gzip import too_much
from schemas.errors import Reason
from transforms.formats.avro import FRAME
from transforms.formats.avro_schema import flat
from transforms.formats.block import Block

_MAGIC = b"Obj\x01"
_SYNC = 16  # bytes
_LONGEST_HEADER = 1 << 20
_MOST_ROWS = 250_000  # of a block: writers make blocks of 16 kB to some MB


class _Header(NamedTuple):
    schema: bytes
    codec: bytes
    sync: bytes
    size: int


def avro_blocks(file: io.BufferedReader, path: str, index: int, block_bytes: int) -> Iterator[Block | Broken]:
    """Blocks of about block_bytes; Block.data as transforms.formats.avro has it. A block that cannot be unpacked is Broken by
    itself; from damaged framing on the file is unreadable: raises Unreadable (TRUNCATED, MALFORMED, TOO_LARGE).
    """
    header = _header(file)
    shape = flat(header.schema)
    if shape is None:
        raise Unreadable(Reason.MALFORMED, 0, header.schema[:KEPT])
    fields = max(len(shape.schema["fields"]), 1)
    frames, rows, number = bytearray(), 0, 0
    packed_so_far, unpacked_so_far = header.size, 0

    def gathered() -> Iterator[Block]:
        if rows:
            yield Block(path, "avro", index, number - rows, rows, bytes(frames), header.schema)

    try:
        while (declared := _declared(file, number)) is not None:
            count, packed = declared
            packed_so_far += len(packed)
            sync = file.read(_SYNC)
            if sync != header.sync:
                raise Unreadable(Reason.MALFORMED if len(sync) == _SYNC else Reason.TRUNCATED, number, packed[:KEPT])
            data: bytes | None
            try:
                data = unpack(packed, header.codec)
            except Overfull:
                raise Unreadable(Reason.TOO_LARGE, number, packed[:KEPT]) from None
            except Undecodable:
                data = None
            if data is None or count * fields > len(data) or (data and not count):
                yield from gathered()
                yield Broken(path, index, number, Reason.MALFORMED, packed[:SEALED])
                number, frames, rows = number + 1, bytearray(), 0
                continue
            unpacked_so_far += len(data)
            if too_much(packed_so_far, unpacked_so_far) or count > _MOST_ROWS:
                raise Unreadable(Reason.TOO_LARGE, number, packed[:KEPT])
            frames += FRAME.pack(count, len(data)) + data
            rows, number = rows + count, number + count
            if len(frames) >= block_bytes or rows >= _MOST_ROWS:
                yield from gathered()
                frames, rows = bytearray(), 0
    except Unreadable:
        yield from gathered()
        raise
    yield from gathered()


def _header(file: io.BufferedReader) -> _Header:
    """Raises Unreadable where it is none, or longer than 1 MiB."""
    text = file.read(_LONGEST_HEADER)
    if text[:len(_MAGIC)] != _MAGIC:
        whole = len(text) >= len(_MAGIC) or not _MAGIC.startswith(text)
        raise Unreadable(Reason.MALFORMED if whole else Reason.TRUNCATED, 0, text[:KEPT])
    stream = io.BytesIO(text)
    stream.seek(len(_MAGIC))
    metadata: dict[bytes, bytes] = {}
    try:
        while count := _number(stream):
            if count < 0:  # then the size of this part in bytes follows
                count = -count
                _number(stream)
            for _ in range(count):
                name = _exactly(stream, _number(stream))
                metadata[name] = _exactly(stream, _number(stream))
        sync = _exactly(stream, _SYNC)
    except EOFError:
        raise Unreadable(Reason.TRUNCATED if len(text) < _LONGEST_HEADER else Reason.TOO_LARGE, 0, text) from None
    except ValueError:
        raise Unreadable(Reason.MALFORMED, 0, text) from None
    file.seek(stream.tell())
    return _Header(_normal(metadata.get(b"avro.schema", b"")), metadata.get(b"avro.codec", b"null"), sync, stream.tell())


def _normal(schema: bytes) -> bytes:
    """The schema without needless white space: it travels with every block."""
    try:
        return json.dumps(json.loads(schema), separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        return schema


def _declared(file: io.BufferedReader, number: int) -> tuple[int, bytes] | None:
    """(rows, packed bytes) of the next block; None at the end of the file."""
    try:
        if not file.peek(1):
            return None
        count, size = _number(file), _number(file)
    except EOFError:
        raise Unreadable(Reason.TRUNCATED, number) from None
    except ValueError:
        raise Unreadable(Reason.MALFORMED, number) from None
    if size < 0 or count < 0:
        raise Unreadable(Reason.MALFORMED, number)
    if size > LARGEST:
        raise Unreadable(Reason.TOO_LARGE, number)
    packed = file.read(size)
    if len(packed) < size:
        raise Unreadable(Reason.TRUNCATED, number, packed[:KEPT])
    return count, packed


def _number(file: BinaryIO) -> int:
    """A zigzag number. Raises EOFError or ValueError."""
    value = unsigned(file)
    return value >> 1 ^ -(value & 1)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    """Raises EOFError where there is less, ValueError for a negative size."""
    if size < 0:
        raise ValueError("size")
    found = stream.read(size)
    if len(found) < size:
        raise EOFError
    return found
