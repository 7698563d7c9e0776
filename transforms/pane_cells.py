"""The panes of fixed and sliding windows: partials by cell, and which windows are written that may still change."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.windows import Windowing
from transforms.groups import Ints
from transforms.pane_changes import Changes, gone, nothing, numbered
from transforms.partials import CELL, FIRST, KEY, combined, joined, micros
from transforms.window import spread, window_rows

_MOST = 8  # batches of one cell before they are combined
Place = tuple[str | None, int]


class Cells:
    """Held between runs; Panes says what each method does."""

    def __init__(self, windowing: Windowing) -> None:
        self.windowing = windowing
        self.size, self.period, self.lateness = micros(windowing.size), micros(windowing.period), micros(windowing.lateness)
        self._cells: dict[int, list[pa.RecordBatch]] = {}
        self._written: dict[int, dict[str | None, int]] = {}  # end: {key: pane}, while end + lateness lies after the watermark
        self._new: tuple[dict[int, pa.RecordBatch], pa.RecordBatch | None] = {}, None

    def due(self, part: pa.RecordBatch | None, before: int | None, watermark: int) -> Changes:
        new = _by_cell(part) if part is not None else {}
        changes = nothing(self.windowing)
        closed = self._closed(new, before, watermark)
        late = self._late(part, new, before) if part is not None and before is not None else None
        if late is not None:
            places = _places(late)
            panes = [self._written.get(end, {}).get(key, -1) + 1 for key, end in places]
            late = numbered(late, panes, np.ones(len(panes), bool))
            changes = Changes(late, gone([(key, end - self.size) for (key, end), pane in zip(places, panes) if pane]))
        rows = [batch for batch in (closed, late) if batch is not None]
        changes = changes._replace(rows=joined(rows)) if rows else changes
        self._new = new, changes.rows
        return changes

    def _closed(self, new: dict[int, pa.RecordBatch], before: int | None, watermark: int) -> pa.RecordBatch | None:
        """The windows whose end the watermark has passed since `before`."""
        cells = [c for c in self._cells.keys() | new.keys() if c + self.period <= watermark and (before is None or c + self.size > before)]
        if not cells:
            return None
        part = joined(list(self._of(cells, new)))
        rows, ends = spread(part, self.windowing, min(cells) if before is None else before + 1, watermark)
        return window_rows(part, rows, ends, self.windowing) if len(rows) else None

    def _late(self, part: pa.RecordBatch, new: dict[int, pa.RecordBatch], before: int) -> pa.RecordBatch | None:
        """The windows that had closed and got new rows."""
        rows, ends = spread(part, self.windowing, int(part[FIRST].to_numpy().min()), before)
        if not len(rows):
            return None
        keys = part[KEY].take(pa.array(rows))
        texts = keys.unique()
        low, high = int(ends.min()), int(ends.max())
        cells = [c for c in self._cells.keys() | new.keys() if c + self.period <= high and c + self.size >= low]
        held = joined(list(self._of(cells, new)))
        held = held.filter(pc.is_in(held[KEY], texts))
        rows, all_ends = spread(held, self.windowing, low, high)
        touched = np.isin(self._codes(held[KEY], texts)[rows] + all_ends // self.period * len(texts),
                          self._codes(keys, texts) + ends // self.period * len(texts))
        return window_rows(held, rows[touched], all_ends[touched], self.windowing)

    @staticmethod
    def _codes(keys: pa.Array, texts: pa.Array) -> Ints:
        codes: Ints = pc.index_in(keys, texts).to_numpy().astype(np.int64)
        return codes

    def _of(self, cells: Iterable[int], new: dict[int, pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        for cell in cells:
            yield from self._cells.get(cell, ())
            if cell in new:
                yield new[cell]

    def settle(self, watermark: int) -> None:
        new, rows = self._new
        self._new = {}, None
        for cell, part in new.items():
            held = self._cells.setdefault(cell, [])
            held.append(part)
            if len(held) > _MOST:
                held[:] = [combined(held, self.windowing)]
        passed = watermark - self.lateness
        if rows is not None:
            self._write(rows, passed)
        self._cells = {cell: held for cell, held in self._cells.items() if cell + self.size > passed}
        self._written = {end: panes for end, panes in self._written.items() if end > passed}

    def _write(self, rows: pa.RecordBatch, passed: int) -> None:
        """Remembers the rows that may be written anew."""
        open_ = rows.filter(pa.array(_ends(rows) > passed)) if self.lateness else rows.slice(0, 0)
        for (key, end), pane in zip(_places(open_), open_["pane"].to_pylist()):
            self._written.setdefault(end, {})[key] = pane

    def restore(self, low: int, watermark: int, part: pa.RecordBatch | None, written: pa.RecordBatch) -> None:
        self._new = _by_cell(part) if part is not None else {}, None
        self.settle(watermark)
        self._write(written, watermark - self.lateness)


def _ends(rows: pa.RecordBatch) -> Ints:
    ends: Ints = rows["window_end"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    return ends


def _places(rows: pa.RecordBatch) -> list[Place]:
    return list(zip(rows[KEY].to_pylist(), _ends(rows).tolist()))


def _by_cell(part: pa.RecordBatch) -> dict[int, pa.RecordBatch]:
    cells: npt.NDArray[np.int64] = part[CELL].to_numpy()
    order = np.argsort(cells, kind="stable")
    ordered, part = cells[order], part.take(pa.array(order))
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    stops = [*starts[1:].tolist(), len(ordered)]
    return {int(ordered[start]): part.slice(start, stop - start) for start, stop in zip(starts.tolist(), stops)}
