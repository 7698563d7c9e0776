"""The faults that our Pub/Sub broker commits on request; Google's emulator commits none."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core import exceptions

from tests.pubsub_clients import Client, Clock, bodies
from tests.pubsub_faults import STATUSES, Fault, Faults
from tests.pubsub_server import Broker


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ours(clock) -> Iterator[tuple[Broker, Client]]:
    """Our broker with a clock by hand, and clients: for what the emulator does not know."""
    with Broker(clock=clock, now=lambda: 1_700_000_000.25) as broker:
        client = Client(broker.host).start(ack_deadline_seconds=10)
        yield broker, client
        client.channel.close()


def drain(broker: Broker, client: Client, most: int = 100) -> list[str]:
    """Ids as they came; every delivery is acknowledged at once."""
    came: list[str] = []
    while broker.counts(client.subscription).backlog:
        received = client.pull(most)
        if received:
            client.acknowledge(*received)
        came += [r.message.message_id for r in received]
    return came


def test_messages_come_twice(ours) -> None:
    broker, client = ours
    broker.faults = Faults(twice=0.1)
    ids = broker.publish(client.topic, [b"x"] * 1000)
    times = Counter(Counter(came := drain(broker, client)).values())
    assert times[1] + times[2] == 1000 and 60 < times[2] < 140
    assert broker.faults.committed == {"twice": times[2]}
    assert broker.counts(client.subscription) == (1000, len(came), times[2], len(came), 0, 0)
    assert set(came) == set(ids)


def test_a_second_delivery_comes_with_the_first_or_in_the_next_two_pulls(ours) -> None:
    broker, client = ours
    broker.faults = Faults(twice=1.0)
    ids = broker.publish(client.topic, [b"x"] * 300)
    came = [[r.message.message_id for r in client.pull()] for _ in range(3)]
    assert sorted((i for pull in came for i in pull), key=int) == [i for i in ids for _ in range(2)]
    assert [60 < n < 140 for n in (len(came[0]) - 300, len(came[1]), len(came[2]))] == [True] * 3


def test_messages_are_held_back(ours) -> None:
    """For three pulls, the last two of which are empty although there is a backlog."""
    broker, client = ours
    broker.faults = Faults(held=0.1, pulls=3)
    ids = broker.publish(client.topic, [b"x"] * 1000)
    came = [[r.message.message_id for r in client.pull()] for _ in range(4)]
    held = broker.faults.committed["held"]
    assert 60 < held < 140
    assert [len(ids) for ids in came] == [1000 - held, 0, 0, held]
    assert sorted(came[0] + came[3], key=int) == ids
    assert broker.counts(client.subscription) == (1000, 1000, 0, 0, 1000, 0)


def test_the_same_seed_gives_the_same_faults(clock) -> None:
    def run(seed: int) -> list[str]:
        with Broker(faults=Faults(Fault("unavailable", "Pull", share=0.2), twice=0.1, held=0.1, seed=seed), clock=clock) as broker:
            client = Client(broker.host).start()
            broker.publish(client.topic, [b"x"] * 300)
            came: list[str] = []
            while broker.counts(client.subscription).backlog:
                try:
                    received = client.pull(20)
                except exceptions.ServiceUnavailable:
                    came.append("cut")
                    continue
                came += [r.message.message_id for r in received]
            return came
    first = run(1)
    assert first == run(1) != run(2)
    assert "cut" in first


@pytest.mark.parametrize("kind", sorted(STATUSES))
def test_calls_are_refused(ours, kind) -> None:
    """With the status, nothing done, and only so many of the calls of that method, after so many that went well."""
    broker, client = ours
    broker.faults = Faults(Fault(kind, "Publish", after=1, calls=2))
    client.publish(b"a")
    for _ in range(2):
        with pytest.raises(exceptions.GoogleAPICallError) as refused:
            client.publish(b"b")
        assert refused.value.grpc_status_code == STATUSES[kind][0]
    client.publish(b"c")
    assert bodies(client.pull()) == [b"a", b"c"]
    assert broker.faults.committed == {kind: 2}


def test_answers_are_lost(ours, clock) -> None:
    broker, client = ours
    broker.faults = Faults(Fault("lost", "Publish"), Fault("lost", "Pull", calls=1), Fault("lost", "Acknowledge"))
    with pytest.raises(exceptions.ServiceUnavailable):
        client.publish(b"x")
    with pytest.raises(exceptions.ServiceUnavailable):
        client.pull()
    assert broker.counts(client.subscription) == (1, 1, 0, 0, 1, 0)
    clock.time += 10
    received = client.pull()
    with pytest.raises(exceptions.ServiceUnavailable):
        client.acknowledge(*received)
    assert broker.counts(client.subscription) == (1, 2, 1, 1, 0, 0)


def test_acknowledgements_come_late(ours) -> None:
    broker, client = ours
    client.publish(b"a", b"b")
    broker.faults = Faults(Fault("late", "Acknowledge", calls=1))
    client.acknowledge(*client.pull())
    assert broker.counts(client.subscription) == (2, 2, 0, 0, 0, 2)
    client.acknowledge(*client.pull())
    assert broker.counts(client.subscription) == (2, 4, 2, 2, 0, 0)


def test_a_call_hangs_until_the_client_gives_up(ours) -> None:
    broker, client = ours
    client.publish(b"x")
    broker.faults = Faults(Fault("hang", "Pull"))
    with pytest.raises(exceptions.DeadlineExceeded):
        client.pull(timeout=0.3)
    broker.faults = Faults()
    assert bodies(client.pull()) == [b"x"]


def test_a_subscription_is_deleted_under_way(ours) -> None:
    broker, client = ours
    client.publish(b"x", b"y")
    broker.faults = Faults(Fault("deleted", "Pull", after=1))
    received = client.pull(1)
    for call in (client.pull, lambda: client.acknowledge(*received)):
        with pytest.raises(exceptions.NotFound):
            call()


def test_who_waits_hears_of_the_deletion(ours) -> None:
    broker, client = ours
    deletion = threading.Timer(0.2, broker.delete, [client.subscription])
    deletion.start()
    with pytest.raises(exceptions.NotFound):
        client.pull()
    deletion.join()


def test_a_client_that_gave_up_is_given_nothing(clock) -> None:
    class Watching(Broker):
        """Tells when it has seen that the client of a pull is gone: a moment after the client gave up."""

        gone = threading.Event()

        def _is_there(self, context: Any) -> bool:
            there = super()._is_there(context)
            if not there:
                self.gone.set()
            return there

    with Watching(clock=clock) as broker:
        client = Client(broker.host).start(ack_deadline_seconds=10)
        while not broker.gone.wait(1):
            with pytest.raises(exceptions.DeadlineExceeded):
                client.pull(timeout=0.2)
        while broker.pulling(client.subscription):  # each that gave up
            time.sleep(0.01)
        client.publish(b"x")
        assert bodies(client.now()) == [b"x"]
        client.channel.close()


def test_a_stream_is_cut_and_taken_up_again(ours, clock) -> None:
    broker, client = ours
    broker.faults = Faults(Fault("unavailable", "StreamingPull", calls=1), Fault("lost", "StreamingPull", after=1, calls=1), twice=0.1, held=0.1)
    ids, received = broker.publish(client.topic, [b"x"] * 300), set[str]()

    def take(message: Any) -> None:
        received.add(message.message_id)
        message.ack()

    stream = client.stream(take)
    until = time.monotonic() + 240
    while len(received) < 300 and time.monotonic() < until:
        time.sleep(0.1)
        clock.time += 20  # what was lost with the stream comes back after its deadline; who counts sees that first
        broker.counts(client.subscription)
    stream.cancel()
    stream.result(240)
    assert received == set(ids)
    assert broker.faults.committed["unavailable"] == broker.faults.committed["lost"] == 1


def test_no_such_fault() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        Faults(Fault("nonsense"))
