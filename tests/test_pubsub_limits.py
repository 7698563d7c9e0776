"""What our Pub/Sub broker knows and Google's emulator does not: the service's limits, deadlines by a clock, and counts.

The emulator takes keys and values of any length, any number of attributes, messages of any size, names of attributes that begin with
goog, deadlines of any length, acknowledgements of any size, and has no clock to move.
"""

import tracemalloc

import pytest
from google.api_core import exceptions

from tests.pubsub_clients import Client
from tests.pubsub_faults import Faults
from tests.pubsub_queue import Message, Queue
from tests.pubsub_server import Broker
from tests.test_pubsub_faults import clock, ours  # noqa: F401


@pytest.mark.parametrize("message", [
    {"data": b"x" * 9_999_000}, {"data": b"x", "attributes": {str(i): "" for i in range(100)}}, {"data": b"x", "attributes": {"k" * 256: "é" * 512}},
    {"data": b"x", "ordering_key": "k" * 1024}])
def test_messages_at_the_limits(ours, message) -> None:  # noqa: F811
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
def test_what_is_over_the_limits_is_refused_whole(ours, messages, text) -> None:  # noqa: F811
    broker, client = ours
    with pytest.raises(exceptions.InvalidArgument, match=text):
        client.publish(*messages)
    assert broker.counts(client.subscription).published == 0


def test_requests_with_too_many_ack_ids(ours) -> None:  # noqa: F811
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


def test_deadlines_out_of_bounds(ours) -> None:  # noqa: F811
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
def test_what_is_not_offered_is_refused(ours, asked) -> None:  # noqa: F811
    _, client = ours
    with pytest.raises(exceptions.MethodNotImplemented, match=next(iter(asked))):
        client.subscriber.create_subscription(request={"name": f"{client.subscription}2", "topic": client.topic, **asked})


def test_a_late_acknowledgement_changes_nothing(ours, clock) -> None:  # noqa: F811
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


def test_a_lease_is_extended(ours, clock) -> None:  # noqa: F811
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


def test_ack_ids_of_another_subscription_change_nothing(ours) -> None:  # noqa: F811
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


def test_a_stream_has_no_more_in_hand_than_it_asked_for(ours) -> None:  # noqa: F811
    broker, client = ours
    broker.publish(client.topic, [b"x"] * 100)
    in_hand = list[int]()
    client.stream_until(lambda: len(in_hand) == 100, lambda message: in_hand.append(broker.counts(client.subscription).outstanding), most=10)
    assert max(in_hand) <= 10


def test_counts_and_publish_time(ours) -> None:  # noqa: F811
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
