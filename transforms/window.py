"""Window: rows of fixed, sliding and session windows, read off partials (transforms.partials).

A row counts in a window where the window's end + lateness lies after the watermark that the row carries (always, where it
carries none): so the windows are a function of the set of rows, whatever order and whatever batches they came in. A
session's cells are walked in the order of time: a cell joins while it starts less than the gap after the session's last row
and ends less than max_length after its first, else a new session begins.
"""

from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from schemas.arrow import arrow_type
from schemas.windows import Windowing
from transforms import measures
from transforms.groups import Groups, Ints, dense, grouped, ranked
from transforms.partials import CELL, FIRST, GREATEST, KEY, LEAST, by_shard, combined, joined, merged, micros, partials

__all__ = ["Window", "combined", "partials", "windows", "window_schema"]
SHARDS = 32
_AT_ONCE = 1 << 20  # partials that are merged at once: sliding windows take each one many times
_TIME = arrow_type("timestamp-micros")


def window_schema(windowing: Windowing) -> pa.Schema:
    """The Arrow schema of window rows: key, window_start, window_end, pane, is_late, then the measures."""
    return pa.schema([(KEY, pa.string()), ("window_start", _TIME), ("window_end", _TIME), ("pane", pa.int32()), ("is_late", pa.bool_()),
                      *((m.name, arrow_type(m.type)) for m in windowing.measures)])


def windows(parts: Sequence[pa.RecordBatch], windowing: Windowing) -> pa.RecordBatch:
    """A row for each window that a row counts in, as if no more were to come: pane 0, not late; in no order."""
    if not sum(part.num_rows for part in parts):
        return pa.RecordBatch.from_pylist([], window_schema(windowing))
    if windowing.kind == "session":
        part = combined(parts, windowing)
        of = np.cumsum(session_begins(part, windowing)) - 1
        return session_rows(part, Groups(np.arange(len(of)), np.flatnonzero(np.diff(of, prepend=-1)), of), windowing)
    part = joined(parts)
    first, last = part[FIRST].to_numpy(), part[CELL].to_numpy() + micros(windowing.size)
    told = [window_rows(part, *spread(part, windowing, low, high), windowing) for low, high in _slabs(first, last, micros(windowing.period))]
    return joined(told)


