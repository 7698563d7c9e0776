"""How far a run is: one line that is rewritten on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from transforms.fates import PROGRESS, READ, Progress


class Watch:
    """Shows a run's progress while it lasts: rows of the fate `counted`, their rate, and the fates so far.

    clock answers seconds; out is stderr, so that stdout stays for results.
    """

    def __init__(self, progress: Progress = PROGRESS, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic,
                 counted: str = READ) -> None:
        self._progress, self._out, self._clock, self._counted = progress, out or sys.stderr, clock, counted
        self._terminal = self._out.isatty()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watch":
        self._progress.clear()
        self._start = self._clock()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if self._terminal:
            self._out.write("\r\x1b[K")

    def line(self) -> str:
        """Rows a second and the fates so far."""
        rows = self._progress.rows()
        seconds = max(self._clock() - self._start, 1e-9)
        fates = "   ".join(f"{fate} {rows[fate]:,}" for fate in ("stored", "repeated", "refused", "late") if rows.get(fate))
        counted = rows.get(self._counted, 0)
        return f"{counted:,} {self._counted}   {counted / seconds:,.0f} rows/s   {fates}".rstrip()

    def _watch(self) -> None:
        every = 0.25 if self._terminal else 10.0
        while not self._stop.wait(every):
            self._out.write(f"\r\x1b[K{self.line()}" if self._terminal else f"{self.line()}\n")
            self._out.flush()
