"""The messages of one subscription: waiting, leased until a deadline, given back, acknowledged and gone."""

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tests.pubsub_faults import Faults
from tests.pubsub_limits import ACK_ID_START, MOST_BYTES, MOST_MESSAGES


class Message(NamedTuple):
    """number: its id; raw: the PubsubMessage as it is sent."""

    number: int
    raw: bytes


class Counts(NamedTuple):
    """published: messages since the subscription was made; delivered, redelivered, acknowledged: deliveries; outstanding: leased now;
    backlog: to be delivered. published and the copies that faults made = acknowledged + outstanding + backlog.
    """

    published: int
    delivered: int
    redelivered: int
    acknowledged: int
    outstanding: int
    backlog: int


class Lease:
    """Deliveries that have one deadline."""

    __slots__ = ("deadline", "messages")

    def __init__(self, deadline: float) -> None:
        self.deadline, self.messages = deadline, dict[str, Message]()


class Deleted(Exception):
    """The subscription is no longer there."""


class Queue:
    """One subscription. Every method may be called by many threads. seconds: the ack deadline."""

    def __init__(self, number: int, seconds: float, faults: Callable[[], Faults], clock: Callable[[], float]) -> None:
        self.seconds, self.deleted, self.pulling = seconds, False, 0
        self._prefix, self._faults, self._clock = f"{ACK_ID_START}{number:04d}", faults, clock
        self._fresh, self._again = deque[Message](), deque[Message]()
        self._later: list[tuple[int, int, bool, Message]] = []  # a heap: the pull when it is due, an order, whether never delivered
        self._leases: dict[str, Lease] = {}
        self._ends: list[tuple[float, int, Lease]] = []  # a heap
        self._pulls = self._order = self._published = self._delivered = self._redelivered = self._acknowledged = 0
        self._changed = threading.Condition()

    def put(self, messages: Iterable[Message]) -> None:
        with self._changed:
            before = len(self._fresh)
            self._fresh.extend(messages)
            self._published += len(self._fresh) - before
            self._changed.notify_all()

    def pull(self, most: Callable[[], int], seconds: float, active: Callable[[], bool] = lambda: True,
             deadline: float = 0.0) -> list[tuple[str, bytes]]:
        """(ack id, raw message) of at most most() messages; waits up to `seconds` for the first, as long as somebody is there to take it.

        deadline: seconds, where it is not the subscription's. Where only messages stand that faults hold back, the answer is empty at once: the service's may be, too. Raises Deleted.
        """
        until = time.monotonic() + seconds
        with self._changed:
            self.pulling += 1
            try:
                while True:
                    if self.deleted:
                        raise Deleted
                    self._expire()
                    room = min(most(), MOST_MESSAGES) if active() else 0
                    taken = self._take(room, deadline or self.seconds) if room > 0 else []
                    wait = until - time.monotonic()
                    if taken or wait <= 0 or not active() or (room > 0 and self._later):
                        return taken
                    if self._ends:
                        wait = min(wait, self._ends[0][0] - self._clock())
                    self._changed.wait(max(wait, 0.001))
            finally:
                self.pulling -= 1

    def acknowledge(self, ack_ids: Iterable[str]) -> None:
        """Those whose deadline has passed, or that are not known, change nothing."""
        with self._changed:
            self._expire()
            before = len(self._leases)
            for ack_id in ack_ids:
                self._drop(ack_id)
            self._acknowledged += before - len(self._leases)
            self._changed.notify_all()

    def modify(self, ack_ids: Iterable[str], seconds: float) -> None:
        """A new deadline from now; 0 gives the messages back."""
        with self._changed:
            self._expire()
            lease = Lease(self._clock() + seconds)
            for ack_id in ack_ids:
                if message := self._drop(ack_id):
                    lease.messages[ack_id], self._leases[ack_id] = message, lease
            self._await_end(lease)
            self._changed.notify_all()

    def leased(self, ack_ids: Iterable[str]) -> list[str]:
        """Those that are leased still."""
        with self._changed:
            return [a for a in ack_ids if a in self._leases]

    def delete(self) -> None:
        with self._changed:
            self.deleted = True
            self._changed.notify_all()

    def wake(self) -> None:
        """Those that wait look whether their client is there still."""
        with self._changed:
            self._changed.notify_all()

    def counts(self) -> Counts:
        with self._changed:
            self._expire()
            backlog = len(self._fresh) + len(self._again) + len(self._later)
            return Counts(self._published, self._delivered, self._redelivered, self._acknowledged, len(self._leases), backlog)

    def _take(self, most: int, seconds: float) -> list[tuple[str, bytes]]:
        self._pulls += 1
        lease, taken, size = Lease(self._clock() + seconds), list[tuple[str, bytes]](), 0
        while len(taken) < most and size < MOST_BYTES and (found := self._next()):
            message, first = found
            self._order += 1
            ack_id = f"{self._prefix}{self._order:012d}"
            lease.messages[ack_id], self._leases[ack_id] = message, lease
            taken.append((ack_id, message.raw))
            size += len(message.raw)
            self._redelivered += not first
            if first and (after := self._faults().second(message.number)) is not None:
                heapq.heappush(self._later, (self._pulls + after, self._order, False, message))
        self._delivered += len(taken)
        self._await_end(lease)
        return taken

    def _next(self) -> tuple[Message, bool] | None:
        """A message, and whether it was never delivered. Those that were given back come first of all that wait: they are the oldest."""
        if self._later and self._later[0][0] <= self._pulls:
            _, _, first, message = heapq.heappop(self._later)
            return message, first
        if self._again:
            return self._again.popleft(), False
        while self._fresh:
            message = self._fresh.popleft()
            pulls = self._faults().pulls_held(message.number)
            if not pulls:
                return message, True
            self._order += 1
            heapq.heappush(self._later, (self._pulls + pulls, self._order, True, message))
        return None

    def _drop(self, ack_id: str) -> Message | None:
        lease = self._leases.pop(ack_id, None)
        if lease is None:
            return None
        message = lease.messages.pop(ack_id)
        if not lease.messages:
            lease.messages.clear()  # an emptied dict keeps its size, and the lease stays in the heap until those before it end
        return message

    def _await_end(self, lease: Lease) -> None:
        if lease.messages:
            self._order += 1
            heapq.heappush(self._ends, (lease.deadline, self._order, lease))

    def _expire(self) -> None:
        now = self._clock()
        while self._ends and (self._ends[0][0] <= now or not self._ends[0][2].messages):
            lease = heapq.heappop(self._ends)[2]
            for ack_id, message in lease.messages.items():
                del self._leases[ack_id]
                self._again.append(message)
            self._changed.notify_all()
