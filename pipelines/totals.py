"""The books of a process: the sum of its runs."""

from collections import Counter
from datetime import datetime

from transforms.fates import LATE, READ, REFUSED, REPEATED, STORED
from transforms.ledger import LedgerRow

_FATES = (READ, STORED, REPEATED, REFUSED, LATE)


class Totals:
    """Adds up ledger rows. balanced: all of them were."""

    def __init__(self) -> None:
        self.balanced = True
        self._fates: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._fingerprint = 0

    def add(self, row: LedgerRow) -> None:
        self._fates.update({fate: getattr(row, fate) for fate in _FATES})
        self._reasons.update(row.reasons)
        self._fingerprint += int(row.fingerprint, 16)  # itself a sum over rows
        self.balanced &= row.balanced

    def row(self, run: str, contract: str, engine: str, number: int, started: datetime, ended: datetime, watermark: datetime | None,
            greatest: datetime | None) -> LedgerRow:
        """The sum as a ledger row of the job `stream`."""
        read, stored, repeated, refused, late = (self._fates[fate] for fate in _FATES)
        return LedgerRow(run, "stream", contract, read, stored, repeated, refused, late, dict(self._reasons), f"{self._fingerprint % (1 << 128):032x}",
                         started, ended, (), engine, number, watermark, greatest)
