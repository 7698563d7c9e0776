"""Types and domains: what one value must be for its row to pass, alone and beside other rows."""

import json
from datetime import date, datetime, timezone
from itertools import pairwise

import pytest

from schemas.errors import Reason
from schemas.fields import Field
from tests.contracts import plain_contract
from transforms.columns import Typing

FIELDS = (
    Field("n", "int", True, "public", "A number.", minimum=0, maximum=10),
    Field("big", "long", True, "public", "A long."),
    Field("x", "double", True, "public", "A double."),
    Field("yes", "boolean", True, "public", "A switch."),
    Field("day", "date", True, "public", "A day."),
    Field("kind", "string", True, "public", "A kind.", values=("a", "?")),
)
GOOD = {"id": "r-1", "at": "2026-03-04T12:00:00+01:00", "text": "hello", "n": 3, "big": 2**40, "x": 1.5, "yes": True, "day": "2026-03-04", "kind": "a"}
OK, T, R, M, U = None, Reason.WRONG_TYPE, Reason.OUT_OF_RANGE, Reason.MISSING_FIELD, Reason.UNKNOWN_FIELD

CASES = [
    ({}, OK, "as it is"),
    ({"n": None, "text": None, "kind": None, "x": None, "yes": None, "day": None, "big": None}, OK, "what may be null is null"),
    ({"n": 3.0}, OK, "an integral number is an integer"),
    ({"n": 3.5}, T, "a fraction is not"),
    ({"n": "3"}, T, "nor a string"),
    ({"n": True}, T, "nor a boolean"),
    ({"n": 2**31}, T, "does not fit 32 bits"),
    ({"n": float("nan")}, T, "not a number at all"),
    ({"n": 11}, R, "over the maximum"),
    ({"n": -1}, R, "under the minimum"),
    ({"big": 2**63}, T, "does not fit 64 bits"),
    ({"big": 1e30}, T, "what orjson makes of a huge integer"),
    ({"big": 2**63 - 1}, OK, "the largest"),
    ({"x": 1}, OK, "an integer is a number"),
    ({"x": "1.5"}, T, "a string is not"),
    ({"x": True}, T, "nor a boolean"),
    ({"x": float("nan")}, R, "NaN, which Avro and Parquet can hold"),
    ({"x": float("inf")}, R, "infinity"),
    ({"yes": 1}, T, "a number is no boolean"),
    ({"yes": "true"}, T, "nor a string"),
    ({"text": 5}, T, "a number is no string"),
    ({"text": ["a"]}, T, "nor a list"),
    ({"text": {"a": 1}}, T, "nor an object"),
    ({"text": "ä" * 50}, OK, "50 code points"),
    ({"text": "ä" * 51}, R, "one over the longest"),
    ({"text": "\ud800"}, T, "a lone surrogate is no text"),
    ({"kind": "b"}, R, "not one of its values"),
    ({"kind": "?"}, OK, "one of them"),
    ({"id": "A 1"}, R, "not the pattern"),
    ({"id": "r-1\n"}, R, "the pattern is matched whole"),
    ({"id": None}, M, "a required field is null"),
    ({"at": None}, M, "so is the time"),
    ({"at": "0001-01-01T00:00:00Z", "day": "0001-01-01"}, OK, "the first moment, and day"),
    ({"at": "9999-12-31T23:59:59.9999999Z", "day": "9999-12-31"}, OK, "the last"),
    ({"at": "0000-12-31T23:59:59Z"}, T, "the year before the first: neither BigQuery nor Python has it"),
    ({"at": "0001-01-01T00:00:00+14:00"}, T, "an offset leads there too"),
    ({"at": "9999-12-31T23:59:59-12:00"}, T, "or into the year 10000"),
    ({"day": "0000-12-31"}, T, "the day before the first"),
    ({"day": "2026-02-30"}, T, "no such day"),
    ({"day": "04.03.2026"}, T, "not ISO 8601"),
    ({"day": 20000}, T, "a number is no date"),
    ({"at": "2026-03-04T12:00:00Z"}, OK, "UTC"),
    ({"at": "2026-03-04T12:00:00.123456789-05:00"}, OK, "finer than a microsecond"),
    ({"at": "2026-03-04t12:00:00z"}, OK, "RFC 3339 allows small letters"),
    ({"at": "2026-03-04T12:00:00"}, T, "no offset"),
    ({"at": "2026-03-04"}, T, "no time"),
    ({"at": "2026-02-30T12:00:00Z"}, T, "no such day"),
    ({"at": "2026-03-04T25:00:00Z"}, T, "no such hour"),
    ({"at": 1772622000}, T, "seconds since when?"),
    ({"at": ""}, T, "empty"),
    ({"extra": 1}, U, "not in the contract"),
]


def verdicts(rows: list[dict]) -> list[Reason | None]:
    typing = Typing(plain_contract(FIELDS))
    batch, wrong = typing.columns(rows)
    found: dict[int, Reason | None] = {r.position: r.reason for r in wrong}
    kept = [i for i in range(len(rows)) if i not in found]
    assert batch.num_rows == len(kept)
    found |= {kept[r.position]: r.reason for r in typing.outside(batch)}
    return [found.get(i) for i in range(len(rows))]


@pytest.mark.parametrize(("change", "reason", "remark"), CASES, ids=[c[2] for c in CASES])
def test_alone(change, reason, remark) -> None:
    assert verdicts([GOOD | change]) == [reason], remark


def test_the_same_beside_any_other() -> None:
    rows = [GOOD | change for change, _, _ in CASES]
    assert verdicts(rows) == [reason for _, reason, _ in CASES]
    for (a, ra, _), (b, rb, _) in pairwise(CASES):
        assert verdicts([GOOD | a, GOOD | b]) == [ra, rb]


def test_a_missing_field() -> None:
    without = {k: v for k, v in GOOD.items() if k != "id"}
    short = {k: v for k, v in GOOD.items() if k != "text"}
    assert verdicts([without, short]) == [M, None]


def test_unknown_fields_may_be_dropped() -> None:
    typing = Typing(plain_contract(FIELDS, unknown_fields="drop"))
    batch, wrong = typing.columns([GOOD | {"extra": 1}])
    assert (batch.num_rows, wrong) == (1, []) and "extra" not in batch.schema.names


def test_values_as_they_are_stored() -> None:
    typing = Typing(plain_contract(FIELDS))
    batch, _ = typing.columns([GOOD | {"at": "2026-03-04T12:00:00.123456789-05:00"}])
    assert json.loads(json.dumps(batch.to_pylist()[0], default=str))["n"] == 3
    assert batch["at"][0].as_py() == datetime(2026, 3, 4, 17, 0, 0, 123456, tzinfo=timezone.utc)
    assert batch["day"][0].as_py() == date(2026, 3, 4)
