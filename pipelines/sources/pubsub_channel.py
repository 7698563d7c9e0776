"""Clients of Pub/Sub, for those who publish and those who pull. A channel without TLS leads to this machine and nowhere else."""

import os
import re
from collections.abc import Mapping
from typing import Any

import grpc
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from schemas.errors import Fault, Misconfigured
from transforms.engines.channel import is_loopback

EMULATOR = "PUBSUB_EMULATOR_HOST"
GLOBAL = "pubsub.googleapis.com"
# gRPC would wait up to two minutes between its own attempts to connect; answers of a thousand messages pass its 4 MB.
_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.min_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 5000),
            ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_SECURE = [*_OPTIONS, ("grpc.keepalive_time_ms", 30_000)]  # a connection that was cut without a word is found out
_LOCAL = [*_OPTIONS, ("grpc.enable_http_proxy", 0)]


def publisher(endpoint: str = "", environment: Mapping[str, str] = os.environ) -> PublisherClient:
    """A client that publishes: with TLS and the credentials of the environment, or without both to a loopback address.

    endpoint: HOST or HOST:PORT; "" for PUBSUB_EMULATOR_HOST where that is set, else the global one. Raises Misconfigured.
    """
    made: PublisherClient = _client(PublisherClient, PublisherGrpcTransport, endpoint, environment, "roles/pubsub.publisher")
    return made


def subscriber(endpoint: str = "", environment: Mapping[str, str] = os.environ) -> SubscriberClient:
    """A client that pulls, likewise."""
    made: SubscriberClient = _client(SubscriberClient, SubscriberGrpcTransport, endpoint, environment, "roles/pubsub.subscriber")
    return made


def await_ready(client: PublisherClient | SubscriberClient, seconds: float = 10.0) -> None:
    """Returns as soon as the client is connected. Raises Misconfigured where it is not in so many seconds."""
    transport: Any = client.transport
    try:
        grpc.channel_ready_future(transport.grpc_channel).result(timeout=seconds)
    except grpc.FutureTimeoutError:
        raise Misconfigured([Fault("Pub/Sub", f"nothing answers at {transport.host}", "start the broker, or give --pubsub_endpoint=HOST:PORT")]) from None


def _client(client: Any, transport: Any, endpoint: str, environment: Mapping[str, str], role: str) -> Any:
    where, host = ("--pubsub_endpoint", endpoint) if endpoint else (EMULATOR, environment.get(EMULATOR, ""))
    if is_loopback(host):
        return client(transport=transport(host=host, channel=grpc.insecure_channel(host, options=_LOCAL)))
    if host and where == EMULATOR:
        raise Misconfigured([Fault(where, "is not on this machine: rows in clear would pass without TLS", "unset it, or give localhost:PORT")])
    if host and not re.fullmatch(r"([a-z0-9-]+\.)+googleapis\.com(:\d{1,5})?", host):
        raise Misconfigured([Fault(where, "is neither an endpoint of Google's nor on this machine",
                                   "give HOST or HOST:PORT, without http://, such as europe-west1-pubsub.googleapis.com, or localhost:8085")])

    def secure(*args: Any, **given: Any) -> grpc.Channel:
        given["options"] = [*given.get("options", ()), *_SECURE]
        return transport.create_channel(*args, **given)

    try:
        return client(transport=transport(host=host or GLOBAL, channel=secure))
    except GoogleAuthError:
        raise Misconfigured([Fault("credentials", "there are none that Google's libraries can find",
                                   f"run as a service account with {role}, or set GOOGLE_APPLICATION_CREDENTIALS")]) from None
