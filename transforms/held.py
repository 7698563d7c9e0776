"""What a shard of a stream has stored, as bytes in Beam's state: chunks of digests of id and content and event times, 24 bytes a row.

State can be read, added to and cleared, not changed in place. So new rows are added as small chunks, which are merged into
larger ones now and then. A chunk also says how far the shard had come, in event time, when its rows were added: two horizons
later none of them can be a copy of a row that is less than a horizon out of order, and the chunk is dropped whole.
"""

import struct
from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from transforms.marks import Marks, joined

FRESH = 32  # small chunks before they are merged
_MOST = 1 << 15  # rows in a merged chunk: under a megabyte, far below what a runner takes as one value
_HEAD = struct.Struct("<qq")  # the greatest event time of the shard after the first and after the last rows of the chunk
_ROW = 24


def packed(rows: Marks, greatest: int) -> bytes:
    """A chunk of new rows. greatest: event time that the shard has come to with them, microseconds."""
    return _packed(rows, greatest, greatest)


def greatest(chunks: Sequence[bytes]) -> int | None:
    """The greatest event time that the shard has stored; None where it has stored nothing."""
    return max((_HEAD.unpack_from(c)[1] for c in chunks), default=None)


def size(chunk: bytes) -> int:
    """Its rows."""
    return (len(chunk) - _HEAD.size) // _ROW


def copies(chunks: Sequence[bytes], ids: "np.typing.NDArray[np.int64]") -> Marks | None:
    """The rows in the chunks that have these ids, sorted by id; None where there are none."""
    wanted = np.unique(ids)
    found = [marks for chunk in chunks if len((marks := _unpacked(chunk).with_ids(wanted)).ids)]
    return joined(found) if found else None


def settled(old: Sequence[bytes], fresh: Sequence[bytes], horizon: timedelta) -> tuple[list[bytes], bool]:
    """The large chunks of a shard once its small ones are merged too: (chunks, whether they take the place of the old ones).

    Where they do not, they are to be added to them: what is old is only written anew when half of it is gone or in pieces.
    """
    micros = horizon // timedelta(microseconds=1)
    now = greatest([*old, *fresh])
    if now is None:
        return [], False
    alive = [c for c in old if _HEAD.unpack_from(c)[1] >= now - 2 * micros]
    everything = _groups([*alive, *fresh], micros // 4)
    gone = sum(map(len, old)) - sum(map(len, alive))
    if gone > sum(map(len, alive)) or 2 * len(everything) + FRESH < len(alive):
        return [_merged(group) for group in everything], True
    return [_merged(group) for group in _groups(fresh, micros // 4)], False


def _groups(chunks: Sequence[bytes], span: int) -> list[list[bytes]]:
    """Which to merge: in the order in which they were added, none longer in time than `span`, or it would never be dropped."""
    groups: list[list[bytes]] = []
    first = rows = 0
    for chunk in sorted(chunks, key=_HEAD.unpack_from):
        begin, end = _HEAD.unpack_from(chunk)
        if groups and rows + size(chunk) <= _MOST and end - first <= span:
            groups[-1].append(chunk)
            rows += size(chunk)
        else:
            groups.append([chunk])
            first, rows = begin, size(chunk)
    return groups


def _merged(chunks: Sequence[bytes]) -> bytes:
    if len(chunks) == 1:
        return chunks[0]
    heads = [_HEAD.unpack_from(c) for c in chunks]
    return _packed(joined(_unpacked(c) for c in chunks), min(h[0] for h in heads), max(h[1] for h in heads))


def _packed(rows: Marks, first: int, last: int) -> bytes:
    return _HEAD.pack(first, last) + np.stack(rows.by_id()).astype("<i8").tobytes()


def _unpacked(chunk: bytes) -> Marks:
    return Marks(*np.frombuffer(chunk, "<i8", offset=_HEAD.size).reshape(3, -1))
