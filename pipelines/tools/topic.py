"""A Pub/Sub topic: made where it is missing, and published to in order, one request after the other.

A request whose answer is lost is sent again, so that its messages may stand on the topic twice: a reader finds as many repeats
more than were confirmed, and of broken messages as many refused.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

from google.api_core import exceptions as status
from google.api_core.retry import Retry, if_exception_type
from google.api_core.timeout import ConstantTimeout
from google.pubsub_v1 import PublisherClient, SubscriberClient, types

from pipelines.tools.sequence import Line
from schemas.errors import Fault, Misconfigured, Transient

# https://cloud.google.com/pubsub/quotas#resource_limits: 1,000 messages and 10 MB a request
MOST_MESSAGES, MOST_BYTES = 1_000, 9_000_000
ENVELOPE = 300
"""Bytes that attributes and framing add to a message, and more."""
TICK = 0.02
"""Seconds from one request to the next, where a rate leaves time."""
PATIENCE = 60.0
"""Seconds that a request is tried for."""
ATTEMPT = 20.0
DEADLINE = 10
"""Seconds that a subscription made here waits for an acknowledgement: the service's least, as `stream` extends leases and holds its first watermark so long."""
_PASSING = (status.Aborted, status.Cancelled, status.DeadlineExceeded, status.InternalServerError, status.ResourceExhausted,
            status.ServiceUnavailable, status.Unknown)
_Request, _Message = types.PublishRequest.pb(), types.PubsubMessage.pb()  # proto-plus takes many times as long


class Topic(NamedTuple):
    """A topic by its name; event_time: field of a row that becomes the attribute event_time."""

    client: PublisherClient
    name: str
    event_time: str

    def publish(self, requests: Iterable[list[Line]], patience: float = PATIENCE) -> Iterator[list[Line]]:
        """Publishes lines as messages, with the attributes event_id and event_time of the events that they were made of. Yields what
        is confirmed; the next request is made while one is under way.

        Raises Misconfigured where the topic does not take it, Transient where the service fails for `patience` seconds.
        """
        retry = Retry(if_exception_type(*_PASSING), initial=0.1, maximum=5.0, multiplier=2.0, timeout=patience)
        attempt = ConstantTimeout(min(ATTEMPT, patience))  # type: ignore[no-untyped-call]
        with _told("--topic", self.name, "publish to it"), ThreadPoolExecutor(1) as thread:
            sent: tuple[list[Line], Future[Any]] | None = None
            for lines in requests:
                request = self._request(lines)
                if sent:
                    sent[1].result()
                    yield sent[0]
                sent = lines, thread.submit(self.client.publish, request=request, retry=retry, timeout=attempt)
            if sent:
                sent[1].result()
                yield sent[0]

    def _request(self, lines: list[Line]) -> Any:
        messages = [_Message(data=line.body, attributes={"event_id": line.sample.id, "event_time": str(line.sample.row[self.event_time])}) for line in lines]
        return types.PublishRequest.wrap(_Request(topic=self.name, messages=messages))

    def create(self) -> None:
        """Makes the topic, where it is missing. Raises Misconfigured."""
        with _told("--topic", self.name, "make it"):
            _make(lambda: self.client.create_topic(name=self.name))

    def subscribe(self, client: SubscriberClient, name: str) -> None:
        """Makes a subscription to the topic, where it is missing. Raises Misconfigured, also where it is one to another topic."""
        with _told("--subscription", name, "make it"):
            _make(lambda: client.create_subscription(name=name, topic=self.name, ack_deadline_seconds=DEADLINE))
            found = client.get_subscription(subscription=name).topic
        if found != self.name:
            raise Misconfigured([Fault("--subscription", f"is one to {found}", "give another name, or that topic")])


def requests(lines: Iterable[Line], rate: int, stop: threading.Event, clock: Callable[[], float] = time.monotonic) -> Iterator[list[Line]]:
    """Lines by the request, within the limits of the service and not sooner than `rate` lines a second (0: at once), until stop is set."""
    start, made, size = clock(), list[Line](), 0
    for number, line in enumerate(lines):
        if rate and start + number / rate > clock():
            if made:
                yield made
                made, size = [], 0
            stop.wait(max(start + number / rate - clock(), TICK))
        if stop.is_set():
            break
        weight = len(line.body) + ENVELOPE
        if made and (len(made) == MOST_MESSAGES or size + weight > MOST_BYTES):
            yield made
            made, size = [], 0
        made.append(line)
        size += weight
    if made:
        yield made


def _make(call: Callable[[], Any]) -> None:
    try:
        call()
    except status.AlreadyExists:
        return


@contextmanager
def _told(where: str, name: str, what: str) -> Iterator[None]:
    """What the service says as faults of an option."""
    try:
        yield
    except status.NotFound:
        raise Misconfigured([Fault(where, f"{name} does not exist, or its topic does not", "make it, or give --create")]) from None
    except (status.PermissionDenied, status.Unauthenticated):
        raise Misconfigured([Fault(where, f"{name}: these credentials may not {what}",
                                   "give the account roles/pubsub.publisher, and to make it roles/pubsub.editor")]) from None
    except status.InvalidArgument:
        raise Misconfigured([Fault(where, f"{name}: Pub/Sub does not take the request",
                                   "check the name (3 to 255 characters), and that the topic has no schema")]) from None
    except (status.RetryError, *_PASSING):
        raise Transient(f"{name}: Pub/Sub fails") from None
