"""The transformations of DLP that cover or generalise, as its REST page describes them."""

import math
from datetime import date, datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.operators.bucket import Bucket, Buckets, FixedBuckets
from transforms.operators.mask import Mask

UTC = timezone.utc
NUMBERS = "1234-5678-9012-3456"


# -- mask

@pytest.mark.parametrize(("mask", "value", "answer", "remark"), [
    (Mask(), "ab-c", "****", "all of it, * over text"),
    (Mask("0", 14), NUMBERS, "00000000000000-3456", "REST page: reverseOrder"),
    (Mask("*", 3, True), "12345", "12***", "REST page: reverseOrder"),
    (Mask("*", -4, False, "-"), NUMBERS, "****-****-****-3456", "REST page: numberToMask"),
    (Mask("*", -4, True, "-"), NUMBERS, "1234-****-****-****", "REST page: numberToMask"),
    (Mask("*", 5, False, "-"), "555-555-5555", "***-**5-5555", "REST page: charactersToIgnore"),
    (Mask("*", 5, True, "-"), "555-555-5555", "555-55*-****", "the same from the end"),
    (Mask("*", -2), "abcd", "**cd", "all but the last two"),
    (Mask("*", -2, True), "abcd", "ab**", "all but the first two"),
    (Mask("*", -9), "abcd", "abcd", "nothing left to cover"),
    (Mask("*", -9, False, "a"), "abcd", "abcd", "nothing left to cover"),
    (Mask("*", 9), "abcd", "****", "more than there is"),
    (Mask("*", 9, True), "abcd", "****", "more than there is"),
    (Mask("#", 0, False, "0123456789"), "a1b2", "#1#2", "only what is not ignored"),
    (Mask("\\", 0, False, "]^-"), "a]^-b\n", "\\]^-\\\\", "signs that a pattern would read"),
    (Mask(), "", "", "empty"),
    (Mask("*", 1), "é😀", "*😀", "code points"),
    (Mask(), 123, 0, "a number stays one, 0 over numbers"),
    (Mask("*", 2), 123, "**3", "REST page: **3"),
    (Mask("9", 1), 123, 923, "a digit over a number"),
    (Mask("9", 2, True), -120, -199, "a digit over a number"),
    (Mask("9"), 9223372036854775807, None, "beyond 64 bits"),
    (Mask("0", -1), 12.5, 5.0, "covers the point too"),
    (Mask("*"), True, "****", "a boolean is text"),
    (Mask("*", 4), date(2026, 3, 4), "****-03-04", "a date is text"),
])
def test_mask(mask: Mask, value: Any, answer: Any, remark: str) -> None:
    got = mask([value])[0]
    assert got == answer and type(got) is type(answer), remark


@given(st.text(max_size=12), st.integers(-13, 13), st.booleans(), st.sampled_from(["", "a", "-1 "]))
def test_mask_covers_as_many_as_it_says(text: str, number: int, from_end: bool, ignore: str) -> None:
    masked = str(Mask("█", number, from_end, ignore)([text.replace("█", "")])[0])
    text = text.replace("█", "")
    counted = [i for i, c in enumerate(text) if c not in ignore]
    want = len(counted) if number == 0 else min(number, len(counted)) if number > 0 else max(len(counted) + number, 0)
    covered = set(counted[len(counted) - want:] if from_end else counted[:want])
    assert masked == "".join("█" if i in covered else c for i, c in enumerate(text))


# -- buckets

AGES = FixedBuckets(10, 89, 10)


