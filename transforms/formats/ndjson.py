"""JSON lines: one JSON object (RFC 8259) a line, UTF-8. One bad line refuses one line."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from schemas.errors import Reason
from transforms.formats.block import Block, Rows

CHUNK = 1024  # rows: their dicts stay in the processor's cache until they are columns


def parse(block: Block, max_row_bytes: int) -> Iterator[Rows]:
    """Yields the block's rows in chunks; every line comes out, as a row or refused (malformed, too_large)."""
    lines = block.data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    sizes = np.fromiter(map(len, lines), np.int64, len(lines))
    ends = np.cumsum(sizes + 1)
    starts = ends - sizes - 1
    text = np.frombuffer(block.data, np.uint8)
    for first in range(0, len(lines), CHUNK):
        own = slice(first, first + CHUNK)
        begin = starts[first]
        keys = key_counts(text[begin:ends[own][-1]], ends[own] - begin)
        yield objects(lines[own], (starts[own] + block.start).tolist(), keys, max_row_bytes)


def key_counts(text: "np.typing.NDArray[np.uint8]", ends: "np.typing.NDArray[np.int64]") -> list[int]:
    """For each line of a text that ends at these places how often `":` stands in it, or -1 where any colon stands behind white space.

    Every key is followed by its colon, so as many `":` as keys means that no key stands twice; white space between the
    two could hide one, and is rare.
    """
    colons = text[1:] == ord(":")
    keys = np.flatnonzero(colons & (text[:-1] == ord('"')))
    counts = np.diff(np.searchsorted(keys, ends), prepend=0)
    spaced = np.flatnonzero(colons & (text[:-1] <= ord(" ")))
    counts[np.searchsorted(ends, spaced, "right")] = -1
    return counts.tolist()  # type: ignore[no-any-return]


def objects(lines: list[bytes], starts: list[int], keys: list[int], limit: int) -> Rows:
    """Texts as rows. starts: their offsets; keys: see key_counts; limit: bytes of one."""
    rows: list[dict[str, Any]] = []
    at: list[int] = []
    refused: list[tuple[Reason, str | None, int, bytes]] = []
    loads = orjson.loads
    for i, line in enumerate(lines):
        if len(line) > limit:
            refused.append((Reason.TOO_LARGE, None, starts[i], line))
            continue
        try:
            row = loads(line)
        except orjson.JSONDecodeError:
            refused.append((Reason.MALFORMED, None, starts[i], line))
            continue
        if type(row) is not dict or (keys[i] != len(row) and _repeats_a_key(line)):
            refused.append((Reason.MALFORMED, None, starts[i], line))
            continue
        rows.append(row)
        at.append(i)
    if len(at) == len(lines):
        return Rows(rows, starts, lines.__getitem__, refused)
    return Rows(rows, [starts[i] for i in at], lambda i: lines[at[i]], refused)


class _RepeatedKey(Exception):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RepeatedKey
    return found


def _repeats_a_key(line: bytes) -> bool:
    """True where an object of this line names a key twice, or nests deeper than can be looked through."""
    try:
        json.loads(line, object_pairs_hook=_pairs)
    except (_RepeatedKey, RecursionError, ValueError):
        return True
    return False
