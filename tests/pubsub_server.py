"""A Pub/Sub broker on this machine, over gRPC as Google's, for tests and demonstrations: python -m tests.pubsub_server --port=8086

Clients find it by PUBSUB_EMULATOR_HOST, as they find Google's emulator. It keeps the published limits (pubsub_limits) and ack
deadlines (pubsub_queue), and commits faults on request (pubsub_faults). The order of ordering keys, filters, exactly-once
delivery, dead letter topics, push, snapshots and seek are not offered: who asks for them is answered UNIMPLEMENTED.
"""

import argparse
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any

import grpc

from tests import pubsub_limits as limits
from tests.pubsub_faults import ACTS, STATUSES, Fault, Faults
from tests.pubsub_limits import Raw, Refused
from tests.pubsub_queue import Counts, Deleted, Queue
from tests.pubsub_service import Service

Code = grpc.StatusCode
DELETED = (Code.NOT_FOUND, "Resource not found: the subscription was deleted.")
LONGEST_POLL = 90.0
"""Seconds after which a pull is answered without a message, where the client's deadline does not come first."""
ENDLESS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Broker:
    """A broker, up from the start until close().

    host: its HOST:PORT; faults: what goes wrong, to be replaced at any time; shortest_deadline: seconds, less than the service's
    10 for tests; clock: of the ack deadlines; now: seconds since the epoch, of the publish times; first_id: of the messages.
    """

    def __init__(self, port: int = 0, faults: Faults | None = None, shortest_deadline: int = 10, clock: Callable[[], float] = time.monotonic,
                 now: Callable[[], float] = time.time, first_id: int = 1, workers: int = 64) -> None:
        self.faults, self.clock, self._stopping = faults or Faults(), clock, threading.Event()
        self._service = service = Service(lambda: self.faults, shortest_deadline, clock, now, first_id)
        self._server = grpc.server(futures.ThreadPoolExecutor(workers), options=[*ENDLESS, ("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", {
                "CreateTopic": self._unary("CreateTopic", service.create_topic, Raw.Topic),
                "GetTopic": self._unary("GetTopic", service.get_topic, Raw.GetTopicRequest),
                "ListTopics": self._unary("ListTopics", service.list_topics, Raw.ListTopicsRequest),
                "DeleteTopic": self._unary("DeleteTopic", service.delete_topic, Raw.DeleteTopicRequest),
                "Publish": self._unary("Publish", service.publish, Raw.PublishRequest)}),
            grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", {
                "CreateSubscription": self._unary("CreateSubscription", service.create_subscription, Raw.Subscription),
                "GetSubscription": self._unary("GetSubscription", service.get_subscription, Raw.GetSubscriptionRequest),
                "ListSubscriptions": self._unary("ListSubscriptions", service.list_subscriptions, Raw.ListSubscriptionsRequest),
                "DeleteSubscription": self._unary("DeleteSubscription", service.delete_subscription, Raw.DeleteSubscriptionRequest),
                "Pull": self._unary("Pull", self._pull, Raw.PullRequest, with_context=True),
                "Acknowledge": self._unary("Acknowledge", service.acknowledge, Raw.AcknowledgeRequest),
                "ModifyAckDeadline": self._unary("ModifyAckDeadline", service.modify, Raw.ModifyAckDeadlineRequest),
                "StreamingPull": grpc.stream_stream_rpc_method_handler(
                    self._stream, Raw.StreamingPullRequest.FromString, Raw.StreamingPullResponse.SerializeToString)})))
        self.host = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        self._server.start()

    def create(self, topic: str, *subscriptions: str, seconds: int = 10) -> None:
        """A topic, where there is none, and subscriptions to it, whose ack deadline is `seconds`."""
        if topic not in self._service.topics:
            self._service.create_topic(Raw.Topic(name=topic))
        for name in subscriptions:
            self._service.create_subscription(Raw.Subscription(name=name, topic=topic, ack_deadline_seconds=seconds))

    def publish(self, topic: str, bodies: Iterable[bytes], **attributes: str) -> list[str]:
        """The ids of the messages, which all have the attributes; not through the network, and no faults."""
        messages = (Raw.PubsubMessage(data=body, attributes=attributes) for body in bodies)
        return [i for m in messages for i in self._service.publish(Raw.PublishRequest(topic=topic, messages=[m])).message_ids]

    def counts(self, subscription: str) -> Counts:
        """Raises Refused where there is no such subscription."""
        return self._service.subscription(subscription)[1].counts()

    def pulling(self, subscription: str) -> int:
        """How many calls wait for its messages, or take them."""
        return self._service.subscription(subscription)[1].pulling

    def delete(self, subscription: str) -> None:
        """Those who pull from it are answered NOT_FOUND at once."""
        self._service.delete_subscription(Raw.DeleteSubscriptionRequest(subscription=subscription))

    def close(self) -> None:
        self._stopping.set()
        for _, queue in list(self._service.subscriptions.values()):
            queue.wake()
        self._server.stop(0).wait()

    def wait(self) -> None:
        """Until somebody closes it."""
        self._server.wait_for_termination()

    def __enter__(self) -> "Broker":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _unary(self, method: str, act: Callable[..., Any], request: Any, with_context: bool = False) -> grpc.RpcMethodHandler:
        def answer(asked: Any, context: grpc.ServicerContext) -> Any:
            fault = self._commit(method, asked, context)
            try:
                answered = act(asked, context) if with_context else act(asked)
            except Refused as refused:
                context.abort(refused.code, refused.text)
            except Deleted:
                context.abort(*DELETED)
            if fault == "lost":
                context.abort(*STATUSES["unavailable"])
            return answered
        return grpc.unary_unary_rpc_method_handler(answer, request.FromString, lambda answered: answered.SerializeToString())

    def _commit(self, method: str, request: Any, context: grpc.ServicerContext) -> str:
        """Commits what goes wrong before a call is done; the fault."""
        fault = self.faults.of(method)
        _, queue = self._service.subscriptions.get(getattr(request, "subscription", ""), (None, None))
        if fault in STATUSES:
            context.abort(*STATUSES[fault])
        if fault == "hang":
            self._hang(context)
        if fault == "deleted" and queue:
            self.delete(request.subscription)
        if fault == "late" and queue:
            queue.modify(request.ack_ids, 0)
        return fault

    def _hang(self, context: grpc.ServicerContext) -> None:
        gone = threading.Event()
        if context.add_callback(gone.set):
            while not gone.wait(0.1) and not self._stopping.is_set():
                pass
        context.abort(*STATUSES["unavailable"])

    def _is_there(self, context: grpc.ServicerContext) -> bool:
        return bool(context.is_active()) and not self._stopping.is_set()

    def _pull(self, request: Any, context: grpc.ServicerContext) -> Any:
        _, queue = self._service.subscription(request.subscription)
        limits.check_pull(request)
        # Longer than the client: who waits in vain gets DEADLINE_EXCEEDED, as from the service, and never now this, now an empty answer.
        seconds = 0.0 if request.return_immediately else min(context.time_remaining() + 1, LONGEST_POLL)
        context.add_callback(queue.wake)
        taken = queue.pull(lambda: request.max_messages, seconds, lambda: self._is_there(context))
        if taken and not self._is_there(context):  # on a slow machine it may have gone meanwhile: those who come next wait for no deadline
            queue.modify([ack_id for ack_id, _ in taken], 0)
        return _filled(Raw.PullResponse(), taken)

    def _stream(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        first = next(requests, Raw.StreamingPullRequest())
        try:
            _, queue = self._service.subscription(first.subscription)
            limits.check_deadline(first.stream_ack_deadline_seconds, self._service.shortest)
        except Refused as refused:
            context.abort(refused.code, refused.text)
        context.add_callback(queue.wake)
        threading.Thread(target=_read, args=(requests, queue), daemon=True).start()
        sizes: dict[str, int] = {}

        def room() -> int:
            """How many messages the client has room for, of what it said at the start."""
            for ack_id in sizes.keys() - queue.leased(sizes):
                del sizes[ack_id]
            if 0 < first.max_outstanding_bytes <= sum(sizes.values()):
                return 0
            return first.max_outstanding_messages - len(sizes) if first.max_outstanding_messages > 0 else limits.MOST_MESSAGES

        while self._is_there(context):
            fault = self._commit("StreamingPull", first, context)
            try:
                taken = queue.pull(room, LONGEST_POLL, lambda: self._is_there(context), first.stream_ack_deadline_seconds)
            except Deleted:
                context.abort(*DELETED)
            if fault == "lost":
                context.abort(*STATUSES["unavailable"])
            if taken:
                sizes.update((ack_id, len(raw)) for ack_id, raw in taken)
                yield _filled(Raw.StreamingPullResponse(), taken)


def _read(requests: Iterator[Any], queue: Queue) -> None:
    """Acknowledgements and deadlines that come by the stream itself, as those of older clients do."""
    try:
        for request in requests:
            if request.ack_ids:
                queue.acknowledge(request.ack_ids)
            for ack_id, seconds in zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds):
                queue.modify([ack_id], seconds)
    except grpc.RpcError:
        queue.wake()


