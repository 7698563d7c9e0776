"""What cannot be taken apart into rows: one row read and one refused, whatever it may have held."""

from dataclasses import dataclass

from schemas.errors import Reason

KEPT = 10_000_000  # bytes of what is refused that are sealed; no contract allows a longer row


@dataclass(frozen=True)
class Broken:
    """A piece of a file without rows. start: as in Block; raw: its bytes, at most KEPT."""

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
