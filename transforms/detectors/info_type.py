"""The vocabulary of detection: how likely, how strong, and what an infoType is made of."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class Likelihood(IntEnum):
    """DLP's scale, with DLP's numbers. https://cloud.google.com/sensitive-data-protection/docs/likelihood"""

    VERY_UNLIKELY = 1
    UNLIKELY = 2
    POSSIBLE = 3
    LIKELY = 4
    VERY_LIKELY = 5


class Strength(IntEnum):
    """Who wins where two findings overlap (overlaps.py)."""

    TAGGED = 0  # the word of a tagger alone
    LOOSE = 1  # a shape that other things have too
    SPECIFIC = 2  # a structure that little else has
    CHECKED = 3  # a checksum agrees


class Finding(NamedTuple):
    """One identifier in a text. Offsets count Unicode code points; end is exclusive."""

    info_type: str
    start: int
    end: int
    likelihood: Likelihood


class Hit(NamedTuple):
    """A finding before rules and overlaps; offsets in code points."""

    start: int
    end: int
    info_type: str
    likelihood: Likelihood
    strength: Strength


@dataclass(frozen=True)
class Hotword:
    """Words near a hit that change how likely it is.

    regex: RE2, always without regard to case; before, after: the windows in bytes of UTF-8, each looked at by itself. A
    hit beside it becomes `likelihood`, or one level more than it was if that is higher; with lowers it becomes at most
    `likelihood`.
    """

    regex: str
    likelihood: Likelihood = Likelihood.LIKELY
    before: int = 40
    after: int = 0
    lowers: bool = False


@dataclass(frozen=True)
class Pattern:
    """One shape of an infoType.

    regex: RE2; the hit is its first group if it has one (the rest is context: RE2 has no look-around), else all of it.
    trim: how many characters of the hit, from its start, belong to it (0: none). check: False refuses the trimmed hit.
    needs: RE2 that finds something in every text in which there is a hit; where the check refuses most of what regex
    finds, it keeps the rows of a column from ever getting so far.
    """

    regex: str
    likelihood: Likelihood
    strength: Strength = Strength.SPECIFIC
    check: Callable[[str], bool] | None = None
    trim: Callable[[str], int] | None = None
    hotwords: tuple[Hotword, ...] = ()
    needs: str = ""


@dataclass(frozen=True)
class InfoType:
    """A kind of identifier under its DLP name.

    screen: a cheap RE2 pattern that finds something in every text in which a pattern does (a test holds it to that); it
    decides alone which rows of a column Python touches at all.
    """

    name: str
    patterns: tuple[Pattern, ...]
    screen: str


_NO_DIGITS = re.compile(r"[^0-9]+")


def digits(value: str) -> str:
    """The ASCII digits of a text."""
    return _NO_DIGITS.sub("", value)
