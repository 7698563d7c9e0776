"""Panes: the windows of a stream that is read in repeated runs.

What may still change is held as combined partials (transforms.partials); each run adds its own and is told which window rows
to write: those whose end the watermark has passed since the run before, and those that were written and got new rows. Only
they are computed, and what can change no more is forgotten. No state is kept but the tables: after a restart the partials of
the stored events from `low` on, and the rows of the windows table, bring back the same panes.

A row may reach a window while the window's end + lateness lies after the watermark that stood when the row's run began. The
watermark never goes back.
"""

from collections.abc import Sequence

import pyarrow as pa

from schemas.windows import Windowing
from transforms.pane_cells import Cells
from transforms.pane_changes import Changes
from transforms.pane_sessions import Sessions
from transforms.partials import cell_length, combined, micros

__all__ = ["Changes", "Panes", "since"]


class Panes:
    """The windows of one stream. Times are microseconds.

    A run goes add, due, and after its commit settle; where the commit failed, drop, and all over again. A window's pane is 0
    when it is first written and counts up while it is written anew; is_late is true where it was written before, or where
    the watermark had passed its end before the run. A session that late rows open again leaves the table and comes back,
    as new, when it closes.
    """

    def __init__(self, windowing: Windowing) -> None:
        self.windowing = windowing
        self.watermark: int | None = None
        self._kind: Cells | Sessions = Sessions(windowing) if windowing.kind == "session" else Cells(windowing)
        self._added: list[pa.RecordBatch] = []
        self._due: int | None = None

    def add(self, part: pa.RecordBatch) -> None:
        """Adds the partials of new rows."""
        if part.num_rows:
            self._added.append(part)

    def due(self, watermark: int) -> Changes:
        """What this watermark and the added partials change in the table. Nothing is taken for done before settle."""
        self._due = watermark if self.watermark is None else max(watermark, self.watermark)
        if self._added:
            self._added = [combined(self._added, self.windowing)]
        return self._kind.due(self._added[0] if self._added else None, self.watermark, self._due)

    def settle(self) -> None:
        """What the last due told is in the table now."""
        if self._due is None:
            return
        self._kind.settle(self._due)
        self.watermark, self._due, self._added = self._due, None, []

    def drop(self) -> None:
        """Forgets what was added and told since the last settle: the run will be tried again."""
        self._added, self._due = [], None

    def low(self) -> int | None:
        """The event time from which stored rows must be read again after a restart; None before the first settle."""
        if self.watermark is None:
            return None
        low = since(self.windowing, self.watermark)
        held = self._kind.low() if isinstance(self._kind, Sessions) else None
        return low if held is None else max(low, held)  # a key that got no rows may be held longer than it can change

    def restore(self, low: int, watermark: int, parts: Sequence[pa.RecordBatch], written: pa.RecordBatch) -> None:
        """Brings back what stood after the last commit, in new Panes.

        low: what low() answered then, or since(); watermark: as it stood after that commit; parts: of all stored rows whose
        event time is low or later; written: key, window_start, window_end and pane of the rows of the windows table that end
        after low.
        """
        self._kind.restore(low, watermark, combined(parts, self.windowing) if parts else None, written)
        self.watermark = watermark


def since(windowing: Windowing, watermark: int) -> int:
    """An event time from which it is always enough to read: what is told by watermark alone. Panes.low is never less."""
    length = cell_length(windowing)
    if windowing.kind == "session":
        low = watermark - 2 * micros(windowing.gap) - micros(windowing.lateness) - micros(windowing.max_length)
        return low // length * length
    return ((watermark - micros(windowing.lateness)) // length + 1) * length - micros(windowing.size)
