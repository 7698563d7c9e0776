"""Partials: what is known of the rows of one key in one cell of time. Windows are read off partials and nothing else.

Time is cut into half-open cells: of `period` for fixed and sliding windows, of `gap` for sessions (two rows of one such cell
always belong together). A partial is one row per key, cell and `first`: the end of the first window that still takes its
rows, given the watermark that they carry (0 for sessions); with the least and greatest event time, and the states of the
measures (transforms.measures). Times are int64 microseconds. Partials of any batches, in any order, combine to the same.
"""

import zlib
from collections.abc import Iterator, Sequence
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from schemas.windows import Windowing
from transforms import measures
from transforms.batch import ID_HASH, WATERMARK
from transforms.groups import Groups, Ints, dense, grouped, ranked

KEY, CELL, FIRST, LEAST, GREATEST = "key", "cell", "first", "least", "greatest"
_OWN = 5
_LONG_AGO = -(1 << 61)  # stands for no watermark; far enough from the edge to be reckoned with


def micros(length: timedelta) -> int:
    """Whole microseconds."""
    return length // timedelta(microseconds=1)


def cell_length(windowing: Windowing) -> int:
    """Microseconds of a cell."""
    return micros(windowing.gap if windowing.kind == "session" else windowing.period)


def partials(batch: pa.RecordBatch, windowing: Windowing, time: str) -> tuple[pa.RecordBatch, npt.NDArray[np.bool_]]:
    """The partials of events as they are stored, and which rows are late: they count in no window and in no partial.

    time: the column of the event time. Without a column `watermark`, and where it is null, no row is late.
    """
    times = _micros(batch[time])
    length = cell_length(windowing)
    cells = times // length * length
    firsts, late = _firsts(batch, windowing, times, cells)
    if late.any():
        taken = ~late
        batch, times, cells, firsts = batch.filter(pa.array(taken)), times[taken], cells[taken], firsts[taken]
    keys, texts = keys_of(batch, windowing.key)
    groups, rows = _grouped(keys, cells, firsts, length)
    ties = batch[ID_HASH].to_numpy() if any(m.kind in ("first", "last") for m in windowing.measures) else None
    states = measures.lift(batch, windowing.measures, times, ties)
    return _batch(texts.take(pa.array(keys[rows])), cells[rows], firsts[rows], times, times, states, groups), late


def combined(parts: Sequence[pa.RecordBatch], windowing: Windowing) -> pa.RecordBatch:
    """One partial per key, cell and first, sorted by them (null is the last key). Takes at least one batch."""
    part = joined(parts)
    cells, firsts = part[CELL].to_numpy(), part[FIRST].to_numpy()
    keys, texts = ranked(part[KEY])
    groups, rows = _grouped(keys, cells, firsts, cell_length(windowing))
    states = {name: part[name] for name in part.schema.names[_OWN:]}
    return _batch(texts.take(pa.array(keys[rows])), cells[rows], firsts[rows], part[LEAST].to_numpy(), part[GREATEST].to_numpy(), states, groups)


def joined(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows of batches of one schema as one batch."""
    return parts[0] if len(parts) == 1 else pa.concat_batches(parts)


def merged(part: pa.RecordBatch, groups: Groups) -> dict[str, pa.Array]:
    """The states of groups of partials, by name."""
    return measures.merge({name: part[name] for name in part.schema.names[_OWN:]}, groups) if len(groups.starts) else {
        name: part[name].slice(0, 0) for name in part.schema.names[_OWN:]}


def _micros(column: pa.Array) -> Ints:
    times: Ints = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    return times


def _firsts(batch: pa.RecordBatch, windowing: Windowing, times: Ints, cells: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """For each row the end of the first window that takes it, and whether none does: end + lateness <= watermark."""
    session = windowing.kind == "session"
    firsts = np.zeros(len(times), np.int64) if session else cells + micros(windowing.period)
    if WATERMARK not in batch.schema.names or batch[WATERMARK].null_count == batch.num_rows:
        return firsts, np.zeros(len(times), bool)
    passed = _micros(batch[WATERMARK].fill_null(pa.scalar(_LONG_AGO, batch[WATERMARK].type))) - micros(windowing.lateness)
    if session:
        return firsts, times + micros(windowing.gap) <= passed
    period = micros(windowing.period)
    firsts = np.maximum(firsts, (passed // period + 1) * period)
    return firsts, firsts > cells + micros(windowing.size)


def by_shard(rows: pa.RecordBatch, keys: pa.Array, shards: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(shard, its rows in their order); keys: the text (or null) of each row, whose hash says the shard."""
    encoded = keys.dictionary_encode(null_encoding="encode")
    numbers = np.array([zlib.crc32((key or "").encode()) % shards for key in encoded.dictionary.to_pylist()], np.int64)
    of = numbers[encoded.indices.to_numpy()]
    for shard in np.unique(of).tolist():
        yield shard, rows.filter(pa.array(of == shard))


def keys_of(batch: pa.RecordBatch, names: Sequence[str]) -> tuple[Ints, pa.Array]:
    """The key of each row as a number, and the text (or null) of each number."""
    if not names:
        return np.zeros(batch.num_rows, np.int64), pa.nulls(1, pa.string())
    codes, values = _coded(batch[names[0]])
    if len(names) == 1:
        return codes, values if pa.types.is_string(values.type) else pa.array([_text(v) for v in values.to_pylist()], pa.string())
    for name in names[1:]:
        more, others = _coded(batch[name])
        _, rows, codes = np.unique(codes * len(others) + more, return_index=True, return_inverse=True)
    listed = batch.select(list(names)).take(pa.array(rows)).to_pylist()
    return codes.astype(np.int64, copy=False), pa.array([orjson.dumps(list(key.values())).decode() for key in listed], pa.string())


def _coded(column: pa.Array) -> tuple[Ints, pa.Array]:
    """A number for each value, null being the last one, and the values."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    indices = encoded.indices
    if indices.null_count:
        indices = indices.fill_null(len(encoded.dictionary))
    return indices.to_numpy().astype(np.int64), pa.concat_arrays([encoded.dictionary, pa.nulls(1, encoded.dictionary.type)])


def _text(value: object) -> str | None:
    """A value as a JSON array would hold it, without quotes."""
    return None if value is None else orjson.dumps(value).decode().strip('"')


def _grouped(keys: Ints, cells: Ints, firsts: Ints, length: int) -> tuple[Groups, Ints]:
    """Groups of key, cell and first in their order, and a row of each. A first is some cells after its cell, or 0."""
    cell, cells_most = dense(cells // length)
    first, firsts_most = dense(np.where(firsts == 0, 0, (firsts - cells) // length))
    groups = grouped((keys * cells_most + cell) * firsts_most + first)
    return groups, groups.rows()


def _batch(keys: pa.Array, cells: Ints, firsts: Ints, least: Ints, greatest: Ints, states: dict[str, pa.Array], groups: Groups) -> pa.RecordBatch:
    if len(groups.starts):
        least, greatest = np.minimum.reduceat(least[groups.order], groups.starts), np.maximum.reduceat(greatest[groups.order], groups.starts)
        states = measures.merge(states, groups)
    columns = {KEY: keys, CELL: pa.array(cells), FIRST: pa.array(firsts), LEAST: pa.array(least), GREATEST: pa.array(greatest), **states}
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
