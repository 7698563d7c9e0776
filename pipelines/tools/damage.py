"""Ways to break a line of the census contract, each with the reason under which a reader must refuse it.

Each way breaks one rule only, so that there is one right answer.
"""

import json
from collections.abc import Callable
from typing import NamedTuple

from pipelines.tools.people import Random
from schemas.errors import Reason

Pairs = dict[str, str]  # field -> its JSON text, in the order of the line


class Damage(NamedTuple):
    """One way to break a line: apply(pairs of an intact row, draw) answers the line."""

    name: str
    reason: Reason
    apply: Callable[[Pairs, Random], bytes]


def _line(pairs: Pairs, *more: str) -> bytes:
    return ("{" + ",".join([*(f'"{k}":{v}' for k, v in pairs.items()), *more]) + "}").encode()


def _with(field: str, text: str) -> Callable[[Pairs, Random], bytes]:
    """The field's value replaced by this JSON text (or something that is none)."""
    return lambda pairs, draw: _line({**pairs, field: text})


def _without(field: str) -> Callable[[Pairs, Random], bytes]:
    return lambda pairs, draw: _line({k: v for k, v in pairs.items() if k != field})


def _plus(text: str) -> Callable[[Pairs, Random], bytes]:
    """One more member at the end of the object."""
    return lambda pairs, draw: _line(pairs, text)


def _whole(text: str) -> Callable[[Pairs, Random], bytes]:
    return lambda pairs, draw: text.encode()


def _noted(content: bytes) -> Callable[[Pairs, Random], bytes]:
    """A note with these bytes inside."""
    return lambda pairs, draw: _line({**pairs, "note": '"see @@ here"'}).replace(b"@@", content)


def _cut(pairs: Pairs, draw: Random) -> bytes:
    line = _line(pairs)
    return line[:1 + int(draw() * (len(line) - 1))]


def _unclosed(pairs: Pairs, draw: Random) -> bytes:
    return _line(pairs)[:-1]


def _doubled(pairs: Pairs, draw: Random) -> bytes:
    name = list(pairs)[int(draw() * len(pairs))]
    return _line(pairs, f'"{name}":{pairs[name]}')


_MALFORMED: tuple[tuple[str, Callable[[Pairs, Random], bytes]], ...] = (
    ("truncated", _cut), ("unclosed", _unclosed),
    ("bad_utf8", _noted(b"\xff\xfe")), ("cut_utf8", _noted(b"\xe2\x82")), ("overlong_utf8", _noted(b"\xc0\xaf")),
    ("surrogate_utf8", _noted(b"\xed\xa0\x80")),
    ("lone_high_surrogate", _noted(b"\\ud83d")), ("lone_low_surrogate", _noted(b"\\ude00")), ("bad_escape", _noted(b"\\x41")),
    ("nan", _with("age", "NaN")), ("infinity", _with("capital_gain", "Infinity")), ("minus_infinity", _with("capital_loss", "-Infinity")),
    ("leading_zero", _with("age", "039")), ("python_true", _with("age", "True")),
    ("duplicate_key", _doubled), ("duplicate_key_escaped", lambda pairs, draw: _line({**pairs, "sex": '"Male"'}, '"\\u0073ex":"Female"')),
    ("array", _whole("[1,2,3]")), ("number", _whole("42")), ("string", _whole('"application"')), ("null", _whole("null")),
    ("text", _whole("<application/>")), ("trailing_comma", lambda pairs, draw: _line(pairs)[:-1] + b",}"),
    ("two_objects", lambda pairs, draw: _line(pairs) + b"{}"), ("single_quotes", _with("sex", "'Male'")),
)
_WRONG_TYPE: tuple[tuple[str, Callable[[Pairs, Random], bytes]], ...] = (
    ("string_for_int", _with("age", '"39"')), ("bool_for_int", _with("hours_per_week", "true")), ("fraction_for_int", _with("age", "39.5")),
    ("object_for_int", _with("capital_gain", '{"usd":5}')), ("array_for_string", _with("workclass", '["Private"]')),
    ("number_for_string", _with("phone", "2125550143")), ("bool_for_string", _with("note", "false")),
    ("number_for_id", _with("application_id", "1")),
    ("over_int32", _with("fnlwgt", "2147483648")), ("over_int64", _with("fnlwgt", "9223372036854775808")),
    ("over_uint64", _with("capital_gain", "18446744073709551616")), ("huge_int", _with("capital_loss", "1" + "0" * 30)),
    ("huge_negative_int", _with("age", "-9223372036854775809")),
    ("time_in_words", _with("submitted_at", '"yesterday"')), ("time_of_no_day", _with("submitted_at", '"2026-02-30T10:00:00+00:00"')),
)
_UNKNOWN: tuple[tuple[str, Callable[[Pairs, Random], bytes]], ...] = (
    ("new_field", _plus('"salary_band":3')), ("nested_new_field", _plus('"meta":{"agent":"web","version":2}')),
    ("other_case", _plus('"Age":40')), ("null_new_field", _plus('"middle_name":null')),
)
_MISSING: tuple[tuple[str, Callable[[Pairs, Random], bytes]], ...] = (
    ("no_id", _without("application_id")), ("null_id", _with("application_id", "null")),
    ("no_time", _without("submitted_at")), ("null_time", _with("submitted_at", "null")), ("empty_object", _whole("{}")),
)
_OUTSIDE: tuple[tuple[str, Callable[[Pairs, Random], bytes]], ...] = (
    ("over_maximum", _with("age", "131")), ("under_minimum", _with("education_num", "0")), ("negative", _with("hours_per_week", "-1")),
    ("not_listed", _with("workclass", '"Astronaut"')), ("spaced_value", _with("sex", '" Male"')),
    ("spaced_id", _with("application_id", '"A 12"')), ("long_string", _with("phone", json.dumps("5" * 41))),
)

DAMAGES = {reason: tuple(Damage(name, reason, apply) for name, apply in ways) for reason, ways in (
    (Reason.MALFORMED, _MALFORMED), (Reason.WRONG_TYPE, _WRONG_TYPE), (Reason.UNKNOWN_FIELD, _UNKNOWN),
    (Reason.MISSING_FIELD, _MISSING), (Reason.OUT_OF_RANGE, _OUTSIDE))}


def broken(line: str, damage: Damage, draw: Random) -> bytes:
    """An intact line, broken in this way."""
    pairs = {k: json.dumps(v, ensure_ascii=False) for k, v in json.loads(line).items()}
    return damage.apply(pairs, draw)


def oversized(line: str, limit: int) -> bytes:
    """An intact line with a note that takes it over this many bytes."""
    pairs = {k: json.dumps(v, ensure_ascii=False) for k, v in json.loads(line).items()}
    return _line({**pairs, "note": json.dumps("again and " * (limit // 10 + 1))})
