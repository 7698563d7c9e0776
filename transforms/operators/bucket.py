"""fixedSizeBucketingConfig and bucketingConfig: a range in place of a value."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from functools import cached_property
from itertools import pairwise
from typing import Any

from transforms.operators import dates
from transforms.operators.oneway import OneWay
from transforms.operators.operator import Value
from transforms.operators.values import number_of, text_of


def label(number: int | float) -> str:
    """A bound as DLP's page writes it: 10, 0.25."""
    return str(int(number)) if number == int(number) else repr(number)


@dataclass(frozen=True)
class FixedBuckets(OneWay):
    """Ranges of one size between two bounds, as "10-20"; "-10" below the lower bound, "89+" above the upper.

    For 10, 89 and a size of 10: -10, 10-20, ... 70-80, 80-89, 89+. A range holds its lower end and not its upper one; a
    value equal to the upper bound lies in the last range, as only what is greater is "89+".
    Takes int, float and text that spells a number; answers str; None for anything else, NaN and infinities included.

    Interchangeable with DLP: the ranges are. Their text is "10-20" as the REST page says, though Google's own examples
    print "90:100" as the service's answer; `separator` makes either.

    size: above 0, to two decimals; lower < upper.
    """

    lower: int | float
    upper: int | float
    size: float
    separator: str = "-"
    deterministic = True

    @cached_property
    def _edges(self) -> tuple[list[float], list[str]]:
        """Where ranges start, and the text of each, the two open ones included."""
        # In hundredths, so that 0.1 + 0.2 is the edge 0.3.
        start, step = round(self.lower * 100), round(self.size * 100)
        count = -(-(round(self.upper * 100) - start) // step)
        edges = [self.lower, *((start + step * k) / 100 for k in range(1, count)), self.upper]
        closed = [f"{label(a)}{self.separator}{label(b)}" for a, b in pairwise(edges)]
        return edges, [f"-{label(self.lower)}", *closed, f"{label(self.upper)}+"]

    def __call__(
        self, values: Sequence[Value], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[Value | None]:
        edges, labels = self._edges
        last = len(edges) - 1
        answers: list[Value | None] = []
        for value in values:
            number = number_of(value)
            if number is None:
                answers.append(None)
            elif number >= self.upper:
                answers.append(labels[last + (number > self.upper)])
            else:
                answers.append(labels[bisect_right(edges, number, 0, last)])
        return answers


@dataclass(frozen=True)
class Bucket:
    """One range: low inclusive, high exclusive, None for open; both of one type. `replacement` None gives "low-high"."""

    low: Value | None
    high: Value | None
    replacement: Value | None = None

    @property
    def answer(self) -> Value:
        if self.replacement is not None:
            return self.replacement
        return "-".join("" if b is None else label(b) if isinstance(b, (int, float)) else text_of(b)
                        for b in (self.low, self.high))


@dataclass(frozen=True)
class Buckets(OneWay):
    """Each range answers its own replacement, of the replacement's own type.

    A value is first converted to the type of the bounds: text that spells a number for numbers, text that is a date (see
    `dates.read`) for days and timestamps, anything for text, which compares by code point. A naive datetime is UTC.
    None for a value that cannot be converted, and for one in no bucket: unchanged it would be stored in clear.

    Interchangeable with DLP: the answers are the same where every value has a bucket; for the rest DLP's page is silent.

    buckets: at least one, sorted by low, without overlap, bounds of one type.
    """

    buckets: tuple[Bucket, ...]
    deterministic = True

    def __call__(
        self, values: Sequence[Value], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[Value | None]:
        first = self.buckets[0]
        sample = first.high if first.low is None else first.low
        # The upper ends decide: a value lies in the first bucket whose end is above it, or in none.
        ends: list[Any] = [b.high for b in self.buckets if b.high is not None]
        answers = [b.answer for b in self.buckets]
        found: list[Value | None] = []
        for value in values:
            converted: Any = converted_to(sample, value)
            at = len(self.buckets) if converted is None else bisect_right(ends, converted)
            low: Any = self.buckets[at].low if at < len(self.buckets) else None
            inside = at < len(self.buckets) and (low is None or converted >= low)
            found.append(answers[at] if inside else None)
        return found


def converted_to(bound: Value | None, value: Value) -> Value | None:
    """The value in the type of a bound; None where it has none."""
    if isinstance(bound, str):
        return text_of(value)
    if not isinstance(bound, date):
        return number_of(value)
    if isinstance(value, str):
        if (written := dates.read(value)) is None:
            return None
        value = written.moment if isinstance(bound, datetime) else written.day
    if not isinstance(value, date):
        return None
    if not isinstance(bound, datetime):
        return value.date() if isinstance(value, datetime) else value
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value


def ordered(buckets: Sequence[Bucket]) -> tuple[Bucket, ...] | None:
    """The buckets by their lower ends; None where two of them overlap. Bounds must be of one type."""
    lows: Any = sorted((b for b in buckets if b.low is not None), key=lambda b: b.low)
    line: list[Bucket] = [b for b in buckets if b.low is None] + lows
    for before, after in pairwise(line):
        end: Any = before.high
        if after.low is None or end is None or end > after.low:
            return None
    return tuple(line)
