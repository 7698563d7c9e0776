"""The transformations of DLP on dates, and the dates that are read from text."""

import base64
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.operators import dates
from transforms.operators.hash import Hash
from transforms.operators.shift import Shift
from transforms.operators.time_part import TimePart

KEY = bytes(range(32))
UTC = timezone.utc


@pytest.mark.parametrize(("text", "plus_40_days", "remark"), [
    ("2026-03-04", "2026-04-13", "ISO 8601"), ("2026/3/4", "2026/4/13", "not padded"), ("20260304", "20260413", "compact"),
    ("2026-03-04T23:59:59Z", "2026-04-13T23:59:59Z", "RFC 3339"),
    ("2026-03-04T23:59:59.123456789-08:00", "2026-04-13T23:59:59.123456789-08:00", "its offset and its nanoseconds stay"),
    ("2026-03-04 23:59", "2026-04-13 23:59", "no seconds"), ("2026-03-04 23:59:60 UTC", "2026-04-13 23:59:60 UTC", "a leap second"),
    ("03/04/1970", "04/13/1970", "American"), ("3/4/1970", "4/13/1970", "American, not padded"), ("12/25/1969", "02/03/1970", "padded, as far as one sees"),
    ("1-25-1970", "3-6-1970", "not padded: the month shows it"), ("4.3.1970", "13.4.1970", "dots: the day first"),
    ("4 March 1970", "13 April 1970", "English"), ("14 March 1970", "23 April 1970", "English"), ("28 March 1970", "7 May 1970", "as 7 May is written"),
    ("04 MAR 1970", "13 APR 1970", "capitals"), ("04-mar-1970", "13-apr-1970", "lower case"), ("March 4, 1970", "April 13, 1970", "American English"),
    ("Mar 4 1970", "Apr 13 1970", "short"), ("Sept 4, 1970", "Oct 14, 1970", "four letters"), ("May 4, 1970", "June 13, 1970", "May is taken for the long form"),
    ("04-May-1970", "13-Jun-1970", "but not between hyphens"),
    ("June 4, 1970", "July 14, 1970", "long"), ("2024-01-20", "2024-02-29", "a leap day"), ("9999-12-01", None, "no year 10000"),
    ("13/04/1970", None, "month 13: whether the day comes first is a guess"), ("03/04/70", None, "which century is a guess"),
    ("2026-02-30", None, "no such day"), ("2026-03-04T25:00:00Z", None, "no such hour"), ("on 2026-03-04", None, "text around it"),
    ("2026-03/04", None, "mixed"), ("March 1970", None, "no day"), ("", None, "empty"), ("٢٠٢٦-٠٣-٠٤", None, "another script"), ("2026-03-04\n", None, "a line's end"),
])
def test_shift_keeps_the_form(text: str, plus_40_days: str | None, remark: str) -> None:
    assert Shift(40, 40)([text]) == [plus_40_days], remark


@given(st.dates(date(1100, 1, 1), date(9000, 1, 1)), st.integers(-5000, 5000),
       st.sampled_from(["%Y-%m-%d", "%m/%d/%Y", "%d %B %Y", "%B %d, %Y", "%Y%m%d", "%d.%m.%Y", "%d-%b-%Y", "%Y-%m-%dT08:30:00+02:00"]))
def test_shifted_text_reads_as_the_shifted_date(day: date, days: int, form: str) -> None:
    shifted = str(Shift(days, days)([day.strftime(form)])[0])
    written = dates.read(shifted)
    assert written is not None and written.day == day + timedelta(days=days)
    if not form.startswith(("%d %B", "%B")):
        assert shifted == (day + timedelta(days=days)).strftime(form)


def test_shift_by_context_is_one_for_all_its_dates() -> None:
    shift = Shift(-100, 100, KEY)
    day = date(2026, 3, 4)
    contexts = [f"user {i}" for i in range(2000)]
    moved = shift([day] * 2000, contexts)
    by = [(m - day).days for m in moved if isinstance(m, date)]
    assert shift.deterministic and moved == shift([day] * 2000, contexts)
    assert set(by) == set(range(-100, 101)), "every day of the range, both ends included"
    stamp = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
    assert shift([stamp, "03/04/2026"], ["user 1"] * 2) == [stamp + timedelta(days=by[1]), (day + timedelta(days=by[1])).strftime("%m/%d/%Y")]
    assert Shift(-100, 100, KEY[::-1])([day] * 9, contexts[:9]) != moved[:9]


def test_shift_does_not_follow_from_a_stored_hash_of_its_context() -> None:
    digests = [base64.b64decode(str(h)) for h in Hash(KEY)([f"user {i}" for i in range(40)])]
    moved = Shift(0, 10**5, KEY)([date(2000, 1, 1)] * 40, [f"user {i}" for i in range(40)])
    guessed = [date(2000, 1, 1) + timedelta(days=int.from_bytes(d, "big") % (10**5 + 1)) for d in digests]
    assert not set(zip(moved, guessed, strict=True)) & {(m, m) for m in moved}


def test_shift_refuses() -> None:
    assert Shift(1, 9, KEY)([date(2026, 1, 1)] * 2, ["a", None])[1] is None, "no context, no shift of its own"
    assert Shift(1, 9, KEY)([date(2026, 1, 1)]) == [None], "no context at all"
    assert Shift(1, 1)([7, 1.5, True, date.max, datetime.max]) == [None] * 5


def test_shift_without_a_key_draws_for_each_value() -> None:
    turns = iter([0, 6, 3])
    shift = Shift(-3, 3, below=lambda n: next(turns) if n == 7 else 99)
    assert not shift.deterministic
    assert shift([date(2026, 1, 10)] * 3) == [date(2026, 1, 7), date(2026, 1, 13), date(2026, 1, 10)]


NEW_YEAR = datetime(2027, 1, 1, 22, 30, tzinfo=UTC)  # a Friday, in the last ISO week of 2026


@pytest.mark.parametrize(("part", "number"), [("YEAR", 2027), ("MONTH", 1), ("DAY_OF_MONTH", 1), ("DAY_OF_WEEK", 5),
                                             ("WEEK_OF_YEAR", 53), ("HOUR_OF_DAY", 22)])
def test_time_part(part: str, number: int) -> None:
    bare = None if part == "HOUR_OF_DAY" else number
    got = TimePart(part)([NEW_YEAR, NEW_YEAR.date(), "2027-01-01T22:30:00+05:00", "January 1, 2027", "soon", 7])
    assert got == [number, bare, str(number), None if bare is None else str(bare), None, None]
