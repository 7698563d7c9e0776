"""Measures of a window as states that merge in any order to the same result.

A row is lifted to a state, states merge to the state of all their rows, and a measure is read off a state. Nulls, and
numbers that are not finite, are ignored by all but count. State columns are named KIND:COLUMN, and measures of one column
share them:

    rows, n      int64      rows; rows that are not null
    sum          struct     of integers: sums of their upper and lower 32 bits, so that no sum overflows; of floats one float64
    least, greatest         int64 or float64 (where n is 0 they hold nothing), or string
    first, last  struct     of time, tie and value: the earliest (latest) by event time, then by id_hash
    hashes       list       of the smallest 64-bit hashes (transforms.sketches)
    sketch       list       of buckets and counts (transforms.sketches)
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import arrow_type
from schemas.windows import Measure
from transforms import sketches
from transforms.groups import Groups, Ints, ranked

_MOST, _LEAST = np.iinfo(np.int64).max, np.iinfo(np.int64).min
_STATES = {"count": ("rows",), "sum": ("n", "sum"), "mean": ("n", "sum"), "min": ("n", "least"), "max": ("n", "greatest"),
           "distinct": ("hashes",), "quantile": ("sketch",), "first": ("first",), "last": ("last",)}
Numbers = npt.NDArray[np.int64] | npt.NDArray[np.float64]


def lift(batch: pa.RecordBatch, measures: Sequence[Measure], times: Ints, ties: Ints | None) -> dict[str, pa.Array]:
    """{state: one element a row} of rows with these event times; ties (id_hash) are asked for by first and last alone."""
    states: dict[str, pa.Array] = {}
    columns: dict[str, pa.Array] = {}
    for measure in measures:
        for kind in _STATES[measure.kind]:
            if measure.field is None:
                states[kind] = pa.array(np.ones(batch.num_rows, np.int64))
            elif f"{kind}:{measure.field}" not in states:
                if measure.field not in columns:
                    columns[measure.field] = _finite(batch[measure.field])
                column = columns[measure.field]
                if kind in ("first", "last"):
                    held = [pa.array(times), pa.array(ties), column.cast(arrow_type(measure.type))]
                    states[f"{kind}:{measure.field}"] = pa.StructArray.from_arrays(held, ["time", "tie", "value"])
                else:
                    states[f"{kind}:{measure.field}"] = _LIFT[kind](column)
    return states


def merge(states: Mapping[str, pa.Array], groups: Groups) -> dict[str, pa.Array]:
    """{state: one element a group}; there is at least one group."""
    return {name: _MERGE[name.partition(":")[0]](column, groups) for name, column in states.items()}


def read(measure: Measure, states: Mapping[str, pa.Array]) -> pa.Array:
    """The measure's column, one element a state, of the measure's type; null where no row counts (count, distinct: 0)."""
    if measure.field is None:
        return states["rows"]
    held = {kind: states[f"{kind}:{measure.field}"] for kind in _STATES[measure.kind]}
    return _READ[measure.kind](measure, held).cast(arrow_type(measure.type))


def _finite(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type) and not (finite := pc.is_finite(column)).true_count == len(column):
        return pc.if_else(finite, column, pa.scalar(None, column.type))
    return column


def _numbers(column: pa.Array, missing: float | None = None) -> Numbers:
    """Values as int64 (times and days as their number) or float64; nulls as `missing`, 0 where it is None."""
    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    wide = pa.float64() if pa.types.is_floating(column.type) else pa.int64()
    if column.type != wide:
        column = column.cast(wide)
    if column.null_count:
        column = column.fill_null(pa.scalar(missing or 0, wide))
    numbers: Numbers = column.to_numpy()
    return numbers


def _lift_n(column: pa.Array) -> pa.Array:
    return column.is_valid().cast(pa.int64())


def _lift_sum(column: pa.Array) -> pa.Array:
    values: Any = _numbers(column)
    return pa.array(values) if values.dtype == np.float64 else _halves(values >> 32, values & 0xFFFFFFFF)


def _halves(high: Ints, low: Ints) -> pa.Array:
    return pa.StructArray.from_arrays([pa.array(high), pa.array(low)], ["high", "low"])


def _lift_least(column: pa.Array) -> pa.Array:
    return column if _text(column) else pa.array(_numbers(column, math.inf if pa.types.is_floating(column.type) else _MOST))


def _lift_greatest(column: pa.Array) -> pa.Array:
    return column if _text(column) else pa.array(_numbers(column, -math.inf if pa.types.is_floating(column.type) else _LEAST))


def _text(column: pa.Array) -> bool:
    return bool(pa.types.is_string(column.type))


def _lift_hashes(column: pa.Array) -> pa.Array:
    known = column.drop_null()
    return sketches.hashes(_held(column), sketches.hashed_texts(known) if _text(column) else sketches.hashed_numbers(_numbers(known)))


def _held(column: pa.Array) -> npt.NDArray[np.bool_]:
    held: npt.NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return held


def _merge_added(column: pa.Array, groups: Groups) -> pa.Array:
    if pa.types.is_struct(column.type):
        high, low = (np.add.reduceat(column.field(i).to_numpy()[groups.order], groups.starts) for i in (0, 1))
        return _halves(high + (low >> 32), low & 0xFFFFFFFF)
    return pa.array(np.add.reduceat(column.to_numpy()[groups.order], groups.starts))


def _merge_least(column: pa.Array, groups: Groups) -> pa.Array:
    if _text(column):
        codes, texts = ranked(column)
        return texts.take(pa.array(np.minimum.reduceat(codes[groups.order], groups.starts)))  # null is the last
    return pa.array(np.minimum.reduceat(column.to_numpy()[groups.order], groups.starts))


def _merge_greatest(column: pa.Array, groups: Groups) -> pa.Array:
    if _text(column):
        codes, texts = ranked(column)
        codes = np.where(codes == len(texts) - 1, -1, codes)
        found = np.maximum.reduceat(codes[groups.order], groups.starts)
        return texts.take(pa.array(np.where(found < 0, len(texts) - 1, found)))
    return pa.array(np.maximum.reduceat(column.to_numpy()[groups.order], groups.starts))


def _merge_first(column: pa.Array, groups: Groups, latest: bool = False) -> pa.Array:
    order, starts, of = groups
    time, tie, value = column.flatten()
    left = _held(value)[order]
    for part in (time, tie):
        numbers = part.fill_null(0).to_numpy()[order]
        numbers = np.where(left, ~numbers if latest else numbers, _MOST)  # ~ turns the order around and cannot overflow
        left = left & (numbers == np.minimum.reduceat(numbers, starts)[of])
    found = np.minimum.reduceat(np.where(left, np.arange(len(order)), len(order)), starts)
    none = found == len(order)
    return column.take(pa.array(order[np.where(none, 0, found)], mask=none))


def _read_sum(measure: Measure, held: Mapping[str, pa.Array]) -> pa.Array:
    """Null where an integer sum does not fit 64 bits."""
    values, fits = _total(held["sum"])
    return pa.array(values, mask=(held["n"].to_numpy() == 0) | ~fits)


def _total(column: pa.Array) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    if not pa.types.is_struct(column.type):
        return column.to_numpy(), np.ones(len(column), bool)
    high, low = (column.field(i).to_numpy() for i in (0, 1))
    high, low = high + (low >> 32), low & 0xFFFFFFFF
    return (high << 32) + low, (high >= -(1 << 31)) & (high < 1 << 31)


def _read_mean(measure: Measure, held: Mapping[str, pa.Array]) -> pa.Array:
    n, (values, fits) = held["n"].to_numpy(), _total(held["sum"])
    totals = values.astype(np.float64)
    if not fits.all():
        high, low = (held["sum"].field(i).to_numpy().astype(np.float64) for i in (0, 1))
        totals = np.where(fits, totals, high * 2.0 ** 32 + low)
    return pa.array(totals / np.maximum(n, 1), mask=n == 0)


def _read_least(measure: Measure, held: Mapping[str, pa.Array]) -> pa.Array:
    column = held["least" if measure.kind == "min" else "greatest"]
    if _text(column):
        return column
    column = pc.if_else(held["n"].to_numpy() > 0, column, pa.scalar(None, column.type))
    return column.cast(pa.int32()) if measure.type == "date" else column


def _read_first(measure: Measure, held: Mapping[str, pa.Array]) -> pa.Array:
    return held[measure.kind].flatten()[2]


_LIFT: dict[str, Callable[[pa.Array], pa.Array]] = {
    "n": _lift_n, "sum": _lift_sum, "least": _lift_least, "greatest": _lift_greatest, "hashes": _lift_hashes,
    "sketch": lambda column: sketches.buckets(_held(column), _numbers(column.drop_null()).astype(np.float64))}
_MERGE: dict[str, Callable[[pa.Array, Groups], pa.Array]] = {
    "rows": _merge_added, "n": _merge_added, "sum": _merge_added, "least": _merge_least, "greatest": _merge_greatest, "first": _merge_first,
    "last": lambda column, groups: _merge_first(column, groups, latest=True), "hashes": sketches.merged_hashes, "sketch": sketches.merged_buckets}
_READ: dict[str, Callable[[Measure, Mapping[str, pa.Array]], pa.Array]] = {
    "sum": _read_sum, "mean": _read_mean, "min": _read_least, "max": _read_least, "first": _read_first, "last": _read_first,
    "distinct": lambda measure, held: sketches.distinct(held["hashes"]),
    "quantile": lambda measure, held: sketches.quantile(held["sketch"], measure.at or 0)}
