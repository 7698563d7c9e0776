"""A shard's sessions (transforms.window_shard).

Late rows may join sessions, part them elsewhere (max_length), or begin one earlier. Accumulating, a session that was told
and is no more comes out as `gone` with its last pane (where it comes back, its panes count on), and those that have its rows
are told with all of theirs; one that is open again is told again as it closes. Discarding, nothing is taken back: each
session is told with the rows that are in no pane yet, and the panes of all starts together hold each row once.

With F = watermark - gap - lateness, new rows come after F: what is forgotten is as in transforms.pane_sessions.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.windows import Windowing
from transforms.batch import with_column
from transforms.groups import Groups, Ints, ranked
from transforms.pane_changes import numbered
from transforms.partials import CELL, GREATEST, KEY, LEAST, combined, joined, micros
from transforms.window import session_begins, session_rows
from transforms.window_clock import FOR_EVER
from transforms.window_shard import GONE, TOLD, Firing, Mask, Shard, is_early, kept, next_early, no_gone, no_rows, others, places, tick, together, told_before

_NEW = "rows:new"  # a state that merges like rows: how many new partials are in a cell


def fire(shard: Shard, parts: Sequence[pa.RecordBatch], before: int, watermark: int, windowing: Windowing) -> Firing:
    """Takes in partials and tells what is due at this watermark; before: that of the last firing, LONG_AGO before the first."""
    new = together(windowing, *parts)
    marked = [with_column(part, _NEW, pa.array(np.full(part.num_rows, mark))) for part, mark in ((shard.held, 0), (new, 1)) if part is not None]
    if not marked:
        return Firing(Shard(), no_rows(windowing), no_gone(), FOR_EVER)
    held, accumulating = combined(marked, windowing), windowing.accumulating
    fresh = together(windowing, shard.fresh, new) if windowing.early or not accumulating else None
    begins = session_begins(held, windowing)
    firsts, of = np.flatnonzero(begins), np.cumsum(begins) - 1
    fresh_of = np.zeros(0, np.int64) if fresh is None else of[places(fresh[KEY], fresh[CELL].to_numpy(), held[KEY], held[CELL].to_numpy())]
    keys, starts = held[KEY].take(pa.array(firsts)), held[LEAST].to_numpy()[firsts]
    ends = held[GREATEST].to_numpy()[np.append(firsts[1:], held.num_rows) - 1] + micros(windowing.gap)
    touched, held = np.add.reduceat(held[_NEW].to_numpy(), firsts) > 0, held.drop_columns([_NEW])

    at, pane = told_before(keys, starts, shard.told)
    closed, was_closed, was_end = ends <= watermark, np.zeros(len(ends), bool), ends
    if shard.told is not None:
        was_closed = (at >= 0) & shard.told["closed"].to_numpy(zero_copy_only=False)[at]
        was_end = np.where(at >= 0, shard.told["window_end"].to_numpy()[at], ends)
        touched |= was_end != ends  # late rows may also part what max_length parts elsewhere now
    has_fresh = np.bincount(fresh_of, minlength=len(firsts)) > 0
    tell = closed & (touched | ~was_closed) | (has_fresh & ~closed & is_early(before, watermark, windowing))
    if not accumulating:
        tell &= has_fresh
    rows = _panes(held, of, tell, windowing) if fresh is None or accumulating else _panes(fresh, fresh_of, tell, windowing, starts, ends)
    rows = numbered(rows, pane[tell], (was_closed & closed | (ends <= before))[tell])

    final = watermark - micros(windowing.gap) - micros(windowing.lateness)
    stays = _may_change(keys, starts, ends, final)
    numbers = pa.array(np.where(tell, pane, pane - 1), pa.int32())
    told = pa.RecordBatch.from_arrays([keys, pa.array(starts), pa.array(np.where(tell, ends, was_end)), numbers, pa.array(closed)], schema=TOLD)
    old = None if shard.told is None else others(shard.told, at)
    over = None if old is None else _over(old, final - micros(windowing.gap))
    told = joined([told.filter(pa.array(((at >= 0) | tell) & stays)), *([] if over is None else [over])])
    left = Shard(kept(held, stays[of]), None if fresh is None else kept(fresh, (stays & ~tell)[fresh_of]), told if told.num_rows else None)
    passed = watermark - final
    changes = [ends[~closed], ends[stays] + passed - 1] + ([] if over is None else [over["window_start"].to_numpy() + passed + micros(windowing.gap)])
    dues = [tick(int(times.min()), windowing) for times in changes if len(times)]
    dues += [next_early(watermark, windowing)] if left.fresh is not None else []
    return Firing(left, rows, _gone(old) if old is not None and accumulating else no_gone(), min(dues, default=FOR_EVER))


def soonest(part: pa.RecordBatch, watermark: int, windowing: Windowing) -> int:
    """The watermark at which something is due of partials that are not taken in yet; watermark: as it stands."""
    end = int(part[GREATEST].to_numpy().min()) + micros(windowing.gap)
    return min(tick(max(end, watermark + 1), windowing), next_early(watermark, windowing))


def still_open(part: pa.RecordBatch, watermark: int, windowing: Windowing) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """(what counts in sessions that are held yet, what does not). The rows of a partial cannot be told apart: it counts whole or not at all."""
    taken = part[LEAST].to_numpy() > watermark - micros(windowing.gap) - micros(windowing.lateness)
    return part.filter(pa.array(taken)), part.filter(pa.array(~taken))


def _gone(told: pa.RecordBatch) -> pa.RecordBatch:
    """Of sessions that are no more, those of which it was not said yet."""
    return told.filter(pc.greater(told["window_end"], told["window_start"])).select(GONE.names).cast(GONE)


def _over(told: pa.RecordBatch, after: int) -> pa.RecordBatch:
    """What is kept of sessions that are no more, so that their panes count on: they may come back while their first cell may change."""
    told = told.filter(pc.greater(told["window_start"], after))
    return with_column(with_column(told, "window_end", told["window_start"]), "closed", pa.array(np.zeros(told.num_rows, bool)))


def _may_change(keys: pa.Array, starts: Ints, ends: Ints, final: int) -> Mask:
    """Which sessions, in the order of key and time, new rows may still change; they come after `final`."""
    stays: Mask = ends > final + 1
    codes, _ = ranked(keys)
    stays[:-1] &= (codes[1:] != codes[:-1]) | (starts[1:] > final)
    return stays


def _panes(part: pa.RecordBatch, of: Ints, tell: Mask, windowing: Windowing, starts: Ints | None = None, ends: Ints | None = None) -> pa.RecordBatch:
    """The rows of the sessions that are told, in their order; of: the session of each partial. starts, ends: of the whole
    sessions, where the partials are not all of theirs."""
    if not tell.any():
        return no_rows(windowing)
    taken = tell[of]
    part, of = part.filter(pa.array(taken)), of[taken]
    begins = np.flatnonzero(np.diff(of, prepend=-1))
    rows = session_rows(part, Groups(np.arange(len(of)), begins, np.cumsum(np.diff(of, prepend=-1) > 0) - 1), windowing)
    if starts is not None and ends is not None:
        bounds = [pa.array(times[tell]).cast(rows.schema.types[1]) for times in (starts, ends)]
        rows = pa.RecordBatch.from_arrays([rows[0], *bounds, *rows.columns[3:]], schema=rows.schema)
    return rows
