"""What our Pub/Sub broker knows and Google's emulator does not: the service's limits, deadlines by a clock, counts and faults.

The emulator takes keys and values of any length, any number of attributes, messages of any size, names of attributes that begin with
goog, deadlines of any length, acknowledgements of any size; it has no clock to move, and commits no faults.
"""

import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core import exceptions

from tests.pubsub_clients import Client, Clock, bodies
from tests.pubsub_faults import STATUSES, Fault, Faults
from tests.pubsub_queue import Message, Queue
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


@pytest.mark.parametrize("message", [
    {"data": b"x" * 9_999_000}, {"data": b"x", "attributes": {str(i): "" for i in range(100)}}, {"data": b"x", "attributes": {"k" * 256: "é" * 512}},
    {"data": b"x", "ordering_key": "k" * 1024}])
def test_messages_at_the_limits(ours, message) -> None:
    _, client = ours
    assert len(client.publish(message)) == len(client.pull()) == 1


@pytest.mark.parametrize(("messages", "text"), [
    ([], "message_count is too small"),
    ([{"data": b"x"}] * 1001, "message_count is too large. You passed 1001"),
    ([{"data": b"x" * 10_000_000}], "request_size is too large"),
    ([{"data": b"x" * 5_000_000}] * 2, "request_size is too large"),
    ([{"data": b"x", "attributes": {str(i): "" for i in range(101)}}], "attributes is too large. You passed 101"),
    ([{"data": b"x", "attributes": {"é" * 129: ""}}], "a key that is too long. The length is 258"),
    ([{"data": b"x", "attributes": {"k": "é" * 513}}], "a value that is too long. The length is 1026"),
    ([{"data": b"x", "attributes": {"": "v"}}], "a key is empty"),
    ([{"data": b"x", "attributes": {"google": "v"}}], "begins with goog"),
    ([{"data": b"x", "ordering_key": "é" * 513}], "ordering_key is too large. You passed 1026"),
    ([{"data": b"x"}, {}], "is empty")])
def test_what_is_over_the_limits_is_refused_whole(ours, messages, text) -> None:
    broker, client = ours
    with pytest.raises(exceptions.InvalidArgument, match=text):
        client.publish(*messages)
    assert broker.counts(client.subscription).published == 0


def test_requests_with_too_many_ack_ids(ours) -> None:
    """2,800 fit into 524,288 bytes, 2,900 do not, as in the service."""
    broker, client = ours
    broker.publish(client.topic, [b"x"] * 2900)
    received = client.pull_all(2900)
    assert len(received[0].ack_id) == 184
    for call in (client.acknowledge, lambda *many: client.modify(60, *many)):
        with pytest.raises(exceptions.InvalidArgument, match="Request payload size exceeds the limit: 524288 bytes."):
            call(*received)
    client.acknowledge(*received[:2800])
    assert broker.counts(client.subscription).acknowledged == 2800


def test_deadlines_out_of_bounds(ours) -> None:
    broker, client = ours
    client.publish(b"x")
    received = client.pull()
    for seconds in (-1, 601):
        with pytest.raises(exceptions.InvalidArgument, match="ack_deadline_seconds"):
            client.modify(seconds, *received)
    for seconds in (9, 601):
        with pytest.raises(exceptions.InvalidArgument, match="ack_deadline_seconds"):
            client.subscriber.create_subscription(request={"name": f"{client.subscription}2", "topic": client.topic, "ack_deadline_seconds": seconds})
    with Broker(shortest_deadline=1) as quick:
        quick.create(client.topic, client.subscription, seconds=1)


@pytest.mark.parametrize("asked", [{"enable_message_ordering": True}, {"filter": "attributes:a"}, {"push_config": {"push_endpoint": "https://example.com"}},
                                   {"enable_exactly_once_delivery": True}, {"dead_letter_policy": {"max_delivery_attempts": 5}}])
def test_what_is_not_offered_is_refused(ours, asked) -> None:
    _, client = ours
    with pytest.raises(exceptions.MethodNotImplemented, match=next(iter(asked))):
        client.subscriber.create_subscription(request={"name": f"{client.subscription}2", "topic": client.topic, **asked})


def test_a_late_acknowledgement_changes_nothing(ours, clock) -> None:
    broker, client = ours
    client.publish(b"x")
    first, = client.pull()
    clock.time += 9.999
    assert client.now() == []
    clock.time += 0.001
    client.acknowledge(first)
    client.modify(60, first)
    second, = client.now()
    assert second.message == first.message
    client.acknowledge(first)
    assert broker.counts(client.subscription) == (1, 2, 1, 0, 1, 0)
    client.acknowledge(second)
    assert broker.counts(client.subscription) == (1, 2, 1, 1, 0, 0)


