"""timePartConfig: one part of a date."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from transforms.operators import dates
from transforms.operators.oneway import OneWay
from transforms.operators.operator import Value

PARTS: dict[str, Callable[[date], int]] = {
    "YEAR": lambda d: d.year,
    "MONTH": lambda d: d.month,
    "DAY_OF_MONTH": lambda d: d.day,
    "DAY_OF_WEEK": lambda d: d.isoweekday(),
    "WEEK_OF_YEAR": lambda d: d.isocalendar()[1],
    "HOUR_OF_DAY": lambda d: d.hour if isinstance(d, datetime) else 0,
}


@dataclass(frozen=True)
class TimePart(OneWay):
    """YEAR, MONTH, DAY_OF_MONTH, DAY_OF_WEEK (Monday 1 to Sunday 7), WEEK_OF_YEAR (ISO 8601, 1 to 53) or HOUR_OF_DAY.

    Takes date and datetime, which answer int, and text that is a date (`dates.read` says what is), which answers the
    same number as text. All parts are of the value's own offset. None for anything else, and for the hour of a bare date.

    Interchangeable with DLP: the numbers are the same, as far as its page says how it counts weeks (it gives 1 to 53).
    """

    part: str
    deterministic = True

    def __call__(
        self, values: Sequence[Value], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[Value | None]:
        return [self._of(v) for v in values]

    def _of(self, value: Value) -> Value | None:
        written = dates.read(value) if isinstance(value, str) else None
        moment = written.moment if written else value
        has_time = written.has_time if written else isinstance(value, datetime)
        if not isinstance(moment, date) or (self.part == "HOUR_OF_DAY" and not has_time):
            return None
        number = PARTS[self.part](moment)
        return str(number) if written else number
