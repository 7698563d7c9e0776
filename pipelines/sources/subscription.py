"""The source of the streaming graph: a Pub/Sub subscription as Dataflow reads it.

Dataflow reads it by a service of its own, which drops what is redelivered under one message id and moves the watermark by
the time of publishing. So an element's time in Beam is that time, never one that a message names (`timestamp_attribute`):
one absurd attribute would stop the watermark for good. What the event says of its own time and id, Decode reads and judges;
`id_label` is not needed, Deduplicate compares contents too and looks back further than ten minutes.

Beam's local streaming runner acknowledges messages before anything has been done with them, so `stream` on one machine
reads by pipelines.sources.pubsub instead.
"""

from datetime import datetime, timedelta, timezone

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage, ReadFromPubSub

from transforms.formats.block import Message
from transforms.message_coder import MessageCoder

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def message(received: PubsubMessage) -> Message:
    """A message as Beam's source hands it on. Raises ValueError where the service did not say its id and publish time."""
    if not received.message_id or received.publish_time is None:
        raise ValueError("a message without message id or publish time")
    published = (received.publish_time - _EPOCH) // timedelta(microseconds=1)
    return Message(received.data or b"", received.message_id, published, received.attributes or {})


class ReadSubscription(beam.PTransform):
    """Messages of a subscription, projects/PROJECT/subscriptions/NAME; each stamped with its publish time."""

    def __init__(self, subscription: str) -> None:
        super().__init__()
        self.subscription = subscription

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Message]:
        beam.coders.registry.register_coder(Message, MessageCoder)
        received = begin | "Pull" >> ReadFromPubSub(subscription=self.subscription, with_attributes=True)
        return received | "Message" >> beam.Map(message).with_output_types(Message)
