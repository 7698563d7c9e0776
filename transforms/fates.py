"""The words of the books, and how many rows of this process came to each so far. Knows nothing of Beam."""

import threading
from collections import Counter

READ, STORED, REPEATED, REFUSED, LATE = "read", "stored", "repeated", "refused", "late"


class Progress:
    """Fates so far in this process: for the progress line alone, never for the books."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: Counter[str] = Counter()

    def add(self, fate: str, rows: int) -> None:
        with self._lock:
            self._rows[fate] += rows

    def rows(self) -> dict[str, int]:
        with self._lock:
            return dict(self._rows)

    def clear(self) -> None:
        with self._lock:
            self._rows.clear()


PROGRESS = Progress()