def _slabs(first: Ints, last: Ints, period: int) -> Iterator[tuple[int, int]]:
    """Ranges of window ends that share the work out evenly."""
    low, high = int(first.min()), int(last.max())
    pairs = int(((last - first) // period + 1).sum())
    step = max(1, ((high - low) // period + 1) * _AT_ONCE // pairs) * period
    for start in range(low, high + 1, step):
        if ((first < start + step) & (last >= start)).any():
            yield start, min(start + step - period, high)


def spread(part: pa.RecordBatch, windowing: Windowing, low: int, high: int) -> tuple[Ints, Ints]:
    """(row, window end) for each window whose end lies from low to high, and each partial that counts in it. Fixed and sliding."""
    period = micros(windowing.period)
    first = np.maximum(part[FIRST].to_numpy(), -(-low // period) * period)
    last = np.minimum(part[CELL].to_numpy() + micros(windowing.size), high // period * period)
    times = np.maximum((last - first) // period + 1, 0)
    rows = np.repeat(np.arange(len(times)), times)
    nth = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
    return rows, first[rows] + nth * period


def window_rows(part: pa.RecordBatch, rows: Ints, ends: Ints, windowing: Windowing) -> pa.RecordBatch:
    """Fixed and sliding windows from the pairs of `spread`."""
    keys, texts = ranked(part[KEY])
    codes, most = dense(ends // micros(windowing.period))
    groups = grouped(keys[rows] * most + codes)
    at = groups.rows()
    same = len(rows) == part.num_rows and bool((rows == np.arange(len(rows))).all())
    held = merged(part if same else part.take(pa.array(rows)), groups)
    return _told(texts.take(pa.array(keys[rows][at])), ends[at] - micros(windowing.size), ends[at], held, windowing)


def session_begins(part: pa.RecordBatch, windowing: Windowing) -> npt.NDArray[np.bool_]:
    """Where a session begins, in combined partials."""
    if not part.num_rows:
        return np.zeros(0, bool)
    gap, most = micros(windowing.gap), micros(windowing.max_length)
    least, greatest = part[LEAST].to_numpy(), part[GREATEST].to_numpy()
    keys, _ = ranked(part[KEY])
    begins = np.ones(len(least), bool)
    begins[1:] = (keys[1:] != keys[:-1]) | (least[1:] - greatest[:-1] >= gap)
    starts = np.flatnonzero(begins)
    stops = np.append(starts[1:], len(begins))
    for at in np.flatnonzero(greatest[stops - 1] - least[starts] >= most).tolist():
        start, stop = int(starts[at]), int(stops[at])
        while greatest[stop - 1] - least[start] >= most:
            start += int(np.searchsorted(greatest[start:stop], least[start] + most))
            begins[start] = True
    return begins


def session_rows(part: pa.RecordBatch, groups: Groups, windowing: Windowing) -> pa.RecordBatch:
    """Sessions from groups of their partials."""
    start = np.minimum.reduceat(part[LEAST].to_numpy()[groups.order], groups.starts)
    end = np.maximum.reduceat(part[GREATEST].to_numpy()[groups.order], groups.starts) + micros(windowing.gap)
    return _told(part[KEY].take(pa.array(groups.rows())), start, end, merged(part, groups), windowing)


def _told(keys: pa.Array, starts: Ints, ends: Ints, held: dict[str, pa.Array], windowing: Windowing) -> pa.RecordBatch:
    rows = len(keys)
    own = [keys, pa.array(starts).cast(_TIME), pa.array(ends).cast(_TIME), pa.array(np.zeros(rows, np.int32)), pa.array(np.zeros(rows, bool))]
    return pa.RecordBatch.from_arrays([*own, *(measures.read(m, held) for m in windowing.measures)], schema=window_schema(windowing))


class Window(beam.PTransform):
    """Batches of stored events to window rows (schema: window_schema), as if no more events were to come.

    Partials travel, not rows: a batch of them for each shard of the key. A late row counts in no
    window; whoever stored it has told so already. time: the column of the event time; held: partials of a bundle, before they go on.
    """

    def __init__(self, windowing: Windowing, time: str, shards: int = SHARDS, held: int = 100_000) -> None:
        super().__init__()
        self.windowing, self.time, self.shards, self.held = windowing, time, shards, held

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[pa.RecordBatch]:
        return (batches
                | "Partials" >> beam.ParDo(_PartialsFn(self.windowing, self.time, self.shards, self.held))
                | "ByShard" >> beam.GroupByKey()
                | "Tell" >> beam.ParDo(_WindowsFn(self.windowing)))


class _PartialsFn(beam.DoFn):
    """Batches may be small: what travels is combined over a bundle, up to `held` partials."""

    def __init__(self, windowing: Windowing, time: str, shards: int, held: int) -> None:
        self.windowing, self.time, self.shards, self.held = windowing, time, shards, held

    def start_bundle(self) -> None:
        self.parts: list[pa.RecordBatch] = []
        self.rows = 0

    def process(self, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        part, _ = partials(batch, self.windowing, self.time)
        self.parts.append(part)
        self.rows += part.num_rows
        if self.rows > self.held:
            yield from self._sharded()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for keyed in self._sharded():
            yield WindowedValue(keyed, GlobalWindow().max_timestamp(), [GlobalWindow()])

    def _sharded(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        if self.rows:
            part = combined(self.parts, self.windowing)
            self.parts, self.rows = [], 0
            yield from by_shard(part, part[KEY], self.shards)


class _WindowsFn(beam.DoFn):
    def __init__(self, windowing: Windowing) -> None:
        self.windowing = windowing

    def process(self, element: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        rows = windows(list(element[1]), self.windowing)
        if rows.num_rows:
            yield rows
