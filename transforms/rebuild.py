"""Rebuild: which window rows go and which come where the events of some days have changed. All windows count as closed.

Fixed and sliding windows: those that overlap the days. Sessions hang over edges: what lies left of the changed days is walked
from the last session that starts there (the table knows it), what lies right of them until a session starts where one would
have started before, and where neither is found in the days that were read, more days are read.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from schemas.windows import Windowing
from transforms.groups import Groups, ranked
from transforms.pane_changes import Changes, gone, nothing
from transforms.partials import CELL, GREATEST, KEY, LEAST, combined, joined, micros, partials
from transforms.window import session_begins, session_rows, spread, window_rows

Read = Callable[[date, date], Iterable[pa.RecordBatch]]
Old = Callable[[int, int], pa.RecordBatch]
_DAY = 86_400_000_000
_EPOCH = date(1970, 1, 1)
_AT_ONCE = 64  # batches of partials, before they are combined


class _Range(NamedTuple):
    """Days from first up to before stop, as numbers since 1970."""

    first: int
    stop: int


def rebuild(read: Read, days: Collection[date], old: Old, windowing: Windowing, time: str) -> Changes:
    """The changes to the windows table that make it right after the events of these days were added, replaced or deleted.

    read: (first day, last day) -> the events that are stored on them now, both inclusive; it is asked for further days where
    windows hang over an edge. old: (low, high) -> key, window_start and window_end of the rows of the windows table that end
    after low and start before high, in microseconds. time: the column of the event time. The rows have pane 0: a rebuilt
    window is as if it had been written once, so that a day that is rebuilt twice gives the same rows.
    """
    one = _sessions if windowing.kind == "session" else _cells
    ranges = _ranges(days)
    while True:
        found = [one(read, span, old, windowing, time) for span in ranges]
        spans = [span for span, _ in found]
        apart = [n for n in range(1, len(spans)) if spans[n].first >= max(s.stop for s in spans[:n])]
        if len(apart) + 1 >= len(ranges):
            break
        edges = [0, *apart, len(ranges)]  # what they looked at overlaps: those days are one range
        ranges = [_Range(ranges[i].first, ranges[j - 1].stop) for i, j in zip(edges, edges[1:])]
    if not found:
        return nothing(windowing)
    return Changes(joined([c.rows for _, c in found]), joined([c.gone for _, c in found]))


def _ranges(days: Collection[date]) -> list[_Range]:
    numbers = sorted({(day - _EPOCH).days for day in days})
    cuts = [n for n in range(len(numbers)) if n == 0 or numbers[n] > numbers[n - 1] + 1]
    return [_Range(numbers[i], numbers[j - 1] + 1) for i, j in zip(cuts, [*cuts[1:], len(numbers)])]


def _parts(read: Read, days: _Range, windowing: Windowing, time: str, held: pa.RecordBatch | None = None) -> pa.RecordBatch | None:
    """The combined partials of these days and of `held`; None where there are no events."""
    parts = [held] if held is not None else []
    if days.first < days.stop:
        for batch in read(*(_EPOCH + timedelta(days=n) for n in (days.first, days.stop - 1))):
            parts.append(partials(batch, windowing, time)[0])
            if len(parts) > _AT_ONCE:
                parts = [combined(parts, windowing)]
    return combined(parts, windowing) if parts else None


def _olds(rows: pa.RecordBatch) -> Iterator[tuple[str | None, int, int]]:
    times = [rows[name].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist() for name in ("window_start", "window_end")]
    return zip(rows[KEY].to_pylist(), *times)


def _cells(read: Read, days: _Range, old: Old, windowing: Windowing, time: str) -> tuple[_Range, Changes]:
    size, period, begin, stop = micros(windowing.size), micros(windowing.period), days.first * _DAY, days.stop * _DAY
    first, last = ((begin - size) // period + 1) * period, (stop - 1) // period * period  # the starts of the windows that overlap
    looked = _Range(first // _DAY, -(-(last + size) // _DAY))
    goes = gone([(key, start) for key, start, end in _olds(old(begin, stop)) if start < stop and end > begin])
    part = _parts(read, looked, windowing, time)
    if part is not None:
        rows, ends = spread(part, windowing, first + size, last + size)
        if len(rows):
            return looked, Changes(window_rows(part, rows, ends, windowing), goes)
    return looked, nothing(windowing)._replace(gone=goes)


class _Key(NamedTuple):
    """What is known of one key in the days that were read: its cells (from `begin` on they are walked) and its old sessions."""

    first: int  # rows of the partials
    begin: int
    stop: int
    anchor: int  # old sessions that start from here on may go
    old: dict[int, int]  # {start: end}


def _sessions(read: Read, days: _Range, old: Old, windowing: Windowing, time: str) -> tuple[_Range, Changes]:
    gap = micros(windowing.gap)
    left, right = days.first * _DAY // gap * gap, -(-days.stop * _DAY // gap) * gap  # cells between them may have changed
    starts = [start for _, start, end in _olds(old(left, left + 1)) if start < left < end]
    looked, part = _Range(0, 0), None
    wanted = _Range(min([left - gap, *starts]) // _DAY, -(-(right + gap) // _DAY))
    step = 1
    while True:
        if looked == _Range(0, 0):
            part = _parts(read, wanted, windowing, time)
        else:
            part = _parts(read, _Range(wanted.first, looked.first), windowing, time, part)
            part = _parts(read, _Range(looked.stop, wanted.stop), windowing, time, part)
        looked, low, high = wanted, wanted.first * _DAY, wanted.stop * _DAY
        before: dict[str | None, dict[int, int]] = {}
        for key, start, end in _olds(old(low, high)):
            if low <= start < high:
                before.setdefault(key, {})[start] = end
        if part is None or not part.num_rows:
            goes = [(key, start) for key, sessions in before.items() for start in sessions if left <= start < right]
            return looked, nothing(windowing)._replace(gone=gone(goes))
        keys, more_left = _begun(part, before, left, low, gap)
        if more_left:
            wanted = _Range(looked.first - step, looked.stop)
        else:
            changes = _walked(part, keys, (left, right, high), windowing)
            if changes is not None:
                return looked, changes
            wanted = _Range(looked.first, looked.stop + step)
        step *= 2


def _begun(part: pa.RecordBatch, before: dict[str | None, dict[int, int]], left: int, low: int, gap: int) -> tuple[dict[str | None, _Key], bool]:
    """Where the walk of each key begins, and whether the begin of one lies before what was read."""
    codes, texts = ranked(part[KEY])
    firsts = np.flatnonzero(np.diff(codes, prepend=-1))
    stops = np.append(firsts[1:], part.num_rows).tolist()
    least, greatest = part[LEAST].to_numpy(), part[GREATEST].to_numpy()
    inside = np.searchsorted(codes * 2 + (least >= left), codes[firsts] * 2 + 1).tolist()  # the first partial of a key from `left` on
    keys = {}
    for key, first, at, stop in zip(texts.take(pa.array(codes[firsts])).to_pylist(), firsts.tolist(), inside, stops):
        own = before.get(key, {})
        anchor = max((start for start in own if start < left), default=left)
        begin = at
        if anchor < left:
            begin = first + int(np.searchsorted(least[first:stop], anchor))
        elif at > first and left - greatest[at - 1] < gap:
            begin -= 1
            while begin > first and least[begin] - greatest[begin - 1] < gap:
                begin -= 1
            if begin == first and least[first] - low < gap:
                return {}, True
        keys[key] = _Key(first, begin, stop, anchor, own)
    nowhere = part.num_rows
    keys |= {key: _Key(nowhere, nowhere, nowhere, left, own) for key, own in before.items() if key not in keys}
    return keys, False


def _walked(part: pa.RecordBatch, keys: dict[str | None, _Key], edges: tuple[int, int, int], windowing: Windowing) -> Changes | None:
    """What goes and what comes; None where a session hangs over the end of what was read."""
    left, right, high = edges
    gap = micros(windowing.gap)
    walked = np.zeros(part.num_rows, bool)
    for key in keys.values():
        walked[key.begin:key.stop] = True
    rows = np.flatnonzero(walked)
    begins = np.zeros(part.num_rows, bool)
    begins[rows] = session_begins(part.take(pa.array(rows)), windowing)
    least, greatest, cells = (part[name].to_numpy() for name in (LEAST, GREATEST, CELL))
    comes: list[tuple[int, int]] = []
    goes: list[tuple[str | None, int]] = []
    for name, key in keys.items():
        starts = (np.flatnonzero(begins[key.begin:key.stop]) + key.begin).tolist()
        as_before, met = set(), high
        for first, stop in zip(starts, [*starts[1:], key.stop]):
            start, last = int(least[first]), int(greatest[stop - 1])
            quiet_since = max(right, int(greatest[first - 1])) if first > key.first else right
            if cells[first] >= right and (start in key.old or start - quiet_since >= gap):
                met = start  # it started here before, and from here on nothing has changed
                break
            if last < left and key.old.get(start) == last + gap:
                as_before.add(start)
            else:
                comes.append((first, stop))
        else:
            if starts and high - greatest[key.stop - 1] < gap:
                return None
        goes += [(name, start) for start in key.old if key.anchor <= start < met and start not in as_before]
    if not comes:
        return nothing(windowing)._replace(gone=gone(goes))
    sizes = np.array([stop - first for first, stop in comes])
    chosen = part.take(pa.array(np.concatenate([np.arange(first, stop) for first, stop in comes])))
    groups = Groups(np.arange(chosen.num_rows), np.cumsum(sizes) - sizes, np.repeat(np.arange(len(sizes)), sizes))
    return Changes(session_rows(chosen, groups, windowing), gone(goes))
