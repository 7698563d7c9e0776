"""What a run changes in the windows table."""

from typing import NamedTuple

import numpy.typing as npt
import pyarrow as pa

from schemas.windows import Windowing
from transforms.window import window_schema

GONE = pa.schema([("key", pa.string()), ("window_start", pa.timestamp("us", "UTC"))])


class Changes(NamedTuple):
    """rows: to be written (transforms.window.window_schema); gone: key and window_start of the rows that must be deleted
    first, those that are written anew among them."""

    rows: pa.RecordBatch
    gone: pa.RecordBatch


def gone(places: list[tuple[str | None, int]]) -> pa.RecordBatch:
    """A batch of (key, window_start in microseconds)."""
    keys, starts = zip(*places) if places else ((), ())
    return pa.RecordBatch.from_arrays([pa.array(keys, pa.string()), pa.array(starts, pa.int64()).cast(GONE.types[1])], schema=GONE)


def numbered(rows: pa.RecordBatch, panes: npt.ArrayLike, late: npt.ArrayLike) -> pa.RecordBatch:
    """Window rows with these panes and is_late."""
    columns = [*rows.columns[:3], pa.array(panes, pa.int32()), pa.array(late, pa.bool_()), *rows.columns[5:]]
    return pa.RecordBatch.from_arrays(columns, schema=rows.schema)


def nothing(windowing: Windowing) -> Changes:
    """No change."""
    return Changes(pa.RecordBatch.from_pylist([], window_schema(windowing)), gone([]))
