"""Google's clients for a Pub/Sub broker of the tests, ours or Google's emulator."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from tests.pubsub_limits import LONGEST_DEADLINE
from tests.pubsub_server import ENDLESS, Broker


class Client:
    """Google's clients for one broker, with a topic and a subscription of this test's own. Nothing is tried again.

    The subscription's ack deadline is the longest there is, unless a test says otherwise: what is delivered comes no second time because a machine is slow.
    """

    def __init__(self, host: str, project: str = "test-project", **names: str) -> None:
        self.channel = grpc.insecure_channel(host, options=ENDLESS)
        self.publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self.channel))
        self.subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=self.channel))
        self.project, own = f"projects/{project}", f"t{uuid.uuid4().hex}"
        self.topic, self.subscription = f"{self.project}/topics/{own}", f"{self.project}/subscriptions/{own}"
        self.__dict__.update(names)

    def start(self, **given: Any) -> "Client":
        self.publisher.create_topic(name=self.topic)
        self.subscriber.create_subscription(request={"name": self.subscription, "topic": self.topic, "ack_deadline_seconds": LONGEST_DEADLINE, **given})
        return self

    def publish(self, *messages: dict[str, Any] | bytes) -> list[str]:
        given = [m if isinstance(m, dict) else {"data": m} for m in messages]
        return list(self.publisher.publish(request={"topic": self.topic, "messages": given}, retry=None, timeout=120).message_ids)

    def pull(self, most: int = 1000, timeout: float = 60.0, **given: Any) -> list[Any]:
        request = {"subscription": self.subscription, "max_messages": most, **given}
        return list(self.subscriber.pull(request=request, retry=None, timeout=timeout).received_messages)

    def pull_all(self, number: int) -> list[Any]:
        received: list[Any] = []
        while len(received) < number:
            received += self.pull(timeout=240)
        return received

    def now(self) -> list[Any]:
        return self.pull(return_immediately=True)

    def stream(self, take: Callable[[Any], None], most: int = 1000) -> Any:
        """SubscriberClient.subscribe, with at most so many messages in hand."""
        subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=self.channel))
        flow = pubsub_v1.types.FlowControl(max_messages=most, min_duration_per_lease_extension=LONGEST_DEADLINE)
        return subscriber.subscribe(self.subscription, take, flow_control=flow, await_callbacks_on_shutdown=True)

    def stream_until(self, enough: Callable[[], bool], take: Callable[[Any], None], most: int = 1000) -> None:
        """The same until enough has come; each message is acknowledged once `take` has seen it."""
        done = threading.Event()

        def each(message: Any) -> None:
            take(message)
            message.ack()
            if enough():
                done.set()

        stream = self.stream(each, most)
        assert done.wait(240)
        stream.cancel()
        stream.result(240)

    def acknowledge(self, *received: Any) -> None:
        ids = [r if isinstance(r, str) else r.ack_id for r in received]
        self.subscriber.acknowledge(subscription=self.subscription, ack_ids=ids, retry=None, timeout=120)

    def modify(self, seconds: int, *received: Any) -> None:
        ids = [r if isinstance(r, str) else r.ack_id for r in received]
        request = {"subscription": self.subscription, "ack_ids": ids, "ack_deadline_seconds": seconds}
        self.subscriber.modify_ack_deadline(request=request, retry=None, timeout=120)


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@contextmanager
def still(topic: str, subscription: str) -> Iterator[Broker]:
    """A broker whose ack deadline is a second, so that a stream holds its watermark for a second after its start; by a clock that a test moves
    (`broker.clock.time`), so that no message comes a second time because this machine was slow to extend its lease."""
    with Broker(shortest_deadline=1, clock=Clock()) as broker:
        broker.create(topic, subscription, seconds=1)
        yield broker


def bodies(received: list[Any]) -> list[bytes]:
    return [r.message.data for r in received]
