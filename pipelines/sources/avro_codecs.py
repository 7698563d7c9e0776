"""The codecs of Avro container files, unpacked with a limit. All come with Python and pyarrow."""

import bz2
import io
import lzma
import zlib
from typing import BinaryIO

import pyarrow as pa

LARGEST = 64 << 20  # bytes of a block, packed and unpacked
_LONGEST_NUMBER = 10  # bytes of 64 bits at seven a byte


class Undecodable(Exception):
    """The bytes are not what the codec makes, or the codec is none that Avro's specification names."""


class Overfull(Exception):
    """The block unpacks to more than LARGEST."""


def unpack(packed: bytes, codec: bytes) -> bytes:
    """The datums of a block. Raises Undecodable, Overfull. Never makes more than LARGEST + 1 bytes."""
    try:
        data = _unpack(packed, codec)
    except (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException):
        raise Undecodable from None
    if len(data) > LARGEST:
        raise Overfull
    return data


def unsigned(file: BinaryIO) -> int:
    """A number in base 128, lowest bits first. Raises EOFError, ValueError where it is over 64 bits."""
    value = 0
    for position in range(_LONGEST_NUMBER):
        byte = file.read(1)
        if not byte:
            raise EOFError
        value |= (byte[0] & 0x7F) << (7 * position)
        if byte[0] < 0x80:
            if value >> 64:
                break
            return value
    raise ValueError("over 64 bits")


def _unpack(packed: bytes, codec: bytes) -> bytes:
    if codec == b"null":
        return packed
    if codec == b"deflate":
        return _whole(zlib.decompressobj(-zlib.MAX_WBITS), packed)
    if codec == b"bzip2":
        return _whole(bz2.BZ2Decompressor(), packed)
    if codec == b"xz":
        return _whole(lzma.LZMADecompressor(memlimit=2 * LARGEST), packed)
    if codec == b"zstandard":
        with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
            unpacked: bytes = stream.read(LARGEST + 1)
        return unpacked
    if codec == b"snappy":
        return _snappy(packed)
    raise ValueError("codec")


def _whole(block: "zlib._Decompress | bz2.BZ2Decompressor | lzma.LZMADecompressor", packed: bytes) -> bytes:
    data = block.decompress(packed, LARGEST + 1)
    if not block.eof and len(data) <= LARGEST:
        raise EOFError
    return data


def _snappy(packed: bytes) -> bytes:
    """The length stands in front; a CRC-32 of the datums, which Avro adds, at the end."""
    length = unsigned(io.BytesIO(packed))
    if length > LARGEST:
        raise Overfull
    data: bytes = pa.Codec("snappy").decompress(packed[:-4], decompressed_size=length, asbytes=True)
    if zlib.crc32(data).to_bytes(4, "big") != packed[-4:]:
        raise ValueError("checksum")
    return data
