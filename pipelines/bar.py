"""How many days are done: a bar that is drawn anew on a terminal, a line a day elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

_WIDTH = 30


class Bar:
    """Counts days, rows and failures. clock answers seconds; out is stderr, so that stdout stays for results."""

    def __init__(self, days: int, done: int = 0, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._days, self._done, self._out, self._clock = days, done, out or sys.stderr, clock
        self._failed = self._rows = self._refused = 0
        self._start, self._terminal = clock(), self._out.isatty()

    def day(self, name: str, said: str, done: bool, failed: bool, rows: int = 0, refused: int = 0) -> None:
        """A day has ended, done or failed or neither (it was told to end); said: in words how. rows: read; refused: of these."""
        self._done += done
        self._failed += failed
        self._rows += rows
        self._refused += refused
        if not self._terminal:
            self._out.write(f"{name}  {said}   ({self._done} of {self._days} days)\n")
            self._out.flush()

    def line(self, running: int) -> str:
        """The bar, with the days that are being worked on."""
        filled = _WIDTH * self._done // max(self._days, 1)
        rate = self._rows / max(self._clock() - self._start, 1e-9)
        parts = [f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {self._done} of {self._days} days", f"{running} running", f"{self._rows:,} rows",
                 f"{rate:,.0f} rows/s", f"{self._refused:,} refused", *([f"{self._failed} days failed"] if self._failed else [])]
        return "   ".join(parts)

    def draw(self, running: int) -> None:
        if self._terminal:
            self._out.write(f"\r\x1b[K{self.line(running)}")
            self._out.flush()

    def clear(self) -> None:
        if self._terminal:
            self._out.write("\r\x1b[K")
            self._out.flush()
