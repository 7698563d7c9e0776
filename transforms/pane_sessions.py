"""The panes of sessions: partials by key, walked anew for the keys that got rows or whose session closes.

With F = watermark - gap - lateness, new rows come after F. A session that starts up to F starts there for good, so what lies
before the last such start can change no more; nor can a session whose gap has run out by F + 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from schemas.windows import Windowing
from transforms.batch import with_column
from transforms.groups import Groups, ranked
from transforms.pane_changes import Changes, gone, nothing, numbered
from transforms.pane_chunks import Chunks, Held
from transforms.partials import CELL, GREATEST, KEY, LEAST, combined, micros
from transforms.soonest import Soonest
from transforms.window import session_begins, session_rows

_TOUCHED = "rows:touched"  # a state that merges like rows: how many new partials are in a cell
Key = str | None


class _Walk(NamedTuple):
    """Sessions in the order of key and time, one element each: their first partials (and the row after the last one of all),
    their start and end, and whether they got rows. keys: each key with its first session and the one after its last."""

    firsts: list[int]
    starts: list[int]
    ends: list[int]
    touched: list[bool]
    keys: list[tuple[Key, int, int]]


@dataclass
class _Next:
    """What settle puts in place."""

    part: pa.RecordBatch | None = None
    held: dict[Key, Held] = field(default_factory=dict)
    written: dict[Key, dict[int, tuple[int, int]]] = field(default_factory=dict)
    wakes: dict[Key, int] = field(default_factory=dict)
    done: list[Key] = field(default_factory=list)
    over: list[Key] = field(default_factory=list)


class Sessions:
    """Held between runs; Panes says what each method does."""

    def __init__(self, windowing: Windowing) -> None:
        self.windowing = windowing
        self.gap, self.lateness = micros(windowing.gap), micros(windowing.lateness)
        self._chunks: Chunks[Key] = Chunks()
        self._written: dict[Key, dict[int, tuple[int, int]]] = {}  # {key: {start: (end, pane)}} of what may still change
        self._wakes: Soonest[Key] = Soonest()  # the watermark at which a key's next session closes, or all of it is forgotten
        self._done: set[Key] = set()  # keys whose sessions are all written
        self._lows: Soonest[Key] = Soonest()  # the first cell of a key
        self._next = _Next()

    def due(self, part: pa.RecordBatch | None, before: int | None, watermark: int) -> Changes:
        new = set(part[KEY].unique().to_pylist()) if part is not None else set()
        woken = [key for key in self._wakes.upto(watermark) if key not in new]
        over = [key for key in woken if key in self._done]
        looked = [*new, *(set(woken) - set(over))]
        self._next = _Next(over=over)
        parts = [_touched(held, 0) for held in self._chunks.of(looked)]
        if part is not None:
            parts.append(_touched(part, 1))
        if not parts:
            return nothing(self.windowing)
        return self._changes(combined(parts, self.windowing), before, watermark)

    def _changes(self, part: pa.RecordBatch, before: int | None, watermark: int) -> Changes:
        walk = self._walked(part)
        write: list[tuple[int, int, bool]] = []  # number of the session, pane, is_late
        old: list[tuple[Key, int]] = []
        for key, first, stop in walk.keys:
            was, now = self._written.get(key, {}), {}
            for number in range(first, stop):
                start, end = walk.starts[number], walk.ends[number]
                if end > watermark:
                    continue
                there = was.get(start)
                if there is None:
                    write.append((number, 0, before is not None and end <= before))
                    there = end, 0
                elif walk.touched[number] or there[0] != end:
                    there = end, there[1] + 1
                    write.append((number, there[1], True))
                    old.append((key, start))
                now[start] = there
            old += [(key, start) for start in was if start not in now]
            self._keep(key, walk, first, stop, now, watermark)
        self._next.part = part.drop_columns([_TOUCHED])
        if not write:
            return nothing(self.windowing)._replace(gone=gone(old))
        numbers, panes, late = (list(column) for column in zip(*write))
        return Changes(numbered(self._rows(self._next.part, walk, numbers), panes, late), gone(old))

    def _rows(self, part: pa.RecordBatch, walk: _Walk, numbers: list[int]) -> pa.RecordBatch:
        """The rows of these sessions, in their order."""
        firsts = np.array(walk.firsts)
        sizes = np.diff(firsts)[numbers]
        of = np.repeat(np.arange(len(numbers)), sizes)
        rows = np.arange(len(of)) + (firsts[numbers] - np.cumsum(sizes) + sizes)[of]
        return session_rows(part.take(pa.array(rows)), Groups(np.arange(len(of)), np.cumsum(sizes) - sizes, of), self.windowing)

    def _walked(self, part: pa.RecordBatch) -> _Walk:
        """The sessions of combined partials, of which there is at least one."""
        firsts = np.flatnonzero(session_begins(part, self.windowing))
        stops = np.append(firsts[1:], part.num_rows)
        starts, ends = part[LEAST].to_numpy()[firsts], part[GREATEST].to_numpy()[stops - 1] + self.gap
        touched = np.add.reduceat(part[_TOUCHED].to_numpy(), firsts) > 0
        names = part[KEY].take(pa.array(firsts))
        codes, _ = ranked(names)
        own = np.flatnonzero(np.diff(codes, prepend=-1))
        keys = zip(names.take(pa.array(own)).to_pylist(), own.tolist(), [*own[1:].tolist(), len(firsts)])
        return _Walk([*firsts.tolist(), part.num_rows], starts.tolist(), ends.tolist(), touched.tolist(), list(keys))

    def _keep(self, key: Key, walk: _Walk, first: int, stop: int, written: dict[int, tuple[int, int]], watermark: int) -> None:
        """Notes what is held of the key, whose sessions are these, from this watermark on."""
        final = watermark - self.gap - self.lateness
        while first + 1 < stop and walk.starts[first + 1] <= final:
            first += 1
        if walk.ends[first] <= final + 1:
            first += 1
        if first == stop:
            self._next.over.append(key)
            return
        self._next.held[key] = Held(walk.firsts[first], walk.firsts[stop])
        self._next.written[key] = {start: there for start, there in written.items() if start >= walk.starts[first]}
        unwritten = [walk.ends[n] for n in range(first, stop) if walk.starts[n] not in written]
        self._next.wakes[key] = min(unwritten, default=walk.ends[stop - 1] + self.gap + self.lateness - 1)  # its end is F + 1 then
        if not unwritten:
            self._next.done.append(key)

    def settle(self, watermark: int) -> None:
        now, self._next = self._next, _Next()
        for key in now.over:
            self._chunks.drop(key)
            self._written.pop(key, None)
            self._done.discard(key)
            self._wakes.drop(key)
            self._lows.drop(key)
        if now.part is not None:
            cells = now.part[CELL].to_numpy()
            for key, held in now.held.items():
                self._wakes.put(key, now.wakes[key])
                self._lows.put(key, int(cells[held.first]))
            self._done.difference_update(now.held)
            self._done.update(now.done)
            self._written.update(now.written)
            self._chunks.put(now.part, now.held)

    def low(self) -> int | None:
        """The start of the first cell that is held."""
        return self._lows.least()

    def restore(self, low: int, watermark: int, part: pa.RecordBatch | None, written: pa.RecordBatch) -> None:
        if part is None or not part.num_rows:
            return
        rows = list(zip(written[KEY].to_pylist(), *(_micros(written[name]) for name in ("window_start", "window_end")), written["pane"].to_pylist()))
        cut: dict[Key, int] = {}  # a session that started before low is written for good: what lies up to its last row is none of ours
        for key, start, end, pane in rows:
            if start < low:
                cut[key] = max(end - self.gap, cut.get(key, end - self.gap))
            else:
                self._written.setdefault(key, {})[start] = end, pane
        ours = [least > cut.get(key, low - 1) for key, least in zip(part[KEY].to_pylist(), part[LEAST].to_pylist())]
        part = _touched(part.filter(pa.array(ours, pa.bool_())), 0)
        if part.num_rows:
            self._next = _Next(part=part.drop_columns([_TOUCHED]))
            walk = self._walked(part)
            for key, first, stop in walk.keys:
                self._keep(key, walk, first, stop, self._written.get(key, {}), watermark)
        self._written = {}
        self.settle(watermark)


def _touched(part: pa.RecordBatch, new: int) -> pa.RecordBatch:
    return with_column(part, _TOUCHED, pa.array(np.full(part.num_rows, new, np.int64)))


def _micros(column: pa.Array) -> Sequence[int]:
    times: list[int] = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
    return times
