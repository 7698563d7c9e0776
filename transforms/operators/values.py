"""Values of a cell: from DLP's `Value`, and as the text that a transformation works on."""

import re
from datetime import date, datetime, time, timezone

from google.cloud.dlp_v2 import types

from schemas.rules import literal
from transforms.operators.operator import Value

_NUMBER = re.compile(r"\s*[+-]?(\d{1,400}(\.\d{0,400})?|\.\d{1,400})([eE][+-]?\d{1,3})?\s*", re.ASCII)
_WEEKDAYS = ("", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")


def text_of(value: Value) -> str:
    """The text that stands for a value: what DLP counts the bytes of, and what a token of it holds.

    Integers in decimal digits, floats in the fewest digits that give the same float, booleans as true and false, dates
    as 2026-03-04, times as RFC 3339 (Z for UTC).
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return repr(value)


def bytes_of(value: Value) -> bytes:
    """UTF-8 of the text. A lone surrogate passes, as an exception about it would quote the value."""
    return text_of(value).encode("utf-8", "surrogatepass")


def number_of(value: Value) -> int | float | None:
    """The number that a value is or spells; None where it is none, or not finite."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        if not (spelt := _NUMBER.fullmatch(value)):
            return None
        value = float(value) if spelt[2] or spelt[3] or "." in value else int(value)
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if isinstance(value, int) else None


def from_proto(value: types.Value) -> Value | None:
    """The Python value of a DLP `Value`; None where it holds none, or a day that no calendar has.

    A time of day becomes 08:30:00 and a day of the week MONDAY, as text: no cell of ours has these types.
    """
    if value.day_of_week_value:
        return _WEEKDAYS[int(value.day_of_week_value)]
    plain = literal(value)
    if isinstance(plain, datetime):  # a subclass that knows nanoseconds; its microseconds are ours
        return datetime(plain.year, plain.month, plain.day, plain.hour, plain.minute, plain.second, plain.microsecond, timezone.utc)
    return plain.isoformat() if isinstance(plain, time) else plain