def _filled(response: Any, taken: Iterable[tuple[str, bytes]]) -> Any:
    for ack_id, raw in taken:
        received = response.received_messages.add()
        received.ack_id = ack_id
        received.message.MergeFromString(raw)
    return response


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8086)
    parser.add_argument("--fault", default="", help=f"one of {', '.join([*STATUSES, *ACTS])}")
    parser.add_argument("--method", default="", help="of the calls that go wrong, such as Acknowledge; all where it is not given")
    parser.add_argument("--share", type=float, default=0.1, help="of the calls that go wrong")
    parser.add_argument("--twice", type=float, default=0.0, help="share of the messages that are delivered twice")
    parser.add_argument("--held", type=float, default=0.0, help="share of the messages that are held back for some pulls")
    parser.add_argument("--pulls", type=int, default=3, help="for how many they are held back")
    given = parser.parse_args()
    try:
        faults = Faults(*[Fault(given.fault, given.method, given.share)] if given.fault else [], twice=given.twice, held=given.held, pulls=given.pulls)
        # Ids go on rising when it is started anew: what a table holds of an earlier start is no repeat of this one's.
        broker = Broker(given.port, faults, first_id=time.time_ns() // 1000)
    except ValueError as wrong:
        parser.error(str(wrong))
    except RuntimeError:
        parser.error(f"port {given.port} is taken; give another --port")
    print(f"Pub/Sub at {broker.host}: export PUBSUB_EMULATOR_HOST={broker.host}; stop it with ^C", flush=True)
    try:
        broker.wait()
    except KeyboardInterrupt:
        broker.close()


if __name__ == "__main__":
    main()
