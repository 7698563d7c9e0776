"""The books: what was read, and where every row ended. read = stored + repeated + refused.

Tallies travel through the pipeline as elements, so a bundle that is tried again counts once; the same numbers go to
Beam's counters (namespace penstock), named by fate, and to this process's progress line.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, NamedTuple

from apache_beam.metrics import Metrics

from transforms.fates import PROGRESS, REFUSED


class Tally(NamedTuple):
    """So many rows came to this fate (or were read); reason is "" but for refused."""

    fate: str
    reason: str
    rows: int


def count(fate: str, rows: int) -> None:
    """Adds to the Beam counter of this fate and to the progress of this process."""
    Metrics.counter("penstock", fate).inc(rows)
    PROGRESS.add(fate, rows)


@dataclass(frozen=True)
class LedgerRow:
    """One run's row in `runs`. Counts are rows; times are UTC; reasons maps a reason to its refused rows; engine is JSON;
    number, watermark and greatest (event time believed) are those of a stream.
    """

    run: str
    job: str
    contract: str
    read: int
    stored: int
    repeated: int
    refused: int
    late: int
    reasons: dict[str, int]
    fingerprint: str
    started: datetime
    ended: datetime
    partitions: tuple[str, ...] = field(default=())
    engine: str = "{}"
    number: int | None = None
    watermark: datetime | None = None
    greatest: datetime | None = None

    @property
    def ended_rows(self) -> int:
        return self.stored + self.repeated + self.refused

    @property
    def balanced(self) -> bool:
        return self.read == self.ended_rows and self.refused == sum(self.reasons.values())

    def values(self, balanced: bool | None = None) -> dict[str, Any]:
        """What the table `runs` holds of it, by column; balanced: where that is not its own."""
        row = {each.name: getattr(self, each.name) for each in fields(self)}
        return row | {"reasons": json.dumps(self.reasons), "partitions": json.dumps(self.partitions),
                      "balanced": self.balanced if balanced is None else balanced}

    @staticmethod
    def of(values: dict[str, Any]) -> "tuple[LedgerRow, bool]":
        """(the row, whether it balanced) of what `runs` holds."""
        row = values | {"reasons": json.loads(values["reasons"]), "partitions": tuple(json.loads(values["partitions"]))}
        balanced = bool(row.pop("balanced"))
        return LedgerRow(**row), balanced

    def ways(self) -> str:
        """How many rows came, and how they ended: for books that do not balance."""
        return (f"{self.read:,} rows at the source, {self.ended_rows:,} ended "
                f"({self.stored:,} stored, {self.repeated:,} repeated, {self.refused:,} refused)")

    def sentence(self) -> str:
        """The books in one line, as a person reads them."""
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in sorted(self.reasons.items(), key=lambda r: (-r[1], r[0])))
        verdict = "balanced" if self.balanced else f"NOT BALANCED: {self.read - self.ended_rows:+,} rows"
        return (f"{self.read:,} read = {self.stored:,} stored + {self.repeated:,} repeated + {self.refused:,} refused"
                f"{f' ({reasons})' if reasons else ''}   {verdict}")

    def to_json(self) -> str:
        """The row as one JSON object; times as RFC 3339."""
        row = asdict(self) | {"balanced": self.balanced, "partitions": list(self.partitions)}
        row |= {name: row[name].isoformat() for name in ("started", "ended", "watermark", "greatest") if row[name]}
        return json.dumps(row)


def sums(tallies: Iterable[Tally]) -> tuple[Counter[str], Counter[str]]:
    """(rows by fate, refused rows by reason)."""
    fates: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for tally in tallies:
        fates[tally.fate] += tally.rows
        if tally.fate == REFUSED:
            reasons[tally.reason] += tally.rows
    return fates, reasons
