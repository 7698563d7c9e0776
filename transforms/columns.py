"""Rows to columns: types and domains as the contract says, each broken rule naming its row and its field.

A chunk is turned into Arrow columns at once; only a chunk that Arrow refuses is looked at row by row. 39.0 is an integer
(as JSON Schema has it), "39" and true are not. Timestamps are RFC 3339 with an offset, kept to the microsecond.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import input_schema
from schemas.contract import Contract
from schemas.errors import Reason
from schemas.fields import Field
from transforms.batch import Refusal, keep

_BITS = {"int": 31, "long": 63}
_FOUND = {"int": (pa.int64(), pa.null()), "long": (pa.int64(), pa.null()), "float": (pa.float64(), pa.int64(), pa.null()),
          "double": (pa.float64(), pa.int64(), pa.null())}
_WRONG = (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError)  # what Arrow raises for a wrong value
_LONGER_THAN_MICROSECONDS = r"(\.\d{6})\d+"
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_WRITTEN = ("timestamp-micros", "date")  # types that JSON writes as strings
_DAY = 86_400_000_000  # microseconds
_FIRST, _LAST = -719_162, 2_932_896  # days since 1970 of 0001-01-01 and 9999-12-31


class Typing:
    """Turns rows into a RecordBatch of the contract's fields. One a worker: it remembers the shapes it has met."""

    def __init__(self, contract: Contract) -> None:
        self.fields = contract.fields
        self.drop_unknown = contract.unknown_fields == "drop"
        self.schema = input_schema(contract)
        self._names = tuple(f.name for f in contract.fields)
        self._required = frozenset(f.name for f in contract.fields if not f.nullable)
        self._shapes: dict[tuple[str, ...], tuple[Reason, str | None] | None] = {}
        self._checks = {f.name: _type_check(f) for f in contract.fields}
        self._domains = [(f, check) for f in contract.fields for check in _domain_checks(f)]

    def columns(self, rows: list[dict[str, Any]]) -> tuple[pa.RecordBatch, list[Refusal]]:
        """A chunk of rows as columns, and the rows whose fields or types are wrong (positions in `rows`)."""
        refused: dict[int, Refusal] = {}
        shapes = [tuple(row) for row in rows]
        for shape in set(shapes):
            fault = self._shapes[shape] if shape in self._shapes else self._shape(shape)
            if fault is not None:
                refused |= {i: Refusal(i, *fault) for i, other in enumerate(shapes) if other == shape}
        values = self._transposed(rows, shapes)
        columns = [self._column(f, values[f.name], refused) for f in self.fields]
        return keep(pa.RecordBatch.from_arrays(columns, schema=self.schema), list(refused)), list(refused.values())

    def _transposed(self, rows: list[dict[str, Any]], shapes: list[tuple[str, ...]]) -> dict[str, Sequence[Any]]:
        """The values of each field, one a row; what a row lacks is None. Rows of the usual shape are turned in one go."""
        usual = Counter(shapes).most_common(1)[0][0] if shapes else ()
        if not set(usual).issuperset(self._names):
            return {name: [row.get(name) for row in rows] for name in self._names}
        turned = zip(*(row.values() if shape is usual or shape == usual else [row.get(name) for name in usual]
                       for row, shape in zip(rows, shapes)))
        return dict(zip(usual, turned))

    def _column(self, field: Field, values: Sequence[Any], refused: dict[int, Refusal]) -> pa.Array:
        """One field of every row; where a value is of another type its row is refused and the column holds null."""
        try:
            return self._convert(field, values)
        except _WRONG:
            fits = list(values)
            for i in self._misfits(field, values):
                refused.setdefault(i, Refusal(i, Reason.WRONG_TYPE, field.name))
                fits[i] = None
            return self._convert(field, fits, vetted=True)

    def _misfits(self, field: Field, values: Sequence[Any], first: int = 0) -> list[int]:
        """Where the values of another type stand. Written types are halved down to them: only Arrow's parser can tell."""
        check = self._checks[field.name]
        if field.type not in _WRITTEN:
            return [i for i, value in enumerate(values) if not check(value)]
        if len(values) == 1:
            return [] if check(values[0]) else [first]
        try:
            self._convert(field, values)
        except _WRONG:
            half = len(values) // 2
            return self._misfits(field, values[:half], first) + self._misfits(field, values[half:], first + half)
        return []

    def _convert(self, field: Field, values: Sequence[Any], vetted: bool = False) -> pa.Array:
        kind = self.schema.field(field.name).type
        if field.type in _WRITTEN:
            return _parsed(pa.array(values, pa.string()), field)
        if field.type not in _FOUND or vetted:
            return pa.array(values, kind)
        # Told the type, Arrow would make 3 of 3.5 and 1.0 of true without a word; left to find it, it finds the truth.
        found = pa.array(values)
        if found.type not in _FOUND[field.type]:
            raise pa.ArrowTypeError(field.name)
        return found.cast(kind)

    def outside(self, batch: pa.RecordBatch) -> list[Refusal]:
        """The rows of a batch that lack a required value or hold one outside the contract's domain."""
        found: dict[int, Refusal] = {}
        for field in self.fields:
            if not field.nullable and batch[field.name].null_count:
                for i in pc.indices_nonzero(batch[field.name].is_null()).to_pylist():
                    found.setdefault(i, Refusal(i, Reason.MISSING_FIELD, field.name))
        for field, check in self._domains:
            allowed = check(batch[field.name])
            if allowed is not None:
                for i in pc.indices_nonzero(pc.invert(pc.fill_null(allowed, True))).to_pylist():
                    found.setdefault(i, Refusal(i, Reason.OUT_OF_RANGE, field.name))
        return list(found.values())

    def _shape(self, shape: tuple[str, ...]) -> tuple[Reason, str | None] | None:
        """What is wrong with a row that has these keys. The name of an unknown field is the sender's, so it is not told."""
        fault: tuple[Reason, str | None] | None = None
        if not self.drop_unknown and not set(self._names).issuperset(shape):
            fault = (Reason.UNKNOWN_FIELD, None)
        elif missing := self._required.difference(shape):
            fault = (Reason.MISSING_FIELD, min(missing))
        if len(self._shapes) < 4096:  # a sender who shuffles keys at random shall not fill the memory
            self._shapes[shape] = fault
        return fault


