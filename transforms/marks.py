"""What is compared of rows to tell copies: 24 bytes a row."""

import mmap
from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
_OWN_PAGES = 1 << 15  # rows of a column that has pages of its own


class Marks(NamedTuple):
    """What is compared of a set of rows: digests of id and content, event time in microseconds. Same length, int64."""

    ids: Int64s
    contents: Int64s
    times: Int64s

    def by_id(self) -> "Marks":
        """The rows sorted by id, those of one id in their order."""
        order = np.argsort(self.ids, kind="stable")
        return Marks(*(column[order] for column in self))

    def around(self, horizon: timedelta) -> tuple[int, int]:
        """The first and the last event time that a copy of these rows may have, in microseconds. There is one row at least."""
        reach = horizon // timedelta(microseconds=1)
        return int(self.times.min()) - reach, int(self.times.max()) + reach

    def with_ids(self, wanted: Int64s) -> "Marks":
        """The rows that have one of these ids. Both are sorted by id, and each id is wanted once."""
        low, high = np.searchsorted(self.ids, wanted, "left"), np.searchsorted(self.ids, wanted, "right")
        there = np.flatnonzero(high > low)
        at = np.concatenate([np.arange(0), *(np.arange(low[i], high[i]) for i in there)])
        return Marks(*(column[at] for column in self))


def merged(first: Marks, second: Marks) -> Marks:
    """The rows of two, both sorted by id, sorted by id: those of one id in their order, the first's first.

    To be held for long: what is dropped goes back to the system, and little more than the result is taken on the way. While columns that grow came and
    went in the heap, it kept holes of as much again.
    """
    rows = len(first.ids) + len(second.ids)
    at = np.searchsorted(first.ids, second.ids, "right") + np.arange(len(second.ids))
    before = np.ones(rows, bool)
    before[at] = False
    columns = []
    for early, late in zip(first, second):
        column = _column(rows)
        column[before], column[at] = early, late
        columns.append(column)
    return Marks(*columns)


def _column(rows: int) -> Int64s:
    if rows < _OWN_PAGES:
        return np.empty(rows, np.int64)
    return np.frombuffer(mmap.mmap(-1, rows * 8, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.int64)


def joined(parts: Iterable[Marks]) -> Marks:
    """The rows of all parts, of which there is one at least, sorted by id."""
    return Marks(*map(np.concatenate, zip(*parts))).by_id()
