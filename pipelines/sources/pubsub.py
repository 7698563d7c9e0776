"""A Pub/Sub subscription, read by unary pulls: pulled ahead while a run works, leased until it is committed, then acknowledged.

Unary, because what a StreamingPull client held when it was killed may not come back from Google's emulator. Nothing here looks
into a message, and no text says more than a status.
"""

import random
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.api_core.exceptions import GoogleAPICallError
from google.pubsub_v1 import SubscriberClient

from pipelines.sources.ahead import Ahead
from pipelines.sources.leases import Leases
from pipelines.sources.outage import Outage
from pipelines.sources.pubsub_calls import AGAIN, Calls, Received, Seconds, parts
from pipelines.sources.pubsub_channel import subscriber

__all__ = ["Gone", "Received", "Subscription", "subscriber"]

_MOST_MESSAGES = 1000  # that the service gives in one answer
_POLL: Seconds = 30.0  # how long a pull waits at the service; messages of one that is given up are lost for an ack deadline
_CALL: Seconds = 10.0  # how long any other call may take
_KEEP: Seconds = 2.5  # how long those of the thread that keeps leases may take at least: a quarter of the shortest ack deadline
_FEW, _GATHER = 50, 0.02  # pulls that bring so few messages follow each other in so many seconds: each costs as much as fifty messages
_QUIET: Seconds = 1.0  # after so long without a message the service is asked whether there is any
_SLICE: Seconds = 0.1  # how soon a stop is seen
_TRIES, _SENDERS = 5, 4  # of acknowledgements


class Gone(Exception):
    """The subscription cannot be read any more. The text says what to do."""