def _parsed(column: pa.Array, field: Field) -> pa.Array:
    """Texts as days or times. Raises ArrowInvalid, also outside the years 1 to 9999, which are all that BigQuery and Python know: an offset
    leads out of them, and Arrow knows a year 0."""
    found, span = _written(column, field), 1 if field.type == "date" else _DAY
    ends = pc.min_max(found.view(pa.int32() if field.type == "date" else pa.int64()))
    if ends["min"].is_valid and not _FIRST * span <= ends["min"].as_py() <= ends["max"].as_py() < (_LAST + 1) * span:
        raise pa.ArrowInvalid(field.name)
    return found


def _written(column: pa.Array, field: Field) -> pa.Array:
    if field.type == "date":
        return column.cast(pa.date32())
    try:
        return column.cast(pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:
        # Arrow takes no fraction finer than its unit, and RFC 3339 allows t and z.
        upper = pc.utf8_upper(column)
        return pc.replace_substring_regex(upper, _LONGER_THAN_MICROSECONDS, r"\1").cast(pa.timestamp("us", "UTC"))


def _type_check(field: Field) -> Callable[[Any], bool]:
    """Says of one value what `_convert` says of a column."""
    if field.type == "string":
        return lambda v: v is None or (type(v) is str and _encodes(v))
    if field.type in _BITS:
        bound = 1 << _BITS[field.type]
        return lambda v: v is None or (type(v) is int and -bound <= v < bound) or (
            type(v) is float and v.is_integer() and abs(v) <= min(1 << 53, bound - 1))
    if field.type in ("float", "double"):
        return lambda v: v is None or (type(v) in (int, float) and abs(v) < 1 << 53 if type(v) is int else type(v) is float)
    if field.type == "boolean":
        return lambda v: v is None or type(v) is bool
    return lambda v: v is None or (type(v) is str and _is_written(v, field))


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_written(text: str, field: Field) -> bool:
    if not text.isascii():
        return False
    try:
        _parsed(pa.array([text]), field)
    except pa.ArrowInvalid:
        return False
    return True


def _domain_checks(field: Field) -> list[Callable[[pa.Array], pa.Array | None]]:
    """Checks of a column: True where a value may stand, None where all may."""
    checks: list[Callable[[pa.Array], pa.Array | None]] = []
    if field.values is not None:
        allowed = pa.array(field.values, pa.string())
        checks.append(lambda c: _or_none(pc.is_in(c, value_set=allowed, skip_nulls=True) if c.null_count == 0 else
                                         pc.or_(c.is_null(), pc.is_in(c, value_set=allowed))))
    if field.minimum is not None:
        checks.append(lambda c: _or_none(pc.greater_equal(c, field.minimum)))
    if field.maximum is not None:
        checks.append(lambda c: _or_none(pc.less_equal(c, field.maximum)))
    if field.pattern is not None:
        whole = f"^(?:{field.pattern})$"
        checks.append(lambda c: _or_none(pc.match_substring_regex(c, whole)))
    if field.max_length is not None:
        checks.append(lambda c: _or_none(pc.less_equal(pc.utf8_length(c), field.max_length)))
    if field.type in ("float", "double"):
        checks.append(lambda c: _or_none(pc.is_finite(c)))
    return checks


def _or_none(allowed: pa.Array) -> pa.Array | None:
    return None if pc.all(allowed, min_count=0).as_py() else allowed