def test_a_lease_is_extended(ours, clock) -> None:
    broker, client = ours
    client.publish(b"a", b"b")
    a, b = client.pull()
    for _ in range(5):
        client.modify(10, a)
        clock.time += 9
    assert broker.counts(client.subscription)[4:] == (1, 1)
    client.acknowledge(a, b)
    again, = client.now()
    assert again.message == b.message


def test_ack_ids_of_another_subscription_change_nothing(ours) -> None:
    broker, client = ours
    broker.create(client.topic, f"{client.subscription}b")
    client.publish(b"x")
    client.pull()
    other = Client(broker.host, topic=client.topic, subscription=f"{client.subscription}b")
    client.acknowledge(*other.pull())
    assert broker.counts(client.subscription) == broker.counts(other.subscription) == (1, 1, 0, 0, 1, 0)


def test_nothing_is_leased_to_nobody() -> None:
    queue = Queue(0, 10.0, Faults, lambda: 0.0)
    queue.put([Message(1, b"x")])
    assert queue.pull(lambda: 1, 60, active=lambda: False) == []
    assert queue.counts() == (1, 0, 0, 0, 0, 1)


def test_a_stream_has_no_more_in_hand_than_it_asked_for(ours) -> None:
    broker, client = ours
    broker.publish(client.topic, [b"x"] * 100)
    in_hand, done = list[int](), threading.Event()

    def take(message: Any) -> None:
        in_hand.append(broker.counts(client.subscription).outstanding)
        message.ack()
        if len(in_hand) == 100:
            done.set()

    stream = client.stream(take, most=10)
    assert done.wait(120)
    stream.cancel()
    stream.result(120)
    assert max(in_hand) <= 10


def test_counts_and_publish_time(ours) -> None:
    broker, client = ours
    ids = broker.publish(client.topic, [b"%d" % i for i in range(50)], kind="k")
    assert broker.counts(client.subscription) == (50, 0, 0, 0, 0, 50)
    received = client.pull(20)
    assert [r.message.message_id for r in received] == ids[:20]
    assert received[0].message.attributes == {"kind": "k"}
    assert received[0].message.publish_time.timestamp() == 1_700_000_000.25
    client.acknowledge(*received[:5])
    client.modify(0, *received[5:8])
    assert broker.counts(client.subscription) == (50, 20, 0, 5, 12, 33)
    assert [r.message.message_id for r in client.pull(4)] == [*ids[5:8], ids[20]]
    assert broker.counts(client.subscription) == (50, 24, 3, 5, 16, 29)


def test_what_was_acknowledged_takes_no_memory() -> None:
    """One message that nobody acknowledges keeps its lease for long: those behind it are freed all the same.

    Behind each kilobyte of a message stand 36 bytes of a lease's table: were either kept, 20 rounds would hold 40 MB or 1.4 MB. The bound is above
    one resize of a table (74 kB), which may fall between the two looks.
    """
    queue, sizes = Queue(0, 600.0, Faults, lambda: 0.0), []
    queue.put([Message(0, b"stuck")])
    queue.pull(lambda: 1, 0)
    tracemalloc.start()
    for _ in range(24):
        queue.put([Message(i, bytes(1000)) for i in range(2000)])
        while taken := queue.pull(lambda: 1000, 0):
            queue.acknowledge([ack_id for ack_id, _ in taken])
        del taken
        held = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*pubsub_queue.py"), tracemalloc.Filter(True, __file__)])
        sizes.append(sum(trace.size for trace in held.traces))  # not what other threads of the test process take
    tracemalloc.stop()
    assert queue.counts() == (48_001, 48_001, 0, 48_000, 1, 0)
    assert sizes[-1] - sizes[3] < 150_000


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
        client.pull(timeout=20)
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
    until = time.monotonic() + 120
    while len(received) < 300 and time.monotonic() < until:
        time.sleep(0.1)
        clock.time += 20  # what was lost with the stream comes back after its deadline; who counts sees that first
        broker.counts(client.subscription)
    stream.cancel()
    stream.result(120)
    assert received == set(ids)
    assert broker.faults.committed["unavailable"] == broker.faults.committed["lost"] == 1


def test_no_such_fault() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        Faults(Fault("nonsense"))
