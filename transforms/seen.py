"""What a stream has stored, in memory: digests of id and content and the event time, 24 bytes a row, day by day.

A day is read from the tables when a row first needs it. What lies further back than the horizon and some hours is forgotten,
so memory is bounded by the horizon while the answers are not: a copy that comes later than that finds its day read again, and
what such stragglers need is kept for as long as they go on.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from datetime import date, timedelta

import numpy as np

from transforms.marks import Marks, joined, merged

_EPOCH = date(1970, 1, 1)
_DAY = 86_400_000_000  # microseconds
_SLACK = _DAY // 4  # that rows may come out of order, and nothing is read again
_RECENT = 100  # runs for which what their rows needed is kept


class Seen:
    """The rows stored so far. Not for several threads.

    load: answers the marks of the rows stored on a day; days: those on which any are; horizon: the contract's.
    """

    def __init__(self, load: Callable[[date], Marks], days: Iterable[date], horizon: timedelta) -> None:
        self.load, self.horizon = load, horizon
        self._on_disk = {(day - _EPOCH).days for day in days}
        self._days: dict[int, list[Marks]] = {}  # sorted by id each; sizes at least halve along a list
        self._kept_from: dict[int, int] = {}  # of a day whose earlier rows are forgotten
        self._needed: deque[int] = deque(maxlen=_RECENT)  # the times from which on rows were needed

    def copies(self, rows: Marks) -> Marks | None:
        """The marks of stored rows with the ids of these, sorted by id; None where there are none."""
        if not len(rows.ids):
            return None
        low, high = rows.around(self.horizon)
        self._needed.append(low)
        first, last = low // _DAY, high // _DAY
        for day in [d for d, since in self._kept_from.items() if d >= first and since > low]:
            self._drop(day)
        wanted = np.unique(rows.ids)
        days = sorted(d for d in self._on_disk | self._days.keys() if first <= d <= last)
        found = [there for day in days for marks in self._chunks(day) if len((there := marks.with_ids(wanted)).ids)]
        return joined(found) if found else None

    def add(self, rows: Marks) -> None:
        """Adds rows that are stored: call it when they are committed, not before."""
        days = rows.times // _DAY
        for day in np.unique(days).tolist():
            chunks = self._chunks(day)
            chunks.append(Marks(*(column[days == day] for column in rows)).by_id())
            while len(chunks) > 1 and len(chunks[-2].ids) < 2 * len(chunks[-1].ids):
                chunks[-2:] = [merged(*chunks[-2:])]

    def forget(self, greatest: int) -> None:
        """Forgets what a row near this time (microseconds) cannot need; its day is read again where one does."""
        low = min([greatest - self._reach - _SLACK, *self._needed])
        for day in [d for d in self._days if (d + 1) * _DAY <= low]:
            self._drop(day)
        day = low // _DAY
        if day in self._days and low - self._kept_from.get(day, day * _DAY) >= _SLACK:
            self._on_disk.add(day)
            self._days[day] = [Marks(*(column[marks.times >= low] for column in marks)) for marks in self._days[day]]
            self._kept_from[day] = low

    def _drop(self, day: int) -> None:
        self._on_disk.add(day)
        self._kept_from.pop(day, None)
        del self._days[day]

    @property
    def _reach(self) -> int:
        return self.horizon // timedelta(microseconds=1)

    def rows(self) -> int:
        """How many are in memory."""
        return sum(len(marks.ids) for chunks in self._days.values() for marks in chunks)

    def _chunks(self, day: int) -> list[Marks]:
        if day not in self._days:
            self._days[day] = [self.load(_EPOCH + timedelta(days=day))] if day in self._on_disk else []
        return self._days[day]


class Failed:
    """Which messages are in the failures already, by a digest of their origin, 8 bytes each: one that comes again is a repeat."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._kept = np.sort(_digests(origins))
        self._new: set[int] = set()

    def among(self, origins: list[str]) -> list[bool]:
        """For each origin whether it is in the failures."""
        digests = _digests(origins)
        at = np.searchsorted(self._kept, digests)
        kept = (self._kept[np.minimum(at, len(self._kept) - 1)] == digests) if len(self._kept) else np.zeros(len(digests), bool)
        return [bool(there) or digest in self._new for there, digest in zip(kept, digests.tolist())]

    def add(self, origins: Iterable[str]) -> None:
        """Adds messages whose failures are committed."""
        self._new.update(_digests(origins).tolist())
        if len(self._new) > 50_000:
            self._kept, self._new = np.union1d(self._kept, np.fromiter(self._new, np.int64, len(self._new))), set()


def _digests(origins: Iterable[str]) -> "np.typing.NDArray[np.int64]":
    text = b"".join(hashlib.blake2b(origin.encode(), digest_size=8).digest() for origin in origins)
    return np.frombuffer(text, np.int64)
