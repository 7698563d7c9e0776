"""A broker of its own process, and messages published to it before, or at a rate while, somebody reads them."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from google.pubsub_v1 import PublisherClient, types

from pipelines.sources.pubsub_channel import publisher, subscriber

PROJECT = "projects/penstock-bench"
_Request, _Message = types.PublishRequest.pb(), types.PubsubMessage.pb()
_TICK = 0.01  # seconds from one request to the next, where a rate leaves time


@contextmanager
def broker() -> Iterator[str]:
    """HOST:PORT of a broker, for as long as the block lasts."""
    process = subprocess.Popen([sys.executable, "-m", "tests.pubsub_server", "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process.stdout.readline().split("Pub/Sub at ")[1].split(": ")[0]
    finally:
        process.terminate()
        process.wait()


class Topic:
    """A fresh topic with a fresh subscription for each reader; names must be new."""

    def __init__(self, host: str, name: str, readers: Sequence[str]) -> None:
        self.client: PublisherClient = publisher(host)
        self.topic = f"{PROJECT}/topics/{name}"
        self.client.create_topic(name=self.topic)
        self.subscriptions = {reader: f"{PROJECT}/subscriptions/{name}-{reader}" for reader in readers}
        admin = subscriber(host)
        for subscription in self.subscriptions.values():
            admin.create_subscription(name=subscription, topic=self.topic, ack_deadline_seconds=10)

    def publish(self, bodies: Sequence[bytes]) -> list[str]:
        """The ids of the messages; a request holds a thousand."""
        return [ident for first in range(0, len(bodies), 1_000) for ident in self._send(bodies[first:first + 1_000])]

    def publish_at(self, bodies: Sequence[bytes], rate: int) -> dict[str, float]:
        """The messages, so many a second; answers when each was sent (seconds since 1970), by its id."""
        sent: dict[str, float] = {}
        start, done = time.monotonic(), 0
        while done < len(bodies):
            due = min(len(bodies), int((time.monotonic() - start) * rate) + 1)
            if due > done:
                now = time.time()
                sent.update(dict.fromkeys(self._send(bodies[done:due]), now))
                done = due
            time.sleep(_TICK)
        return sent

    def _send(self, bodies: Sequence[bytes]) -> list[str]:
        request = _Request(topic=self.topic, messages=[_Message(data=body) for body in bodies])
        return list(self.client.publish(request=types.PublishRequest.wrap(request)).message_ids)
