"""Rows of any contract made wrong: other content under a known id, and broken lines with the reason under which they must be refused.

Each way of breaking a line breaks one rule only, so that there is one right answer. What is broken is found in the contract's fields.
"""

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import orjson

from pipelines.tools.people import Random
from schemas.contract import Contract
from schemas.errors import Reason
from schemas.fields import Field

Row = dict[str, object]
Way = tuple[Reason, Callable[[Row, Random], bytes]]

_MISFITS: dict[str, object] = {"string": 1, "boolean": "yes", "timestamp-micros": "yesterday", "date": "yesterday"}
"""A value of another type, for each type that is no number."""


class Flaws:
    """Breaks rows of one contract, each in the next way in turn, so that after as many as there are `ways` each has occurred."""

    def __init__(self, contract: Contract) -> None:
        self.ways = [*_malformed(contract), *_wrong_type(contract), *_unknown_field(contract), *_missing_field(contract)]
        self._turn: Iterator[Way] = cycle(self.ways)
        self._others = [f for f in contract.fields if f.name not in (contract.id, contract.time)]

    def broken(self, row: Row, draw: Random) -> tuple[bytes, Reason]:
        """The row as a line that must be refused, and why."""
        reason, apply = next(self._turn)
        return apply(row, draw), reason

    def conflicting(self, row: Row, draw: Random) -> bytes:
        """Another valid row with the id and the time of this one. Raises ValueError where no field could hold anything else."""
        first = int(draw() * len(self._others))
        for field in self._others[first:] + self._others[:first]:
            found = _another(field, row.get(field.name))
            if found is not row.get(field.name):
                return orjson.dumps({**row, field.name: found})
        raise ValueError("the contract has no field whose value could be another one")


def _another(field: Field, value: object) -> object:
    """A value that the field may hold, other than this one; the same where none is known."""
    if value is not None and field.nullable:
        return None
    if field.values is not None:
        return next((v for v in field.values if v != value), value)
    if field.type == "boolean":
        return value is not True
    if field.type in ("int", "long", "float", "double"):
        number: Any = value or 0
        steps = [n for n in (number + 1, number - 1, field.minimum, field.maximum) if n is not None and n != value]
        return next((n for n in steps if (field.minimum is None or n >= field.minimum) and (field.maximum is None or n <= field.maximum)), value)
    return value


def _malformed(contract: Contract) -> list[Way]:
    def cut(row: Row, draw: Random) -> bytes:
        line = orjson.dumps(row)
        return line[:1 + int(draw() * (len(line) - 1))]

    def no_utf8(row: Row, draw: Random) -> bytes:
        return orjson.dumps({**row, contract.id: "@@"}).replace(b'"@@"', b'"\xff\xfe"')

    def key_twice(row: Row, draw: Random) -> bytes:
        return orjson.dumps(row)[:-1] + b"," + orjson.dumps({contract.id: row[contract.id]})[1:]

    def no_number(row: Row, draw: Random) -> bytes:
        return orjson.dumps({**row, contract.time: 0}).replace(orjson.dumps({contract.time: 0})[1:-1], orjson.dumps({contract.time: 0})[1:-2] + b"NaN")

    def no_object(row: Row, draw: Random) -> bytes:
        return b"[" + orjson.dumps(row) + b"]"

    def comma(row: Row, draw: Random) -> bytes:
        return orjson.dumps(row)[:-1] + b",}"

    return [(Reason.MALFORMED, apply) for apply in (cut, no_utf8, key_twice, no_number, no_object, comma)]


def _wrong_type(contract: Contract) -> list[Way]:
    return [(Reason.WRONG_TYPE, _with(field.name, _MISFITS.get(field.type, "12"))) for field in contract.fields]


def _unknown_field(contract: Contract) -> list[Way]:
    if contract.unknown_fields == "drop":
        return []
    return [(Reason.UNKNOWN_FIELD, _with(name, value)) for name, value in (("not_in_the_contract", 1), (contract.id.upper(), None))]


def _missing_field(contract: Contract) -> list[Way]:
    required = [field.name for field in contract.fields if not field.nullable]
    return [(Reason.MISSING_FIELD, apply) for name in required for apply in (_without(name), _with(name, None))]


def _with(name: str, value: object) -> Callable[[Row, Random], bytes]:
    return lambda row, draw: orjson.dumps({**row, name: value})


def _without(name: str) -> Callable[[Row, Random], bytes]:
    return lambda row, draw: orjson.dumps({key: value for key, value in row.items() if key != name})
