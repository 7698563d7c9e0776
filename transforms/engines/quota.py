"""How fast DLP may be asked, and how often again: a token bucket for the quota, full jitter between attempts."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from schemas.errors import Transient

T = TypeVar("T")
Seconds = float


class Again(Exception):
    """An attempt failed in a way that may pass. `what` names the failure, never a value."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(what)


class Governor:
    """A token bucket: in no 60 seconds more than this worker's share of the quota.

    requests_per_minute: of the project or region; workers: among how many it is shared; clock: seconds, monotonic;
    sleep: takes seconds. A second's worth of requests may go at once.
    """

    def __init__(self, requests_per_minute: float, workers: int, clock: Callable[[], Seconds], sleep: Callable[[Seconds], None]) -> None:
        share = requests_per_minute / workers
        self._burst = max(1.0, share / 60)
        # What is left of a minute's share once the bucket is spent: bucket and refill together never pass the share.
        self._rate = max(share - self._burst, share / 2) / 60
        self._tokens, self._clock, self._sleep = self._burst, clock, sleep
        self._at, self._lock = clock(), threading.Lock()

    def wait(self) -> Seconds:
        """Waits for the next request's turn; how long that was."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now
            self._tokens -= 1  # below zero: the turns of those who wait already
            pause = max(0.0, -self._tokens / self._rate)
        if pause:
            self._sleep(pause)
        return pause


@dataclass(frozen=True)
class Backoff:
    """How long to wait between attempts, in seconds.

    The n-th wait is drawn evenly from 0 to first * 2**n, at most `most` ("full jitter",
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter), and never longer than it has failed so far:
    so the work is under way again after at most twice an outage. attempt: time-out of one attempt; total: after so long,
    turns at the quota not counted, the service is taken to be down.
    """

    first: Seconds = 1.0
    most: Seconds = 60.0
    attempt: Seconds = 30.0
    total: Seconds = 300.0


@dataclass
class Spent:
    """What a request took: calls, bytes sent, and seconds waited for the quota and between attempts."""

    calls: int = 0
    bytes: int = 0
    waited: Seconds = 0.0
    again: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Spent") -> None:
        self.calls += other.calls
        self.bytes += other.bytes
        self.waited += other.waited
        for what, times in other.again.items():
            self.again[what] = self.again.get(what, 0) + times


class Caller:
    """Calls under a governor, again where an attempt raises Again. random: draws evenly from 0 to 1."""

    def __init__(self, governor: Governor, backoff: Backoff, clock: Callable[[], Seconds], sleep: Callable[[Seconds], None],
                 random: Callable[[], float]) -> None:
        self.governor, self.backoff = governor, backoff
        self._clock, self._sleep, self._random = clock, sleep, random

    def call(self, attempt: Callable[[Seconds], T], spent: Spent) -> T:
        """What `attempt`, which is given its time-out, answers. Raises Transient where it fails past the total."""
        failing, number = 0.0, 0
        while True:
            spent.waited += self.governor.wait()
            spent.calls += 1
            began = self._clock()
            try:
                return attempt(min(self.backoff.attempt, max(self.backoff.total - failing, self.backoff.first)))
            except Again as again:
                what = again.what
            failing += self._clock() - began
            spent.again[what] = spent.again.get(what, 0) + 1
            most = min(self.backoff.most, self.backoff.first * 2**min(number, 30), max(failing, self.backoff.first))
            pause = self._random() * most
            failing, number = failing + pause, number + 1
            if failing >= self.backoff.total:
                raise Transient(f"DLP failed for {failing:.0f} seconds, {number} attempts; the last one: {what}")
            self._sleep(pause)
            spent.waited += pause
