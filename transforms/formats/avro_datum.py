"""An Avro object container file (specification 1.11) that holds one row: a message may be one, and then brings its schema."""

import zlib
from io import BytesIO

MAGIC = b"Obj\x01"
_SYNC = 16  # bytes
_LONGEST_SCHEMA = 1 << 20
_MOST_ENTRIES = 100  # of metadata: writers make two to five
_LONGEST_NUMBER = 70  # bits: ten bytes of seven


class Overfull(Exception):
    """The datum, or the schema, is longer than it may be."""


def only_datum(data: bytes, limit: int) -> tuple[bytes, bytes]:
    """(schema as JSON, the datum) of a container file in memory. Nothing is unpacked beyond `limit` bytes.

    The codecs are null and deflate, which the specification asks of every reader. Raises ValueError where the file is not
    whole, or holds another number of rows than one; Overfull.
    """
    stream = BytesIO(data)
    _exactly(stream, len(MAGIC))
    metadata: dict[bytes, bytes] = {}
    parts = 0
    while (count := _number(stream)) and (parts := parts + 1) <= _MOST_ENTRIES:
        if count < 0:  # then the size of this part in bytes follows
            count = -count
            _number(stream)
        if len(metadata) + count > _MOST_ENTRIES:
            raise ValueError("metadata")
        for _ in range(count):
            name = _exactly(stream, _number(stream))
            metadata[name] = _exactly(stream, _number(stream))
    schema = metadata.get(b"avro.schema", b"")
    if len(schema) > _LONGEST_SCHEMA:
        raise Overfull
    sync = _exactly(stream, _SYNC)
    rows = _number(stream)
    packed = _exactly(stream, _number(stream))
    if rows != 1 or stream.read() != sync:
        raise ValueError("not one row")
    return schema, _unpacked(packed, metadata.get(b"avro.codec", b"null"), limit)


def _unpacked(packed: bytes, codec: bytes, limit: int) -> bytes:
    if codec == b"null":
        if len(packed) > limit:
            raise Overfull
        return packed
    if codec != b"deflate":
        raise ValueError("codec")
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        datum = inflate.decompress(packed, limit + 1)
    except zlib.error:
        raise ValueError("deflate") from None
    if len(datum) > limit:
        raise Overfull
    if not inflate.eof:  # what follows is not looked at: fastavro leaves bytes of its checksum there
        raise ValueError("deflate")
    return datum


def _number(stream: BytesIO) -> int:
    """A zigzag number in base 128, lowest bits first."""
    value = 0
    for shift in range(0, _LONGEST_NUMBER, 7):
        byte = _exactly(stream, 1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value >> 1 ^ -(value & 1)
    raise ValueError("number")


def _exactly(stream: BytesIO, size: int) -> bytes:
    if not 0 <= size < 1 << 31:
        raise ValueError("size")
    found = stream.read(size)
    if len(found) < size:
        raise ValueError("cut")
    return found
