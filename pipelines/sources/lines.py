"""Bytes cut into blocks of whole lines, in bounded memory whatever the lines are like."""

from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from pipelines.sources.broken import KEPT, Unreadable
from schemas.errors import Reason

CHUNK = 1 << 20  # bytes of one read; far below KEPT, so that only the first line of a chunk can be too long
REST = 64 << 10  # bytes of one read for the rest of a line that the next range begins with
MOST_LINES = 100_000  # in one block: a file of nothing but newlines must not become millions of refusals at once
_NEWLINE = ord("\n")
BOM = b"\xef\xbb\xbf"


class Lines(NamedTuple):
    """Whole lines of a file. start: offset of the first; rows: newlines, and one if the last line has none."""

    start: int
    data: bytes
    rows: int


def first_line(file: BinaryIO, start: int, stop: int) -> int | None:
    """Offset of the first line that starts in [start, stop); None where none does.

    A byte order mark at the very start belongs to no line.
    """
    if start <= len(BOM):
        file.seek(0)
        first = len(BOM) if file.read(len(BOM)) == BOM else 0
        if start <= first:
            return first if first < stop else None
    at = start - 1
    file.seek(at)
    while at < stop - 1:
        chunk = file.read(min(CHUNK, stop - 1 - at))
        newline = chunk.find(b"\n")
        if newline >= 0:
            return at + newline + 1
        if not chunk:
            return None
        at += len(chunk)
    return None


def range_chunks(file: BinaryIO, begin: int, stop: int) -> Iterator[bytes]:
    """The bytes from `begin` to the end of the line that holds byte `stop - 1`.

    Raises Unreadable(TRUNCATED) where the file ends before `stop`: it was longer when it was listed.
    """
    file.seek(begin)
    at = begin
    last = b"\n"
    while at < stop:
        chunk = file.read(min(CHUNK, stop - at))
        if not chunk:
            raise Unreadable(Reason.TRUNCATED, at)
        at += len(chunk)
        last = chunk[-1:]
        yield chunk
    while last != b"\n":
        chunk = file.read(REST)
        if not chunk:
            return
        end = chunk.find(b"\n") + 1
        chunk = chunk[:end] if end else chunk
        last = chunk[-1:]
        yield chunk


def whole_lines(chunks: Iterable[bytes], start: int, block_bytes: int) -> Iterator[Lines]:
    """Cuts a stream of bytes that begins at offset `start` into blocks of about block_bytes.

    A line over KEPT bytes keeps its first KEPT + 1, so that it is still seen to be too long, and ends its block, so that the
    offsets of the lines after it can be counted from the block's start. Where the stream itself raises
    Unreadable, all whole lines come out before it, and it takes the cut line along.
    """
    block, size, first, count = list[bytes | bytearray | memoryview](), 0, start, 0
    held, lost = bytearray(), 0  # the last line so far, and how many of its bytes were thrown away
    try:
        for piece, newlines in _pieces(chunks):
            newline = piece.find(b"\n")
            if newline < 0:
                held += piece
            elif len(held) + lost + newline > KEPT:
                if count:
                    yield Lines(first, b"".join(block), count)
                at = first + size
                held += piece[:newline]
                yield Lines(at, bytes(held[:KEPT + 1]) + b"\n", 1)
                first = at + len(held) + lost + 1
                end = piece.rfind(b"\n") + 1
                block, size, count = [piece[newline + 1:end]], end - newline - 1, newlines - 1
                held, lost = bytearray(piece[end:]), 0
            else:
                end = piece.rfind(b"\n") + 1
                block += held, memoryview(piece)[:end]
                size += len(held) + end
                count += newlines
                held = bytearray(piece[end:])
            if len(held) > KEPT + 1:
                lost += len(held) - KEPT - 1
                del held[KEPT + 1:]
            if size >= block_bytes or count >= MOST_LINES:
                yield Lines(first, b"".join(block), count)
                block, size, first, count = [], 0, first + size, 0
    except Unreadable as cut:
        if count:
            yield Lines(first, b"".join(block), count)
        raise Unreadable(cut.reason, first + size, bytes(held[:KEPT])) from None
    if count:
        yield Lines(first, b"".join(block), count)
    if held:
        yield Lines(first + size, bytes(held), 1)


def _pieces(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """The chunks with their numbers of newlines, those that are dense with newlines in smaller pieces."""
    for chunk in chunks:
        newlines = _newlines(chunk)
        if newlines <= MOST_LINES:
            yield chunk, newlines
        else:
            pieces = (chunk[at:at + MOST_LINES] for at in range(0, len(chunk), MOST_LINES))
            yield from ((piece, _newlines(piece)) for piece in pieces)


def _newlines(piece: bytes) -> int:
    """Four times as fast as bytes.count."""
    return int(np.count_nonzero(np.frombuffer(piece, np.uint8) == _NEWLINE))
