"""The form of each kind of value, written once, as a pattern: the command line and the templates' metadata both hold to it.

The patterns say the same to Python's re and to POSIX egrep: letters, lists in brackets, ( | ) ? * + and {m,n}. Digits are those of ASCII.
"""

import re
from datetime import date, timedelta
from typing import Any

Days = tuple[date, ...]

_YEAR, _LEAP_YEAR = "[12][0-9]{3}", "([12][0-9](0[48]|[2468][048]|[13579][26])|(12|16|20|24|28)00)"
DAY = f"({_YEAR}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|{_LEAP_YEAR}-02-29)"  # from 1000 to 2999
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
MOMENT = rf"{DAY}([Tt ]{_CLOCK}:[0-5][0-9](\.[0-9]{{1,6}})?([Zz]|[+-]{_CLOCK}))?"  # a day, or a time as in RFC 3339
RESOURCE = "[A-Za-z0-9_.~+%:-]+"  # a part of a resource's name: of a project, a subscription, a topic
IMAGE = r"[a-z0-9]+([.-][a-z0-9]+)*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+@sha256:[0-9a-f]{64}"

_LONGEST = 18  # digits of a whole number
_NUMBER = r"[0-9]{1,9}(\.[0-9]{1,9})?"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = r"[0-9]{1,7}(\.[0-9]{1,6})?(ms|s|m|h|d)"


def form(kind: Any, choices: tuple[str, ...] = (), pattern: str | None = None, minimum: int | None = None) -> str | None:
    """The pattern that the whole text of a value of this kind must match; None where any text will do."""
    if kind is bool:
        return "true|false"
    if kind is int:
        return _whole(minimum)
    if choices:
        return "|".join(re.sub(r"[][.*+?(){}|^$\\]", r"\\\g<0>", choice) for choice in choices)
    return {float: _NUMBER, timedelta: _SPAN, date: DAY, Days: f"{DAY}(,{DAY})*"}.get(kind, pattern)


def _whole(minimum: int | None) -> str:
    """Whole numbers of up to 18 digits, written without leading zeros."""
    if minimum is None:
        return f"-?(0|[1-9][0-9]{{0,{_LONGEST - 1}}})"
    if minimum < 2:
        return ("0|" if minimum == 0 else "") + f"[1-9][0-9]{{0,{_LONGEST - 1}}}"
    digits = str(minimum)
    greater = [f"{digits[:place]}[{int(digit) + 1}-9]" + "[0-9]" * (len(digits) - place - 1) for place, digit in enumerate(digits) if digit != "9"]
    return "|".join([digits, *greater, f"[1-9][0-9]{{{len(digits)},{_LONGEST - 1}}}"])


def value(kind: Any, text: str) -> Any:
    """The value that a text of the kind's form says."""
    if kind is bool:
        return text == "true"
    if kind is timedelta:
        number, unit = re.fullmatch(r"([0-9.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]
        return timedelta(seconds=float(number) * _UNITS[unit])
    if kind is date:
        return date.fromisoformat(text)
    if kind == Days:
        return tuple(sorted({date.fromisoformat(part) for part in text.split(",")}))
    return kind(text) if kind in (int, float) else text
