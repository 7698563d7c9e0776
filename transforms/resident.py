"""What a process loads once and keeps: engines, models.

Beam's Shared keeps what was acquired last; a process that runs one graph again and again, as `stream` on one machine
does, would load its engine and its model anew each time.
"""

import threading
import uuid
from collections.abc import Callable
from typing import Any

_LOADED: dict[str, Any] = {}
_LOCK = threading.Lock()


class Resident:
    """A name for one thing, made where the graph is made; every copy of it in a process stands for the same thing there."""

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex

    def acquire(self, load: Callable[[], Any]) -> Any:
        """What load() answered the first time it was called in this process; loaders wait for each other."""
        with _LOCK:
            if self.name not in _LOADED:
                _LOADED[self.name] = load()
            return _LOADED[self.name]
