"""What a Pub/Sub broker knows: topics, and subscriptions with their queues. Requests and answers are the service's own messages."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import grpc

from tests import pubsub_limits as limits
from tests.pubsub_faults import Faults
from tests.pubsub_limits import Raw, Refused
from tests.pubsub_queue import Message, Queue

Code = grpc.StatusCode


class Service:
    """The methods of Publisher and Subscriber that are answered at once. All may raise Refused."""

    def __init__(self, faults: Callable[[], Faults], shortest_deadline: int, clock: Callable[[], float], now: Callable[[], float], first_id: int) -> None:
        self.shortest, self._faults, self._clock, self._now = shortest_deadline, faults, clock, now
        self.topics: dict[str, Any] = {}
        self.subscriptions: dict[str, tuple[Any, Queue]] = {}
        self._next_id, self._queues, self._lock = first_id, itertools.count(), threading.Lock()

    def create_topic(self, topic: Any) -> Any:
        limits.check_name(topic.name, "topics")
        with self._lock:
            _refuse_twice(self.topics, topic.name)
            self.topics[topic.name] = topic
        return topic

    def get_topic(self, request: Any) -> Any:
        return self.topic(request.topic)

    def topic(self, name: str) -> Any:
        limits.check_name(name, "topics")
        return _found(self.topics, name)

    def list_topics(self, request: Any) -> Any:
        with self._lock:
            names, token = limits.page(self.topics, request)
            return Raw.ListTopicsResponse(topics=[self.topics[n] for n in names], next_page_token=token)

    def delete_topic(self, request: Any) -> Any:
        self.topic(request.topic)
        with self._lock:
            self.topics.pop(request.topic, None)
            for subscription, _ in self.subscriptions.values():
                if subscription.topic == request.topic:
                    subscription.topic = "_deleted-topic_"
        return Raw.Empty()

    def publish(self, request: Any) -> Any:
        self.topic(request.topic)
        limits.check_publish(request)
        at, count, messages = self._now(), len(request.messages), []
        with self._lock:
            first = self._next_id
            self._next_id += count
            queues = [queue for subscription, queue in self.subscriptions.values() if subscription.topic == request.topic]
        for number, message in enumerate(request.messages, first):
            message.message_id = str(number)
            message.publish_time.FromMicroseconds(int(at * 1_000_000))
            messages.append(Message(number, message.SerializeToString()))
        for queue in queues:
            queue.put(messages)
        return Raw.PublishResponse(message_ids=[str(n) for n in range(first, first + count)])

    def create_subscription(self, subscription: Any) -> Any:
        limits.check_name(subscription.name, "subscriptions")
        limits.check_subscription(subscription, self.shortest)
        self.topic(subscription.topic)
        with self._lock:
            _refuse_twice(self.subscriptions, subscription.name)
            queue = Queue(next(self._queues), subscription.ack_deadline_seconds, self._faults, self._clock)
            self.subscriptions[subscription.name] = subscription, queue
        return subscription

    def get_subscription(self, request: Any) -> Any:
        return self.subscription(request.subscription)[0]

    def subscription(self, name: str) -> tuple[Any, Queue]:
        limits.check_name(name, "subscriptions")
        found: tuple[Any, Queue] = _found(self.subscriptions, name)
        return found

    def list_subscriptions(self, request: Any) -> Any:
        with self._lock:
            names, token = limits.page(self.subscriptions, request)
            return Raw.ListSubscriptionsResponse(subscriptions=[self.subscriptions[n][0] for n in names], next_page_token=token)

    def delete_subscription(self, request: Any) -> Any:
        _, queue = self.subscription(request.subscription)
        with self._lock:
            self.subscriptions.pop(request.subscription, None)
        queue.delete()
        return Raw.Empty()

    def acknowledge(self, request: Any) -> Any:
        limits.check_ack_ids(request)
        self.subscription(request.subscription)[1].acknowledge(request.ack_ids)
        return Raw.Empty()

    def modify(self, request: Any) -> Any:
        limits.check_ack_ids(request)
        limits.check_deadline(request.ack_deadline_seconds, shortest=0)
        self.subscription(request.subscription)[1].modify(request.ack_ids, request.ack_deadline_seconds)
        return Raw.Empty()


def _refuse_twice(among: dict[str, Any], name: str) -> None:
    if name in among:
        raise Refused(Code.ALREADY_EXISTS, f"Resource already exists in the project (resource={name.split('/')[-1]}).")


def _found(among: dict[str, Any], name: str) -> Any:
    if name not in among:
        raise Refused(Code.NOT_FOUND, f"Resource not found (resource={name.split('/')[-1]}).")
    return among[name]
