"""Clients of Pub/Sub, for those who publish and those who pull."""

import os
from collections.abc import Mapping
from typing import Any, cast

import grpc
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from schemas.errors import Fault, Misconfigured
from transforms.channel import Service, connect

EMULATOR = "PUBSUB_EMULATOR_HOST"
_PUBLISHER = Service(PublisherClient, PublisherGrpcTransport, "pubsub.googleapis.com", "europe-west1-pubsub.googleapis.com", 8085, "--pubsub_endpoint",
                     "roles/pubsub.publisher", variable=EMULATOR)
_SUBSCRIBER = _PUBLISHER._replace(client=SubscriberClient, transport=SubscriberGrpcTransport, role="roles/pubsub.subscriber")


def publisher(endpoint: str = "", environment: Mapping[str, str] = os.environ) -> PublisherClient:
    """A client that publishes. endpoint: HOST or HOST:PORT; "" for PUBSUB_EMULATOR_HOST where that is set, else the global one.

    Raises Misconfigured.
    """
    return cast(PublisherClient, connect(_PUBLISHER, endpoint, environment))


def subscriber(endpoint: str = "", environment: Mapping[str, str] = os.environ) -> SubscriberClient:
    """A client that pulls, likewise."""
    return cast(SubscriberClient, connect(_SUBSCRIBER, endpoint, environment))


def await_ready(client: PublisherClient | SubscriberClient, seconds: float = 30.0) -> None:
    """Returns as soon as the client is connected. Raises Misconfigured where it is not in so many seconds."""
    transport: Any = client.transport
    try:
        grpc.channel_ready_future(transport.grpc_channel).result(timeout=seconds)
    except grpc.FutureTimeoutError:
        raise Misconfigured([Fault("Pub/Sub", f"nothing answers at {transport.host}", "start the broker, or give --pubsub_endpoint=HOST:PORT")]) from None
