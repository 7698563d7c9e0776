"""DLP's `Value`, written, measured and read on the raw protobuf: proto-plus takes ten times as long.

https://cloud.google.com/sensitive-data-protection/docs/reference/rest/v2/ContentItem#value
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.operators.operator import Value

EMPTY = 2  # bytes of a cell without a value
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_WEEKDAYS = ("", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
# Most bytes of a cell: tag and length in the row (2), tag (1), and the value; messages add a length byte.
_MOST = {pa.float32(): 11, pa.float64(): 11, pa.bool_(): 4, pa.timestamp("us", "UTC"): 21, pa.date32(): 11}


def _string(cell: Any, value: Any) -> None:
    cell.string_value = value


def _integer(cell: Any, value: Any) -> None:
    cell.integer_value = value


def _float(cell: Any, value: Any) -> None:
    cell.float_value = value


def _boolean(cell: Any, value: Any) -> None:
    cell.boolean_value = value


def _timestamp(cell: Any, value: Any) -> None:
    micros = (value - EPOCH) // timedelta(microseconds=1)
    cell.timestamp_value.SetInParent()  # 1970-01-01T00:00:00Z has no field that is set
    cell.timestamp_value.seconds = micros // 1_000_000
    cell.timestamp_value.nanos = micros % 1_000_000 * 1000


def _date(cell: Any, value: Any) -> None:
    cell.date_value.year, cell.date_value.month, cell.date_value.day = value.year, value.month, value.day


_WRITERS: dict[pa.DataType, Callable[[Any, Any], None]] = {
    pa.string(): _string, pa.int32(): _integer, pa.int64(): _integer, pa.float32(): _float, pa.float64(): _float,
    pa.bool_(): _boolean, pa.timestamp("us", "UTC"): _timestamp, pa.date32(): _date}


def writer(type_: pa.DataType) -> Callable[[Any, Any], None]:
    """What puts a value (not None) of an Arrow type into a raw `Value`."""
    return _WRITERS[type_]


def sizes(column: pa.Array) -> npt.NDArray[np.int64]:
    """Bytes that each cell takes in a row of a table: exact for texts and integers, else the most it can take."""
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_string(column.type):
        length = text_bytes(column)
        value = 1 + _varint(length) + length
        return np.where(valid, 1 + _varint(value) + value, EMPTY)
    if pa.types.is_integer(column.type):
        return np.where(valid, 3 + _varint(pc.fill_null(column, 0).to_numpy().astype(np.int64)), EMPTY)
    return np.where(valid, _MOST[column.type], EMPTY).astype(np.int64)


def text_bytes(column: pa.Array) -> npt.NDArray[np.int64]:
    """UTF-8 bytes of each text, 0 for null."""
    return pc.fill_null(pc.binary_length(column), 0).to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def _varint(number: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Bytes of each number on the wire, 7 bits a byte; a negative one takes all 10."""
    digits = sum((number >= 1 << bits for bits in range(7, 63, 7)), np.ones(len(number), np.int64))
    return np.where(number < 0, 10, digits)


def read(cell: Any) -> Value | None:
    """The value of a raw `Value`; None where it is empty, or a day that no calendar has.

    A time of day is 08:30:00 and a day of the week MONDAY, as text: no column of ours has these types.
    """
    if text := cell.string_value:
        return str(text)
    which = cell.WhichOneof("type")
    if which is None:
        return None
    if which == "timestamp_value":
        return _moment(cell.timestamp_value)
    if which == "date_value":
        return _day(cell.date_value)
    if which == "time_value":
        t = cell.time_value
        return f"{t.hours:02}:{t.minutes:02}:{t.seconds:02}"
    if which == "day_of_week_value":
        return _WEEKDAYS[cell.day_of_week_value]
    value: Value = getattr(cell, which)
    return value


def _moment(stamp: Any) -> datetime | None:
    try:
        return EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
    except OverflowError:
        return None


def _day(day: Any) -> date | None:
    try:
        return date(day.year, day.month, day.day)
    except ValueError:
        return None
