"""Why reading failed, in words that hold nothing of a row.

Runners hand on the text of an exception, never the exception itself; and texts of exceptions are not shown, since most may
hold rows. So what this module is told is kept for the process's one run. It decides nothing.
"""

import threading

_SHOWN = 20


class Verdict:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: dict[str, None] = {}

    def tell(self, *texts: str) -> None:
        """texts: names of files and numbers, nothing of their content."""
        with self._lock:
            self._texts |= dict.fromkeys(texts)

    def told(self) -> str | None:
        """What was told, None where nothing was."""
        with self._lock:
            texts = list(self._texts)
        more = [f"and {len(texts) - _SHOWN:,} more"] if len(texts) > _SHOWN else []
        return "; ".join(texts[:_SHOWN] + more) or None

    def forget(self) -> None:
        """Before a run."""
        with self._lock:
            self._texts.clear()


VERDICT = Verdict()
