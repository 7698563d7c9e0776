"""The windows of one shard of the keys, between the firings of a timer: pure, without Beam.

What may still change is held as combined partials (transforms.partials), with the last pane that was told of each window.
A firing takes in the partials that came since the one before and tells, at its watermark,

    on time  each window whose end it has passed, once
    late     a window that had closed, and each time rows still come to it (is_late)
    early    where the contract says `early`: once that time, each open window that got rows since it was last told

and forgets what can change no more. Panes of a window (key, window_start) count up from 0. Accumulating, a pane holds all
the rows of the window so far, and the last one is the window; discarding, it holds those that are in no pane yet, and none
is told where there are none. The last panes, accumulating, are those of the repeated runs (transforms.panes); these hold
their state in memory and put it right by what a run changed, a shard reads it anew at each firing.

Late rows may join sessions, or begin one earlier. Accumulating, what was told of a session that is no more comes out as
`gone`, the session they make is told with all its rows, under its start. Discarding, the joined one is told with the rows
that are in no pane yet and nothing is taken back: the panes of all the starts together hold each row once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.windows import Windowing
from transforms.groups import Ints, dense, ranked
from transforms.pane_changes import GONE, numbered
from transforms.partials import CELL, FIRST, GREATEST, KEY, LEAST, cell_length, combined, joined, micros
from transforms.window import spread, window_rows, window_schema
from transforms.window_clock import FOR_EVER, LONG_AGO

TOLD = pa.schema([("key", pa.string()), ("window_start", pa.int64()), ("window_end", pa.int64()), ("pane", pa.int32()), ("closed", pa.bool_())])
_AT_ONCE = 1 << 20  # pairs of partial and window


class Shard(NamedTuple):
    """held: partials that may still count in a pane; fresh: of these, what no early pane (sessions: no pane) holds yet, kept
    where it is asked for; told: the last panes of windows that may be told again (TOLD). None: nothing."""

    held: pa.RecordBatch | None = None
    fresh: pa.RecordBatch | None = None
    told: pa.RecordBatch | None = None


class Firing(NamedTuple):
    """shard: as it is left; rows: panes (transforms.window.window_schema); gone: sessions that are no more
    (transforms.pane_changes.GONE); due: the watermark at which something is due next, FOR_EVER where nothing is held."""

    shard: Shard
    rows: pa.RecordBatch
    gone: pa.RecordBatch
    due: int


def fire(shard: Shard, parts: Sequence[pa.RecordBatch], before: int, watermark: int, windowing: Windowing) -> Firing:
    """Takes in partials and tells what is due at this watermark. before: that of the last firing, LONG_AGO before the first."""
