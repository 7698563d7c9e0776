"""Dates in text: read, and written back in the form that they had."""

import re
from datetime import date, datetime, timedelta, timezone
from typing import NamedTuple

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
           "December")
_NAME = "|".join(f"{m[:3]}(?:{m[3:]})?" if m != "May" else m for m in _MONTHS) + "|Sept"
_TIME = r"(?P<rest>(?:[T ](?P<H>[01]\d|2[0-3]):(?P<M>[0-5]\d)(?::(?P<S>[0-5]\d|60)(?:\.(?P<f>\d{1,9}))?)?" \
        r" ?(?P<zone>Z|UTC|[+-](?:[01]\d|2[0-3]):?[0-5]\d)?)?)"
# One pattern a form. y, m, d are the parts that are written anew; all else in the text stays as it was.
_FORMS = [re.compile(p + _TIME, re.ASCII | re.IGNORECASE) for p in (
    r"(?P<y>\d{4})(?P<s>[-/.])(?P<m>\d{1,2})(?P=s)(?P<d>\d{1,2})",  # 2026-03-04, 2026/3/4
    r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})",  # 20260304
    r"(?P<m>\d{1,2})(?P<s>[-/])(?P<d>\d{1,2})(?P=s)(?P<y>\d{4})",  # 03/04/2026: the American order, month first
    r"(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})",  # 4.3.2026: with dots the day comes first
    rf"(?P<d>\d{{1,2}})[ -](?P<m>{_NAME})\.?,?[ -](?P<y>\d{{4}})",  # 4 March 2026, 04-Mar-2026
    rf"(?P<m>{_NAME})\.? (?P<d>\d{{1,2}}),? (?P<y>\d{{4}})",  # March 4, 2026
)]
_ORDER = {form: sorted("ymd", key=form.groupindex.__getitem__) for form in _FORMS}
_NUMBERS = {name[:3].lower(): number for number, name in enumerate(_MONTHS, 1)}


class Written(NamedTuple):
    """A date found in a text. `day` is as it stands there, in the text's own zone."""

    found: re.Match[str]
    day: date

    @property
    def has_time(self) -> bool:
        return self.found["H"] is not None

    @property
    def moment(self) -> datetime:
        """With the text's offset, UTC where it names none; midnight where it has no time. A leap second is the one before."""
        hour, minute, second, fraction = (self.found[part] or "0" for part in "HMSf")
        return datetime(self.day.year, self.day.month, self.day.day, int(hour), int(minute), min(int(second), 59),
                        int(fraction.ljust(6, "0")[:6]), _zone(self.found["zone"]))

    def write(self, other: date) -> str:
        """The text with another date in it, all else as it was."""
        found, text = self.found, self.found.string
        answer, at = "", 0
        for part in _ORDER[found.re]:
            start, end = found.span(part)
            new = f"{other.year:04}" if part == "y" else _month(other.month, found) if part == "m" else _number(other.day, "d", found)
            answer += text[at:start] + new
            at = end
        return answer + text[at:]


def read(text: str) -> Written | None:
    """The date that the whole text is; None where it is none that we know, or where its meaning is open.

    Known: ISO 8601 and RFC 3339 dates (with - / or . between), 20260304, the American 03/04/2026, 4.3.2026 and English
    month names, each with or without a time. Two-digit years and 13/04/2026 are refused: their reading would be a guess.
    """
    for form in _FORMS:
        if found := form.fullmatch(text):
            name = found["m"]
            try:
                return Written(found, date(int(found["y"]), int(name) if name.isdecimal() else _NUMBERS[name[:3].lower()], int(found["d"])))
            except ValueError:
                return None
    return None


def _zone(text: str | None) -> timezone:
    if not text or text.upper() in ("Z", "UTC"):
        return timezone.utc
    ahead = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-ahead if text[0] == "-" else ahead)


def _number(number: int, part: str, found: re.Match[str]) -> str:
    """Padded to two digits as the text's own numbers are; 14 March leaves it open, and is read as 4 March would be."""
    numbers = [found[p] for p in ("m", "d") if found[p].isdecimal()]
    spoken = " " in found.string[: found.start("rest")]
    padded = found[part][0] == "0" or (not spoken and all(len(n) == 2 for n in numbers))
    return f"{number:02}" if padded else str(number)


def _month(month: int, found: re.Match[str]) -> str:
    old = found["m"]
    if old.isdecimal():
        return _number(month, "m", found)
    full = ("june", "july") if "-" in found.string[: found.start("rest")] else ("may", "june", "july")
    short = len(old) < 5 and old.lower() not in full  # May is both; 4-May-1970 is the style of 4-Mar-1970
    name = _MONTHS[month - 1][:3] if short else _MONTHS[month - 1]
    return name.upper() if old.isupper() else name.lower() if old.islower() else name
