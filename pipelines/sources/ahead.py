"""What was pulled ahead of the runs, in the order in which it came."""

from collections import deque
from typing import NamedTuple

from pipelines.sources.pubsub_calls import Received, Seconds


class _Pulled(NamedTuple):
    at: Seconds
    received: list[Received]
    bytes: int


class Ahead:
    """count, bytes: of what is there. One caller at a time."""

    def __init__(self) -> None:
        self._pulled: deque[_Pulled] = deque()
        self.count = self.bytes = 0

    @property
    def oldest(self) -> Seconds | None:
        """When the oldest came, None where nothing is there."""
        return self._pulled[0].at if self._pulled else None

    def put(self, at: Seconds, received: list[Received], size: int) -> None:
        """received: one at least; size: bytes of them all."""
        self._pulled.append(_Pulled(at, received, size))
        self.count += len(received)
        self.bytes += size

    def take(self, most: int) -> list[Received]:
        """At most so many, the oldest first."""
        taken: list[Received] = []
        while self._pulled and len(taken) < most:
            at, received, size = self._pulled.popleft()
            rest = received[most - len(taken):]
            if rest:
                left = size * len(rest) // len(received)
                self._pulled.appendleft(_Pulled(at, rest, left))
                received, size = received[:len(received) - len(rest)], size - left
            taken += received
            self.bytes -= size
        self.count -= len(taken)
        return taken
