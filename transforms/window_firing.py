"""What a firing of a shard's timer tells, for any kind of windows."""

from collections.abc import Sequence

import pyarrow as pa

from schemas.windows import Windowing
from transforms import shard_cells, shard_sessions
from transforms.window_clock import LONG_AGO
from transforms.window_shard import Firing, Shard


def fire(shard: Shard, parts: Sequence[pa.RecordBatch], before: int, watermark: int, windowing: Windowing) -> Firing:
    """Takes in partials and tells what is due at this watermark; before: that of the last firing, LONG_AGO before the first."""
    return (shard_sessions.fire if windowing.kind == "session" else shard_cells.fire)(shard, parts, before, watermark, windowing)


def soonest(part: pa.RecordBatch, watermark: int, windowing: Windowing) -> int:
    """The watermark at which something is due of partials that are not taken in yet; watermark: as it stands."""
    return (shard_sessions.soonest if windowing.kind == "session" else shard_cells.soonest)(part, watermark, windowing)


def still_open(part: pa.RecordBatch, watermark: int, windowing: Windowing) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """(what counts in windows that are held at this watermark, what counts in none)."""
    if watermark == LONG_AGO:
        return part, part.slice(0, 0)
    return (shard_sessions.still_open if windowing.kind == "session" else shard_cells.still_open)(part, watermark, windowing)
