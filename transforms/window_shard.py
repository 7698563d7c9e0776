"""The windows of one shard of the keys, between the firings of a timer: pure, without Beam.

What may still change is held as combined partials (transforms.partials), with the last pane that was told of each window.
A firing takes in the partials that came since the one before and tells, at its watermark,

    on time  each window whose end it has passed, once
    late     a window that had closed, each time that rows still come to it (is_late)
    early    where the contract says `early`: once that time, each open window that got rows since it was last told

and forgets what can change no more. Panes of a window (its key and window_start) count up from 0. Accumulating, a pane
holds all rows of the window so far; discarding, those that are in no pane yet, and none is told where there are none. The
last panes, accumulating, are the windows of the repeated runs (transforms.panes). Those keep their state in memory and
change it by what a run brought; here it is read anew for each firing, so a firing goes over it once, column by column.

transforms.shard_cells fires fixed and sliding windows, transforms.shard_sessions sessions.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.windows import Windowing
from transforms.groups import Ints, dense, ranked
from transforms.partials import KEY, cell_length, combined, micros
from transforms.window import window_schema
from transforms.window_clock import FOR_EVER, LONG_AGO

TOLD = pa.schema([("key", pa.string()), ("window_start", pa.int64()), ("window_end", pa.int64()), ("pane", pa.int32()), ("closed", pa.bool_())])
GONE = pa.schema([("key", pa.string()), ("window_start", pa.timestamp("us", "UTC")), ("pane", pa.int32())])
_SECOND = 1_000_000
Mask = npt.NDArray[np.bool_]


class Shard(NamedTuple):
    """held: partials that may still count in a pane; fresh: of these, what no early pane (of sessions: no pane) holds yet,
    kept where the contract asks for it; told: the last panes of windows that may be told again (TOLD; a session that is no more
    ends where it starts). None: nothing."""

    held: pa.RecordBatch | None = None
    fresh: pa.RecordBatch | None = None
    told: pa.RecordBatch | None = None


class Firing(NamedTuple):
    """shard: as it is left; rows: panes (transforms.window.window_schema); gone: sessions that are no more, and
    their last panes (GONE); due: the watermark at which something is due next, FOR_EVER where nothing is held."""

    shard: Shard
    rows: pa.RecordBatch
    gone: pa.RecordBatch
    due: int


def together(windowing: Windowing, *parts: pa.RecordBatch | None) -> pa.RecordBatch | None:
    """The partials, combined; None where there are none."""
    given = [part for part in parts if part is not None and part.num_rows]
    return combined(given, windowing) if given else None


def kept(part: pa.RecordBatch, mask: Mask) -> pa.RecordBatch | None:
    """The rows of the mask; None where there are none."""
    return part.filter(pa.array(mask)) if mask.any() else None


def no_rows(windowing: Windowing) -> pa.RecordBatch:
    """No window rows."""
    return pa.RecordBatch.from_pylist([], window_schema(windowing))


def no_gone() -> pa.RecordBatch:
    """No session that is no more."""
    return pa.RecordBatch.from_pylist([], GONE)


def time_of(rows: pa.RecordBatch, name: str) -> Ints:
    """A column of times in microseconds."""
    times: Ints = rows[name].cast(pa.int64()).to_numpy()
    return times


def places(keys: pa.Array, times: Ints, of_keys: pa.Array, of_times: Ints) -> Ints:
    """For each (key, time) where it stands among the second ones, -1 where it does not."""
    if not len(of_times):
        return np.full(len(times), -1, np.int64)
    codes, _ = ranked(pa.concat_arrays([of_keys, keys]))
    moments, most = dense(np.concatenate([of_times, times]))
    numbers = codes * most + moments
    among, looked = numbers[:len(of_times)], numbers[len(of_times):]
    order = np.argsort(among, kind="stable")
    at = order[np.minimum(np.searchsorted(among[order], looked), len(among) - 1)]
    return np.where(among[at] == looked, at, -1)


def told_before(keys: pa.Array, starts: Ints, told: pa.RecordBatch | None) -> tuple[Ints, npt.NDArray[np.int32]]:
    """(where in `told` each window stands, -1 where it does not; the pane that comes next)."""
    if told is None:
        return np.full(len(starts), -1, np.int64), np.zeros(len(starts), np.int32)
    at = places(keys, starts, told[KEY], told["window_start"].to_numpy())
    return at, np.where(at < 0, 0, told["pane"].to_numpy()[at] + 1).astype(np.int32)


def others(told: pa.RecordBatch, at: Ints) -> pa.RecordBatch:
    """What is told of windows that stand at none of these places."""
    mask = np.ones(told.num_rows, bool)
    mask[at[at >= 0]] = False
    return told.filter(pa.array(mask))


def tick(due: int, windowing: Windowing) -> int:
    """The next of the moments at which late panes and sessions are told, and what is over is forgotten: a 32nd of a cell
    apart, at least a second and at most a minute, so that one firing tells many."""
    apart = min(max(cell_length(windowing) // 32, _SECOND), 60 * _SECOND)
    return -(-due // apart) * apart


def next_early(watermark: int, windowing: Windowing) -> int:
    """The next moment at which open windows are told."""
    if windowing.early is None:
        return FOR_EVER
    return (watermark // micros(windowing.early) + 1) * micros(windowing.early)


def is_early(before: int, watermark: int, windowing: Windowing) -> bool:
    """Whether such a moment has passed since the last firing."""
    return windowing.early is not None and (before == LONG_AGO or next_early(before, windowing) <= watermark)
