"""The books that must come out of a generated stream, whoever reads it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from schemas.contract import Contract
from transforms.fates import REPEATED, STORED

__all__ = ["REPEATED", "STORED", "Event", "Truth", "truth"]


class Event(NamedTuple):
    """One line without its end, what must become of it (stored, repeated or a reason), and its day in UTC if it is stored."""

    line: bytes
    fate: str
    day: date | None = None


@dataclass(frozen=True)
class Truth:
    """The books of a generated stream: read = stored + repeated + refused; `reasons` sums to refused."""

    read: int
    stored: int
    repeated: int
    refused: int
    reasons: dict[str, int]
    stored_by_day: dict[str, int]
    rows: int
    seed: int
    contract: str
    version: str

    def sentence(self) -> str:
        """The books on one line."""
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(self.reasons.items(), key=lambda each: -each[1]))
        return f"{self.stored:,} stored + {self.repeated:,} repeated + {self.refused:,} refused{f' ({reasons})' if reasons else ''}"


def truth(fates: Counter[str], days: Mapping[date, int], rows: int, seed: int, contract: Contract) -> Truth:
    """The books, of how many lines have each fate and how many rows of each day are stored. rows, seed: as they were asked for."""
    reasons = {fate: n for fate, n in sorted(fates.items()) if fate not in (STORED, REPEATED)}
    return Truth(fates.total(), fates[STORED], fates[REPEATED], sum(reasons.values()), reasons,
                 {str(day): n for day, n in sorted(days.items())}, rows, seed, contract.name, contract.version)
