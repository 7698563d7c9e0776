"""Values of typed formats (Avro, Parquet) in the terms of JSON, the same for both."""

import math
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

# Years 1 to 9999: what RFC 3339 can write.
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def times(column: pa.Array) -> list[Any]:
    """A timestamp column as RFC 3339 texts in UTC, a date column as YYYY-MM-DD.

    A timestamp without a zone gets no offset, so that the typing step refuses it: nobody said where it was noon. What lies
    outside the years 1 to 9999 stays a number, of the type's own unit.
    """
    if pa.types.is_date(column.type):
        column = column.cast(pa.date32()) if pa.types.is_date64(column.type) else column
        numbers, low, high, form = column.cast(pa.int32()), _FIRST_DAY, _LAST_DAY, "%Y-%m-%d"
    else:
        unit = column.type.unit
        form = "%Y-%m-%dT%H:%M:%SZ" if column.type.tz is not None else "%Y-%m-%dT%H:%M:%S"
        column = column.cast(pa.timestamp(unit, "UTC" if column.type.tz is not None else None))
        numbers = column.cast(pa.int64())
        low, high = max(_FIRST_DAY * _DAY[unit], -1 << 63), min((_LAST_DAY + 1) * _DAY[unit] - 1, (1 << 63) - 1)
    fits = pc.and_(pc.greater_equal(numbers, low), pc.less_equal(numbers, high))
    texts: list[Any] = pc.strftime(pc.if_else(fits, column, pa.scalar(None, column.type)), format=form).to_pylist()
    for position in pc.indices_nonzero(pc.invert(pc.fill_null(fits, True))).to_pylist():
        texts[position] = numbers[position].as_py()
    return texts


def plain(value: Any) -> Any:
    """A value that JSON does not have, in a form that JSON has and that no field of a contract takes by accident.

    Bytes become {"bytes": text}, as in Avro's JSON encoding; a decimal becomes the number where that is exact, else its digits.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"bytes": bytes(value).decode("latin-1")}
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    return {type(value).__name__: str(value)}


def json_row(row: dict[str, Any]) -> bytes:
    """A row as JSON bytes. What JSON cannot write (NaN, a lone surrogate, an integer over 64 bits) is written as its text."""
    try:
        return orjson.dumps(row)
    except (TypeError, ValueError):
        return orjson.dumps(_writable(row))


def _number(value: Decimal) -> int | float | str:
    if value.is_finite() and value == value.to_integral_value() and abs(value) < 1 << 64:
        return int(value)
    return float(value) if value.is_finite() and Decimal(repr(float(value))) == value else str(value)


def _writable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_writable(str(k)): _writable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_writable(v) for v in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int) and not -1 << 63 <= value < 1 << 64:
        return str(value)
    return value if value is None or (isinstance(value, (int, float)) and math.isfinite(value)) else str(value)
