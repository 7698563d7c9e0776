"""The limits of Pub/Sub (https://cloud.google.com/pubsub/quotas#resource_limits), refused with the service's codes, and its words where they are known."""

import re
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

Code = grpc.StatusCode
MOST_BYTES, MOST_MESSAGES, MOST_ACK_BYTES = 10_000_000, 1_000, 524_288
MOST_ATTRIBUTES, MOST_KEY, MOST_VALUE, MOST_ORDERING_KEY = 100, 256, 1_024, 1_024
LONGEST_DEADLINE = 600
ACK_ID_START, ACK_ID_LENGTH = "A" * 168, 184
"""The service's ack ids are as long: 2,900 of them do not fit into one request."""
RETENTION = 7 * 86_400
SEE = "Refer to https://cloud.google.com/pubsub/quotas for more information."
ID = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
NOT_OFFERED = ("push_config", "bigquery_config", "cloud_storage_config", "filter", "enable_message_ordering", "enable_exactly_once_delivery",
               "dead_letter_policy", "retry_policy", "detached")

Raw = SimpleNamespace(Empty=Empty, **{name: getattr(types, name).pb() for name in (
    "Topic", "GetTopicRequest", "ListTopicsRequest", "ListTopicsResponse", "DeleteTopicRequest", "PubsubMessage", "PublishRequest", "PublishResponse",
    "Subscription", "GetSubscriptionRequest", "ListSubscriptionsRequest", "ListSubscriptionsResponse", "DeleteSubscriptionRequest",
    "PullRequest", "PullResponse", "AcknowledgeRequest", "ModifyAckDeadlineRequest", "StreamingPullRequest", "StreamingPullResponse")})
"""google.pubsub_v1's types without proto-plus, which takes many times as long."""


class Refused(Exception):
    """A call that ends with a status."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def invalid(text: str) -> Refused:
    return Refused(Code.INVALID_ARGUMENT, text)


def check_name(name: str, kind: str) -> None:
    """kind: "topics" or "subscriptions". Raises Refused, as all here do."""
    parts = name.split("/")
    if len(parts) != 4 or parts[0] != "projects" or not parts[1] or parts[2] != kind or not ID.fullmatch(parts[3]):
        raise invalid(f"Invalid resource name given (name={name}). Refer to https://cloud.google.com/pubsub/docs/admin#resource_names for more information.")


def check_publish(request: Any) -> None:
    if not request.messages:
        raise invalid("The value for message_count is too small. You passed 0 in the request, but the minimum value is 1.")
    _check_most("message_count", len(request.messages), MOST_MESSAGES)
    _check_most("request_size", request.ByteSize(), MOST_BYTES)
    for message in request.messages:
        if not message.data and not message.attributes:
            raise invalid("One or more messages in the publish request is empty. Each message must contain either non-empty data, or at least one attribute.")
        _check_most("ordering_key", len(message.ordering_key.encode()), MOST_ORDERING_KEY)
        if message.attributes:
            _check_attributes(message.attributes)


def _check_attributes(attributes: Any) -> None:
    _check_most("attributes", len(attributes), MOST_ATTRIBUTES)
    for key, value in attributes.items():
        if not key or key.startswith("goog"):
            raise invalid("You have passed an invalid argument to the service (argument=attributes): a key is empty or begins with goog.")
        # The service says "characters" and counts bytes: googleapis/java-pubsub#2312.
        for what, size, most in (("a key", len(key.encode()), MOST_KEY), ("a value", len(value.encode()), MOST_VALUE)):
            if size > most:
                raise invalid(f"One of the attributes in the request has {what} that is too long. The length is {size} characters, "
                              f"but the maximum allowed is {most}. {SEE}")


def check_subscription(subscription: Any, shortest: int) -> None:
    """Sets the ack deadline and the retention where none were asked for; what is kept is kept for ever. shortest: seconds."""
    # What a client leaves at its default may be in the request all the same, so values count, not presence.
    asked = [name for name in NOT_OFFERED if getattr(subscription, name) != getattr(Raw.Subscription(), name)]
    if asked:
        raise Refused(Code.UNIMPLEMENTED, f"This broker does not know {asked[0]}.")
    subscription.ack_deadline_seconds = subscription.ack_deadline_seconds or 10
    if not subscription.message_retention_duration.seconds:
        subscription.message_retention_duration.seconds = RETENTION
    check_deadline(subscription.ack_deadline_seconds, shortest)


def check_deadline(seconds: int, shortest: int) -> None:
    if not shortest <= seconds <= LONGEST_DEADLINE:
        raise invalid(f"Invalid ack deadline given (ack_deadline_seconds={seconds}). The ack deadline must be between {shortest} and {LONGEST_DEADLINE} seconds.")


def check_pull(request: Any) -> None:
    if request.max_messages < 1:
        raise invalid("You have passed an invalid argument to the service (argument=max_messages).")


def check_ack_ids(request: Any) -> None:
    if request.ByteSize() > MOST_ACK_BYTES:
        raise invalid(f"Request payload size exceeds the limit: {MOST_ACK_BYTES} bytes.")
    if not request.ack_ids:
        raise invalid("No ack ids specified.")
    for ack_id in request.ack_ids:
        if len(ack_id) != ACK_ID_LENGTH or not ack_id.startswith(ACK_ID_START):
            raise invalid(f"You have passed an invalid ack ID to the service (ack_id={ack_id}).")


def page(names: Iterable[str], request: Any) -> tuple[list[str], str]:
    """Names of a project, in order, and the token of the next page."""
    if not re.fullmatch(r"projects/[^/]+", request.project):
        raise invalid("You have passed an invalid argument to the service (argument=project).")
    found = sorted(n for n in names if n.startswith(f"{request.project}/") and n > request.page_token)
    size = request.page_size or 100
    return found[:size], found[size - 1] if len(found) > size else ""


def _check_most(what: str, value: int, most: int) -> None:
    if value > most:
        raise invalid(f"The value for {what} is too large. You passed {value} in the request, but the maximum value is {most}.")
