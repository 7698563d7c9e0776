"""gzip (RFC 1952) unpacked as a stream: several members, lengths and checksums verified, bombs stopped.

`gzip.GzipFile` and Beam's own reader take a cut file for a whole one or raise and lose what was read; here the end of the
stream says how it ended.
"""

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from pipelines.sources.broken import Unreadable
from schemas.errors import Reason

_PACKED = 1 << 16  # bytes of one read
_UNPACKED = 1 << 20  # bytes of one chunk handed on
_ALLOWED = 64 << 20  # bytes that any file may unpack to
_RATIO = 100
_WITH_HEADER = 16 + zlib.MAX_WBITS


def too_much(packed: int, unpacked: int) -> bool:
    """True where so many bytes should not come out of so few: text packs by 3 to 20, a bomb by 1,000."""
    return unpacked > max(_ALLOWED, _RATIO * packed)


def unpacked_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yields the unpacked bytes. Raises Unreadable: TRUNCATED (ends inside a member, or is empty), MALFORMED (corrupt, a wrong
    checksum or length, garbage after a member), TOO_LARGE (unpacks to over 64 MiB and 100 times what was read of it).
    """
    member = zlib.decompressobj(_WITH_HEADER)
    packed = unpacked = 0
    whole = False  # a member has just ended: the file may end here
    waiting = b""
    while True:
        if not waiting:
            waiting = file.read(_PACKED)
            packed += len(waiting)
        if not waiting:
            if whole:
                return
            if rest := member.flush():
                yield rest
            raise Unreadable(Reason.TRUNCATED, unpacked + len(rest))
        if whole:
            waiting = waiting.lstrip(b"\0")  # padding of tapes and disks, which gzip allows
            if not waiting:
                continue
            member, whole = zlib.decompressobj(_WITH_HEADER), False
        before = member.copy()
        try:
            chunk = member.decompress(waiting, _UNPACKED)
        except zlib.error:
            chunk = _before_error(before, waiting)
            if chunk:
                yield chunk
            raise Unreadable(Reason.MALFORMED, unpacked + len(chunk)) from None
        waiting = member.unused_data if member.eof else member.unconsumed_tail
        whole = member.eof
        unpacked += len(chunk)
        if too_much(packed, unpacked):
            raise Unreadable(Reason.TOO_LARGE, unpacked)
        if chunk:
            yield chunk


def _before_error(member: "zlib._Decompress", packed: bytes) -> bytes:
    """What comes out before the error: zlib keeps nothing of a call that fails."""
    unpacked = bytearray()
    try:
        for byte in range(len(packed)):
            unpacked += member.decompress(packed[byte:byte + 1])
    except zlib.error:
        pass
    return bytes(unpacked)
