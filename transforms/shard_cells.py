"""A shard's fixed and sliding windows (transforms.window_shard)."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.windows import Windowing
from transforms.batch import with_column
from transforms.pane_changes import numbered
from transforms.partials import CELL, FIRST, KEY, joined, micros
from transforms.window import spread, window_rows
from transforms.window_clock import FOR_EVER, LONG_AGO
from transforms.window_shard import TOLD, Firing, Shard, is_early, kept, next_early, no_gone, no_rows, others, places, tick, time_of, together, told_before

_AT_ONCE = 1 << 20  # pairs of partial and window


def fire(shard: Shard, parts: Sequence[pa.RecordBatch], before: int, watermark: int, windowing: Windowing) -> Firing:
    """Takes in partials and tells what is due at this watermark; before: that of the last firing, LONG_AGO before the first."""
    size, passed = micros(windowing.size), watermark - micros(windowing.lateness)
    early, accumulating = is_early(before, watermark, windowing), windowing.accumulating
    new = together(windowing, *parts)
    fresh = together(windowing, shard.fresh, new) if windowing.early or not accumulating else None
    held = together(windowing, shard.held, new) if accumulating else fresh
    panes = [no_rows(windowing)]
    if held is not None:
        panes += _closing(held, before + 1, watermark, windowing)
        if new is not None and before > LONG_AGO:
            panes += _touched(held if accumulating else new, new, LONG_AGO, before, windowing)
        if fresh is not None and early:
            panes += _touched(held, fresh, watermark + 1, FOR_EVER, windowing)
    rows = joined(panes)
    starts, ends = time_of(rows, "window_start"), time_of(rows, "window_end")
    at, pane = told_before(rows[KEY], starts, shard.told)
    told = pa.RecordBatch.from_arrays([rows[KEY], pa.array(starts), pa.array(ends), pa.array(pane), pa.array(ends <= watermark)], schema=TOLD)
    told = told if shard.told is None else joined([others(shard.told, at), told])
    left = Shard(kept(held, held[CELL].to_numpy() + size > passed) if held is not None and accumulating else None,
                 kept(fresh, fresh[CELL].to_numpy() + size > watermark) if fresh is not None and not early else None,
                 kept(told, told["window_end"].to_numpy() > passed))
    return Firing(left, numbered(rows, pane, ends <= before), no_gone(), _due(left, watermark, windowing))


def soonest(part: pa.RecordBatch, watermark: int, windowing: Windowing) -> int:
    """The watermark at which something is due of partials that are not taken in yet; watermark: as it stands."""
    late = tick(watermark + 1, windowing) if (part[FIRST].to_numpy() <= watermark).any() else FOR_EVER
    return min(late, _closes(part, watermark, windowing), next_early(watermark, windowing))


def still_open(part: pa.RecordBatch, watermark: int, windowing: Windowing) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """(what counts in windows that are held yet, as it counts in these; what counts in none)."""
    period = micros(windowing.period)
    firsts = np.maximum(part[FIRST].to_numpy(), ((watermark - micros(windowing.lateness)) // period + 1) * period)
    taken = firsts <= part[CELL].to_numpy() + micros(windowing.size)
    return with_column(part, FIRST, pa.array(firsts)).filter(pa.array(taken)), part.filter(pa.array(~taken))


def _closes(part: pa.RecordBatch, watermark: int, windowing: Windowing) -> int:
    """The first end of a window after the watermark."""
    period = micros(windowing.period)
    ends = np.maximum(part[FIRST].to_numpy(), (watermark // period + 1) * period)
    ends = ends[ends <= part[CELL].to_numpy() + micros(windowing.size)]
    return int(ends.min()) if len(ends) else FOR_EVER


def _due(shard: Shard, watermark: int, windowing: Windowing) -> int:
    lateness, dues = micros(windowing.lateness), [FOR_EVER]
    dues += [_closes(part, watermark, windowing) for part in (shard.held, shard.fresh) if part is not None]
    if shard.held is not None:
        dues.append(tick(int(shard.held[CELL].to_numpy().min()) + micros(windowing.size) + lateness, windowing))
    if shard.told is not None:
        dues.append(tick(int(shard.told["window_end"].to_numpy().min()) + lateness, windowing))
    if shard.fresh is not None:
        dues.append(next_early(watermark, windowing))
    return min(dues)


def _closing(part: pa.RecordBatch, low: int, high: int, windowing: Windowing) -> list[pa.RecordBatch]:
    """The windows whose end lies from low to high, in pieces of which none takes much memory."""
    size, period = micros(windowing.size), micros(windowing.period)
    low, high = max(low, int(part[FIRST].to_numpy().min())), min(high, int(part[CELL].to_numpy().max()) + size)
    if high - low >= period and part.num_rows * min(size, high - low) // period > _AT_ONCE:
        middle = (low + high) // 2
        return [*_closing(part, low, middle, windowing), *_closing(part, middle + 1, high, windowing)]
    rows, ends = spread(part, windowing, low, high)
    return [window_rows(part, rows, ends, windowing)] if len(rows) else []


def _touched(part: pa.RecordBatch, by: pa.RecordBatch, low: int, high: int, windowing: Windowing) -> list[pa.RecordBatch]:
    """The windows whose end lies from low to high and in which some of `by` count, told of `part`."""
    rows, ends = spread(by, windowing, low, high)
    if not len(rows):
        return []
    keys = by[KEY].take(pa.array(rows))
    part = part.filter(pc.is_in(part[KEY], keys.unique()))
    all_rows, all_ends = spread(part, windowing, int(ends.min()), int(ends.max()))
    found = places(part[KEY].take(pa.array(all_rows)), all_ends, keys, ends) >= 0
    return [window_rows(part, all_rows[found], all_ends[found], windowing)]
