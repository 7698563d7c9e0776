"""RecordCondition: which rows of a batch a rule holds for.

Both sides need not be of one type; what can be compared is what the REST resource says. What cannot be, a null
included, makes the condition false: NOT_EQUAL_TO too.
https://cloud.google.com/sensitive-data-protection/docs/reference/rest/v2/organizations.deidentifyTemplates#condition
"""

import math
import operator
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timezone
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.rules import Comparison
from transforms.operators.operator import Value
from transforms.operators.values import text_of

_EQUALITY: dict[str, Callable[[Any, Any], bool]] = {"EQUAL_TO": operator.eq, "NOT_EQUAL_TO": operator.ne}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "GREATER_THAN": operator.gt, "LESS_THAN": operator.lt, "GREATER_THAN_OR_EQUALS": operator.ge,
    "LESS_THAN_OR_EQUALS": operator.le}


def holds(condition: Sequence[Comparison], batch: pa.RecordBatch) -> pa.BooleanArray:
    """True for each row where all comparisons hold; no nulls."""
    return reduce(pc.and_, [_one(comparison, batch[comparison.field]) for comparison in condition])


def _one(comparison: Comparison, column: pa.Array) -> pa.BooleanArray:
    if comparison.operator == "EXISTS":
        return column.is_valid()
    encoded = column.dictionary_encode()
    answers = [compares(value, comparison.operator, comparison.value) for value in encoded.dictionary.to_pylist()]
    return pc.fill_null(pa.array(answers, pa.bool_()).take(encoded.indices), False)


def compares(value: Value, name: str, wanted: Any) -> bool:
    """Whether `value` of a field stands in this relation to `wanted` of the condition."""
    if name in _EQUALITY:
        pair = _pair(value, wanted)
        return pair is not None and _EQUALITY[name](*pair)
    if isinstance(value, bool) or isinstance(wanted, bool):
        return False  # booleans have no order
    pair = _pair(value, wanted)
    return pair is not None and _ORDER[name](*pair)


def _pair(value: Value, wanted: Any) -> tuple[Any, Any] | None:
    """Both in one type; None where they cannot be compared."""
    if isinstance(wanted, str) and not isinstance(value, str):
        return _from_text(value, wanted)
    if isinstance(wanted, bool) or isinstance(value, bool):
        return (value, wanted) if isinstance(value, bool) and isinstance(wanted, bool) else None
    read = _READ[next(t for t in _READ if isinstance(wanted, t))](value)
    return None if read is None else (read, wanted)


def _from_text(value: Value, wanted: str) -> tuple[Any, Any] | None:
    """Text of a condition against a field that is no text: as the field's type."""
    if isinstance(value, bool):
        return text_of(value), wanted
    read = _READ[next(t for t in _READ if isinstance(value, t))](wanted)
    return None if read is None else (value, read)


def _integer(value: Any) -> int | float | None:
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"[+-]?[0-9]{1,30}", value) else None
    return value if isinstance(value, (int, float)) else None


def _number(value: Any) -> int | float | None:
    if not isinstance(value, str):
        return value if isinstance(value, (int, float)) else None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _instant(value: Any) -> datetime | None:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", value):
        # Python 3.10 reads neither Z nor a fraction of other than 3 or 6 digits.
        whole = re.sub(r"\.(\d+)", lambda f: "." + f[1][:6].ljust(6, "0"), value.upper().replace("Z", "+00:00"))
        try:
            return datetime.fromisoformat(whole)
        except ValueError:
            return None
    return value if isinstance(value, datetime) else None


def _day(value: Any) -> date | None:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).date()
    return value if isinstance(value, date) else None


def _clock(value: Any) -> time | None:
    if isinstance(value, str) and re.fullmatch(r"\d\d:\d\d:\d\d", value):
        try:
            return time.fromisoformat(value)
        except ValueError:
            return None
    return value.astimezone(timezone.utc).time() if isinstance(value, datetime) else None


_READ: dict[type, Callable[[Any], Any]] = {
    str: lambda value: value if isinstance(value, str) else None, int: _integer, float: _number, datetime: _instant,
    date: _day, time: _clock}  # in this order: a datetime is a date too
