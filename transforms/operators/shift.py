"""dateShiftConfig: dates moved by a random number of days."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from transforms.operators import dates
from transforms.operators.context import tweaks_of
from transforms.operators.mac import hmac_sha256
from transforms.operators.oneway import OneWay
from transforms.operators.operator import Value


@dataclass(frozen=True)
class Shift(OneWay):
    """Moves dates, datetimes and dates in text by `lower` to `upper` days, both inclusive; text keeps its form.

    With a key, all dates of one context move by the same days: HMAC-SHA-256 over a label and the context, modulo the
    width of the range, so distances between the dates of one person stay. Without one, each value moves by days of its own,
    and another time by others. The time of day and the offset stay as they are.
    The draw may be 0, as DLP's may: the date then stays as it was, and is allowed to.
    None for a value that is no date (`dates.read` says what is), a date that would leave the years 1 to 9999, and with a
    key, a null context or none.

    Interchangeable with DLP: no, its draw from key and context is not published.

    lower, upper: days, lower <= upper; key: None or at least 16 bytes; below: n -> a number from 0 to n - 1, for draws
    without a key.
    """

    lower: int
    upper: int
    key: bytes | None = field(default=None, repr=False)
    transient: bool = False
    below: Callable[[int], int] = field(default=secrets.randbelow, repr=False)

    @property
    def deterministic(self) -> bool:
        return self.key is not None and not self.transient

    def __call__(
        self, values: Sequence[Value], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[Value | None]:
        width = self.upper - self.lower + 1
        if self.key is None:
            return [_moved(v, self.lower + self.below(width)) for v in values]
        if contexts is None:
            return [None] * len(values)
        mac = hmac_sha256(self.key)
        tweaks = tweaks_of(contexts, len(values))
        # The label keeps this apart from cryptoHash: a stored hash of the context under the same key must not tell the days.
        days = {t: self.lower + int.from_bytes(mac(b"penstock dateShift\x00" + t), "big") % width for t in set(tweaks) if t}
        return [_moved(v, days[t]) if t else None for v, t in zip(values, tweaks, strict=True)]


def _moved(value: Value, days: int) -> Value | None:
    try:
        if isinstance(value, (datetime, date)):
            return value + timedelta(days=days)
        written = dates.read(value) if isinstance(value, str) else None
        return written.write(written.day + timedelta(days=days)) if written else None
    except OverflowError:
        return None
