"""A remote file read by ranges: what follows is fetched while what came is looked at, in bounded memory."""

import io
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

FIRST = 1 << 20  # bytes fetched at a place that nothing led to
STEP = 8 << 20  # bytes of a fetch where the file is read on, once they have doubled so far: a fetch costs CPU as much as a megabyte
AHEAD = 3  # fetches under way or waiting beyond the one that is read
KEPT = 32 << 20  # bytes held of a file at most: what is fetched ahead, and what was read last
_TAIL = 128 << 10  # bytes fetched beyond `until`: the rest of a line


class _Segment(NamedTuple):
    start: int
    stop: int
    data: "Future[bytes]"


class RangedFile(io.RawIOBase):
    """Read, seek, tell over fetch(start, stop), which answers those bytes, all of them, from any thread.

    start: what is there is fetched at once; until: the reader goes on from there to here, and beyond little is fetched; None: nobody
    knows where it goes. What fetch raises, a read raises.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, start: int = 0, until: int | None = None) -> None:
        self._fetch, self._size = fetch, size
        self._until = size if until is None else min(until, size)
        self._at, self._end, self._step = 0, start, FIRST  # where the reader stands; where the last segment ends; bytes of the next one
        self._onward = until is not None  # the reader goes on where it was
        self._segments: list[_Segment] = []
        self._threads = ThreadPoolExecutor(AHEAD, thread_name_prefix="read-ahead")
        if start < size:
            self._ask()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        if self._at >= self._size or not len(buffer):
            return 0
        segment = self._covering(self._at)
        data = memoryview(segment.data.result())[self._at - segment.start:][:len(buffer)]
        buffer[:len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._segments.clear()
        super().close()

    def _covering(self, at: int) -> _Segment:
        """The segment that holds this byte; where the reader goes on, those after it are asked for as well."""
        found = self._found(at)
        if found is None:
            self._onward = self._end <= at < self._end + STEP and bool(self._segments)
            self._end, self._step = at, self._step if self._onward else FIRST
            self._ask()
            found = self._found(at)
            assert found is not None
        while self._onward and self._end < min(self._until, at + AHEAD * STEP):
            self._ask()
        return found

    def _found(self, at: int) -> _Segment | None:
        return next((s for s in reversed(self._segments) if s.start <= at < s.stop), None)

    def _ask(self) -> None:
        start = self._end
        stop = min(start + self._step, self._until) if start < self._until else min(start + _TAIL, self._size)
        self._segments.append(_Segment(start, stop, self._threads.submit(self._fetch, start, stop)))
        self._end, self._step = stop, min(2 * self._step, STEP)
        while sum(s.stop - s.start for s in self._segments) > KEPT:
            self._segments.pop(0).data.cancel()