class Subscription:
    """check(), then start(), then take() and acknowledge() in turn, then close(), which closes the client too.

    name: projects/P/subscriptions/S; max_messages: of one take(); twice as many are in hand at most (and one), and about
    max_bytes, one answer for each of two threads beyond; clock: seconds, monotonic; draw: evenly from 0 to 1; tell: takes a
    line when the service fails, once a minute. deadline: the subscription's ack deadline, from check() on.
    """

    def __init__(self, client: SubscriberClient, name: str, max_messages: int, max_bytes: int = 64 << 20, clock: Callable[[], Seconds] = time.monotonic,
                 draw: Callable[[], float] = random.random, tell: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)) -> None:
        self.name, self.max_messages, self.max_bytes, self.deadline = name, max_messages, max_bytes, 10.0
        self._calls, self._outage = Calls(client, name), Outage("Pub/Sub", clock, draw, tell)
        self._clock, self._draw, self._tell = clock, draw, tell
        self._changed, self._ending = threading.Condition(), threading.Event()
        self._hand, self._leases = Ahead(), Leases()
        self._asked = 0  # for how many the pulls that are under way have room
        self._failure: Exception | None = None
        self._quiet_since = self._probed = clock()
        self._empty = False  # so the service has answered since the last message
        self._short = False  # the last pull brought fewer messages than it asked for
        self._threads = [threading.Thread(target=self._guarded, args=(loop,), daemon=True) for loop in (self._pull, self._pull, self._keep)]
        self._senders = ThreadPoolExecutor(_SENDERS, "acknowledge")

    def check(self, patience: Seconds = 30.0) -> None:
        """Reads the ack deadline. Raises Misconfigured where the subscription cannot be read, or not be reached for so long."""
        self.deadline = self._calls.ack_deadline(patience, self._clock, self._ending.wait)

    def start(self) -> None:
        """Begins to pull ahead."""
        self._quiet_since = self._probed = self._clock()
        for thread in self._threads:
            thread.start()

    def take(self, wait: Seconds, stop: threading.Event, timeout: Seconds = float("inf")) -> list[Received]:
        """At most max_messages: as soon as so many are in hand, or the hand is full, or the oldest has been there for `wait`.

        Empty after `timeout`, and where stop is set. Raises Gone.
        """
        until = self._clock() + timeout
        with self._changed:
            while not stop.is_set():
                if self._failure is not None:
                    raise self._failure
                now = self._clock()
                due = until if self._hand.oldest is None else self._hand.oldest + wait
                if self._hand.count and (due <= now or self._hand.count >= self.max_messages or self._hand.bytes >= self.max_bytes):
                    self._changed.notify_all()  # there is room again
                    return self._hand.take(self.max_messages)
                if until <= now:
                    break
                self._changed.wait(min(due - now, until - now, _SLICE))
            return []

    def idle(self) -> Seconds:
        """For how long no message has come and the service has not failed; 0 while any is in hand, and as long as the service has
        not answered since that there is none."""
        with self._changed:
            return self._clock() - self._quiet_since if self._empty and not self._hand.count else 0.0

    @property
    def drained(self) -> bool:
        """Nothing is in hand, and the service has answered that there is no more."""
        with self._changed:
            return self._empty and not self._hand.count

    @property
    def caught_up(self) -> bool:
        """Drained, or near it: the last pull brought fewer messages than it asked for, and none waits in hand. The nearest to an empty
        subscription that is ever seen where messages never cease, and seen right after take() alone."""
        with self._changed:
            return (self._short or self._empty) and not self._hand.count

    def acknowledge(self, ack_ids: Iterable[str]) -> int:
        """How many were not acknowledged, after some tries: they come again, as repeats. No lease of theirs is extended any more."""
        asked = list(parts(ack_ids))
        failed = sum(len(part) for part, sent in zip(asked, self._senders.map(self._acknowledged, asked)) if not sent)
        with self._changed:
            self._leases.drop(ack_id for part in asked for ack_id in part)
        if failed:
            self._tell(f"Pub/Sub: {failed:,} messages could not be acknowledged; they come again and are counted as repeated")
        return failed

    def give_back(self) -> None:
        """Ends pulling. What was not acknowledged, in hand or taken, may be delivered again at once."""
        with self._changed:
            self._ending.set()
            self._changed.notify_all()
        started = [thread for thread in self._threads if thread.ident is not None]
        for thread in started:
            thread.join(_SLICE)  # messages that are on their way to a pull shall come; others would wait for their deadline
        self._calls.cancel()
        for thread in started:
            thread.join()
        with self._changed:
            self._hand = Ahead()
            ack_ids = self._leases.clear()
        self._extend(ack_ids, 0)

    def close(self) -> None:
        """Gives back, ends all threads and closes the client."""
        self.give_back()
        self._senders.shutdown()
        self._calls.close()

    def _guarded(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except Exception as error:  # whatever it is, take() raises it, in the thread of the job
            self._fail(error)

    def _pull(self) -> None:
        most = min(_MOST_MESSAGES, self.max_messages)
        while self._room_for(most):
            began = self._clock()
            try:
                few = self._ask(most, _POLL) < min(_FEW, most)
            finally:
                with self._changed:
                    self._asked -= most
            if few:
                self._ending.wait(max(0.0, _GATHER - (self._clock() - began)))

    def _room_for(self, most: int) -> bool:
        """Waits for room in the hand and keeps it; False where pulling ends."""
        with self._changed:
            while not self._ending.is_set() and (
                    self._hand.count + self._asked + most > 2 * self.max_messages or self._hand.bytes >= self.max_bytes):
                self._changed.wait()
            self._asked += most
            return not self._ending.is_set()

    def _ask(self, most: int, timeout: Seconds, at_once: bool = False) -> int:
        """How many messages came."""
        began = self._clock()
        try:
            received, size = self._calls.pull(most, timeout, at_once)
        except GoogleAPICallError as error:
            if at_once or error.grpc_status_code is not grpc.StatusCode.DEADLINE_EXCEEDED:  # a pull that waits ends so where nothing came
                self._met(error)
                self._ending.wait(self._outage.pause())
            return 0
        self._outage.over()
        now = self._clock()
        with self._changed:
            if not received:
                self._empty = self._quiet_since <= began  # what came meanwhile, more may follow
                return 0
            self._quiet_since, self._empty, self._short = now, False, not at_once and len(received) < most
            self._hand.put(now, received, size)
            self._leases.add((r.ack_id for r in received), now + self.deadline)
            self._changed.notify_all()
        return len(received)

    def _keep(self) -> None:
        """Extends leases when half of them is over; asks whether there are messages where none came for a while."""
        while not self._ending.wait(min(self.deadline / 10, 0.5)):
            now = self._clock()
            with self._changed:
                due = self._leases.due(now + self.deadline / 2)
                ask = not self._hand.count and now - max(self._quiet_since, self._probed) >= _QUIET
            self._extend(due, self.deadline)
            if ask:
                self._probed = now
                self._ask(1, self._soon, at_once=True)

    @property
    def _soon(self) -> Seconds:
        """How long the thread that keeps leases waits for an answer: others are due meanwhile."""
        return min(_CALL, max(self.deadline / 4, _KEEP))

    def _extend(self, ack_ids: list[str], seconds: Seconds) -> None:
        """New deadlines, from now on. Those that fail are due again; those that are given back come in their time."""
        for part in parts(ack_ids):
            now = self._clock()
            try:
                self._calls.modify(part, seconds, self._soon)
            except GoogleAPICallError as error:
                self._met(error)
                return
            with self._changed:
                self._leases.extend(part, now + seconds)

    def _acknowledged(self, ack_ids: list[str]) -> bool:
        for number in range(_TRIES):
            try:
                self._calls.acknowledge(ack_ids, _CALL)
                return True
            except GoogleAPICallError as error:
                if not self._met(error):
                    return False
            time.sleep(self._draw() * 0.1 * 3**number)
        return False

    def _met(self, error: GoogleAPICallError) -> bool:
        """Whether the error may pass. Where it does not, take() raises Gone."""
        code = error.grpc_status_code
        if code is grpc.StatusCode.CANCELLED and self._ending.is_set():
            return False
        if code not in AGAIN:
            self._fail(Gone(str(self._calls.fault(code))))
            return False
        with self._changed:
            self._quiet_since, self._empty = self._clock(), False
        self._outage.met(code.name)
        return True

    def _fail(self, failure: Exception) -> None:
        with self._changed:
            self._failure = self._failure or failure
            self._ending.set()
            self._changed.notify_all()
