"""What cannot be taken apart into rows: one row read and one refused, whatever it may have held."""

from dataclasses import dataclass

from schemas.errors import Reason

KEPT = 10_000_000  # bytes of a row that are kept and sealed; no contract allows a longer one
SEALED = 1_000_000  # bytes of a piece without rows that are sealed: enough to see what it is; the file has the rest


@dataclass(frozen=True)
class Broken:
    """A piece of a file without rows. start: as in Block; raw: its first bytes, at most SEALED."""

    path: str
    index: int
    start: int
    reason: Reason
    raw: bytes


class Unreadable(Exception):
    """A file that cannot be read on from here. Raised after all that stands before has been handed on."""

    def __init__(self, reason: Reason, start: int, raw: bytes = b"") -> None:
        self.reason, self.start, self.raw = reason, start, raw
        super().__init__(str(reason))
