"""A service that fails for a while: told once a minute, asked again at intervals that grow."""

import threading
from collections.abc import Callable

Seconds = float
_TELL: Seconds = 60.0
_SHORTEST: Seconds = 0.2
_LONGEST: Seconds = 10.0


class Outage:
    """What threads that call one service know of its failures. clock: seconds, monotonic; draw: evenly from 0 to 1; tell: takes a line."""

    def __init__(self, service: str, clock: Callable[[], Seconds], draw: Callable[[], float], tell: Callable[[str], None]) -> None:
        self._service, self._clock, self._draw, self._tell = service, clock, draw, tell
        self._since: Seconds | None = None
        self._told = -_TELL
        self._lock = threading.Lock()

    def met(self, status: str) -> None:
        """A call ended so."""
        now = self._clock()
        with self._lock:
            self._since = now if self._since is None else self._since
            if now - self._told < _TELL:
                return
            self._told = now
        self._tell(f"{self._service} answers {status}; it is asked again until it does better")

    def over(self) -> None:
        """A call went well."""
        with self._lock:
            self._since = None

    def pause(self) -> Seconds:
        """How long to wait before the next attempt: drawn evenly ("full jitter") from 0 to how long it has failed, 10 s at most."""
        with self._lock:
            failing = 0.0 if self._since is None else self._clock() - self._since
        return self._draw() * min(max(failing, _SHORTEST), _LONGEST)
