"""Durations as a contract writes them: a number and s, m, h or d."""

import re
from datetime import timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: object) -> timedelta | None:
    """timedelta(minutes=5) from "5m"; None where it is no duration."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", str(text))
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]]) if match else None