@pytest.mark.parametrize(("buckets", "value", "answer", "remark"), [
    (AGES, 9, "-10", "below"), (AGES, -3, "-10", "below"), (AGES, 9.99, "-10", "below"),
    (AGES, 10, "10-20", "the lower end is inside"), (AGES, 19.999, "10-20", ""), (AGES, 20, "20-30", "the upper is not"),
    (AGES, 79, "70-80", ""), (AGES, 80, "80-89", "the last is cut"), (AGES, 89, "80-89", "not greater than the bound"),
    (AGES, 89.01, "89+", "greater"), (AGES, 10**30, "89+", ""),
    (AGES, "42", "40-50", "text that spells a number"), (AGES, " 4.2e1 ", "40-50", ""),
    (AGES, "42 years", None, "text that does not"), (AGES, "", None, ""), (AGES, "nan", None, ""), (AGES, "١٢", None, "another script"),
    (AGES, math.nan, None, "not a number"), (AGES, math.inf, None, "not finite"), (AGES, True, None, "not a number"),
    (AGES, date(2026, 1, 1), None, "not a number"),
    (FixedBuckets(0, 1, 0.1), 0.3, "0.3-0.4", "edges are decimal: 0.1 * 3 is above 0.3"),
    (FixedBuckets(0, 1, 0.1), 0.7, "0.7-0.8", "edges are decimal"),
    (FixedBuckets(0.0, 1.5, 0.25), 1.3, "1.25-1.5", ""),
    (FixedBuckets(-10, 10, 5), -11, "--10", "as the page's form has it"), (FixedBuckets(-10, 10, 5), -6, "-10--5", ""),
    (FixedBuckets(0, 5, 10), 4, "0-5", "a size over the span"),
    (FixedBuckets(0, 100, 10, ":"), 95, "90:100", "as the service's examples print it"),
])
def test_fixed_buckets(buckets: FixedBuckets, value: Any, answer: str | None, remark: str) -> None:
    assert buckets([value]) == [answer], remark


def test_fixed_buckets_of_the_rest_page() -> None:
    # lower_bound = 10, upper_bound = 89, bucket_size = 10 uses these and no others
    assert list(dict.fromkeys(AGES(list(range(0, 100))))) == \
        ["-10", "10-20", "20-30", "30-40", "40-50", "50-60", "60-70", "70-80", "80-89", "89+"]


LEVELS = Buckets((Bucket(0, 25, "Low"), Bucket(25, 75, "Medium"), Bucket(75, 101, "High")))
GAPS = Buckets((Bucket(None, 0, -1), Bucket(1, 10, 1), Bucket(20, None, 2)))
WORDS = Buckets((Bucket("a", "n", "A-M"), Bucket("n", None)))
DAYS = Buckets((Bucket(date(2020, 1, 1), date(2021, 1, 1), "then"), Bucket(date(2021, 1, 1), None, "later")))
MOMENTS = Buckets((Bucket(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC), "then"),))


@pytest.mark.parametrize(("buckets", "value", "answer", "remark"), [
    (LEVELS, 0, "Low", "min is inside"), (LEVELS, 25, "Medium", "max is not"), (LEVELS, "74.5", "Medium", "converted"),
    (LEVELS, 100, "High", ""), (LEVELS, 101, None, "in none: refused"), (LEVELS, -1, None, "in none: refused"),
    (LEVELS, "old", None, "no number"), (LEVELS, math.nan, None, "no number"), (LEVELS, False, None, "no number"),
    (GAPS, -5, -1, "an open low, and an integer for an answer"), (GAPS, 0, None, "in a gap"), (GAPS, 10, None, "in a gap"),
    (GAPS, 1, 1, ""), (GAPS, 20, 2, "an open high"), (GAPS, 19.99, None, "in a gap"),
    (WORDS, "bob", "A-M", ""), (WORDS, "zoe", "n-", "no replacement: the range"), (WORDS, "Bob", None, "capitals come before"),
    (DAYS, date(2020, 12, 31), "then", ""), (DAYS, "12/31/2020", "then", "text that is a date"), (DAYS, "2021-01-01", "later", ""),
    (DAYS, datetime(2020, 5, 1, 12), "then", ""), (DAYS, "soon", None, "no date"), (DAYS, 2020, None, "no date"),
    (MOMENTS, "2021-01-01T00:30:00+01:00", "then", "in its own offset it is another year"),
    (MOMENTS, "2021-01-01T00:30:00Z", None, "in none"), (MOMENTS, date(2020, 1, 1), "then", "a day begins at midnight UTC"),
    (MOMENTS, datetime(2020, 1, 1), "then", "no zone is UTC"),
    (Buckets((Bucket(1, 2),)), 1, "1-2", "no replacement: the range"),
])
def test_buckets(buckets: Buckets, value: Any, answer: Any, remark: str) -> None:
    got = buckets([value])[0]
    assert got == answer and type(got) is type(answer), remark
