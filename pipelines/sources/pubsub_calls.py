"""The four calls to a subscription, on raw protocol buffers: proto-plus would cost more than all else that is done to a message."""

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import grpc
from google.api_core.exceptions import Cancelled, GoogleAPICallError, from_grpc_error
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.pubsub_v1 import SubscriberClient, types

from schemas.errors import Fault, Misconfigured
from transforms.formats.messages import Message

Seconds = float
Code = grpc.StatusCode
AGAIN = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL, Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.CANCELLED)
"""What may pass. CANCELLED is what a server that ends says now and then of the calls that it drops."""
_MOST_BYTES = 500_000  # of ack ids in a request: the service takes 524,288 bytes
_PullRequest, _AcknowledgeRequest, _ModifyRequest = (t.pb() for t in (types.PullRequest, types.AcknowledgeRequest, types.ModifyAckDeadlineRequest))
_NEVER = {
    Code.NOT_FOUND: ("does not exist", "create it (gcloud pubsub subscriptions create), or look at its name and its project"),
    Code.PERMISSION_DENIED: ("may not be read by this account", "give it roles/pubsub.subscriber and roles/pubsub.viewer on the subscription"),
    Code.UNAUTHENTICATED: ("is not read with these credentials", "renew them: run as a service account, or gcloud auth application-default login"),
    Code.FAILED_PRECONDITION: ("is not in a state to be read", "see that it is a pull subscription, and not detached from its topic"),
}


class Received(NamedTuple):
    """A message, and the id by which this delivery of it is acknowledged."""

    ack_id: str
    message: Message


class Calls:
    """Calls to the subscription projects/P/subscriptions/S. All raise GoogleAPICallError, and none tries again."""

    def __init__(self, client: SubscriberClient, name: str) -> None:
        self.name, self._client = name, client
        self._transport: Any = client.transport
        self._address = [to_grpc_metadata([("subscription", name)])]  # type: ignore[no-untyped-call]
        self._waiting: set[grpc.Future] = set()
        self._lock = threading.Lock()

    def pull(self, most: int, timeout: Seconds, at_once: bool = False) -> tuple[list[Received], int]:
        """(at most so many messages, about how many bytes they take). Waits for the first at the service, unless at_once."""
        request = _PullRequest(subscription=self.name, max_messages=most, return_immediately=at_once)
        call = self._transport.pull.future(request, timeout=timeout, metadata=self._address)  # the client's own pull cannot be cancelled
        with self._lock:
            self._waiting.add(call)
        try:
            return _received(types.PullResponse.pb(call.result()))
        except grpc.FutureCancelledError:
            raise Cancelled("") from None  # type: ignore[no-untyped-call]
        except grpc.RpcError as error:
            raise from_grpc_error(error) from None  # type: ignore[no-untyped-call]
        finally:
            with self._lock:
                self._waiting.discard(call)

    def cancel(self) -> None:
        """Ends the pulls that are under way: they raise Cancelled."""
        with self._lock:
            waiting = list(self._waiting)
        for call in waiting:
            call.cancel()

    def acknowledge(self, ack_ids: list[str], timeout: Seconds) -> None:
        request = _AcknowledgeRequest(subscription=self.name, ack_ids=ack_ids)
        self._client.acknowledge(request=types.AcknowledgeRequest.wrap(request), retry=None, timeout=timeout)

    def modify(self, ack_ids: list[str], seconds: Seconds, timeout: Seconds) -> None:
        """A new deadline, from now on; 0: the messages may be delivered again at once."""
        request = _ModifyRequest(subscription=self.name, ack_ids=ack_ids, ack_deadline_seconds=int(seconds))
        self._client.modify_ack_deadline(request=types.ModifyAckDeadlineRequest.wrap(request), retry=None, timeout=timeout)

    def ack_deadline(self, patience: Seconds, clock: Callable[[], Seconds], sleep: Callable[[Seconds], Any]) -> Seconds:
        """The subscription's. Raises Misconfigured where it cannot be read, or not be reached for so long."""
        if not re.fullmatch(r"projects/[^/\s]+/subscriptions/[^/\s]+", self.name):
            raise Misconfigured([Fault("--subscription", "is not the name of a subscription", "give projects/PROJECT/subscriptions/NAME")])
        until = clock() + patience
        while True:
            try:
                found = self._client.get_subscription(subscription=self.name, retry=None, timeout=max(until - clock(), 0.1))
                break
            except GoogleAPICallError as error:
                code = error.grpc_status_code
            if code not in AGAIN:
                raise Misconfigured([self.fault(code)])
            if clock() + 0.2 >= until:
                raise Misconfigured([Fault("Pub/Sub", f"did not answer for {patience:.0f} seconds ({code.name})",
                                           "look at the network, --pubsub_endpoint and PUBSUB_EMULATOR_HOST")])
            sleep(0.2)
        if found.push_config.push_endpoint or found.bigquery_config.table or found.cloud_storage_config.bucket:
            raise Misconfigured([Fault("--subscription", f"{self.name} delivers elsewhere by itself", "make a pull subscription to its topic")])
        return float(found.ack_deadline_seconds)

    def fault(self, code: grpc.StatusCode | None) -> Fault:
        """What a status that does not pass says, and what to do."""
        name = code.name if code else "no status"
        problem, remedy = _NEVER.get(code, ("cannot be read", "look the status up at cloud.google.com/pubsub/docs/reference/error-codes"))
        return Fault("--subscription", f"{self.name} {problem} ({name})", remedy)

    def close(self) -> None:
        """Ends the connection."""
        self._transport.close()


def parts(ack_ids: Iterable[str]) -> Iterator[list[str]]:
    """Parts that fit into a request."""
    part: list[str] = []
    size = 0
    for ack_id in ack_ids:
        size += len(ack_id) + 4
        if size > _MOST_BYTES and part:
            yield part
            part, size = [], len(ack_id) + 4
        part.append(ack_id)
    if part:
        yield part


def _received(answer: Any) -> tuple[list[Received], int]:
    found, size = [], 0
    for delivery in answer.received_messages:
        message = delivery.message
        data, at, pairs = message.data, message.publish_time, message.attributes
        attributes = dict(pairs) if pairs else {}
        size += len(data)
        if attributes:
            size += sum(map(len, attributes)) + sum(map(len, attributes.values()))
        found.append(Received(delivery.ack_id, Message(data, message.message_id, at.seconds * 1_000_000 + at.nanos // 1000, attributes)))
    return found, size
