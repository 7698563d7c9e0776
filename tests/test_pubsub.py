"""A subscription, read as the stream job reads it: on our broker, which fails on request, and on Google's emulator where it is installed.

Clocks are moved by hand: no assertion depends on how fast this machine is.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pipelines.sources.ahead import Ahead
from pipelines.sources.outage import Outage
from pipelines.sources.pubsub import Gone, Received, Subscription, subscriber
from pipelines.sources.pubsub_calls import parts
from tests.programs import free_port
from tests.pubsub_clients import Client, Clock
from tests.pubsub_faults import Fault, Faults
from tests.pubsub_server import Broker
from transforms.formats.messages import Message

TOPIC, NAME = "projects/test-project/topics/events", "projects/test-project/subscriptions/events"
DEADLINE = 40  # seconds, by a clock that is moved by hand; calls that extend a lease may take a quarter of it by any clock, and no call more than that
FOREVER = float("inf")
STOP = threading.Event()  # never set


class Counted(Faults):
    """Faults that count the calls of each method."""

    def __init__(self, *calls: Fault, **given: Any) -> None:
        super().__init__(*calls, **given)
        self.asked = Counter[str]()

    def of(self, method: str) -> str:
        self.asked[method] += 1
        return super().of(method)


def until(true: Callable[[], Any]) -> None:
    """Waits for what other threads do. Fails after two minutes."""
    for _ in range(12_000):
        if true():
            return
        time.sleep(0.01)
    pytest.fail("it does not come to pass")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def local(clock: Clock) -> Iterator[Broker]:
    with Broker(clock=clock, faults=Counted(), shortest_deadline=1) as broker:
        broker.create(TOPIC, NAME, seconds=DEADLINE)
        yield broker


@contextmanager
def opened(host: str, clock: Callable[[], float] = time.monotonic, name: str = NAME, most: int = 1000, max_bytes: int = 1 << 26,
           told: list[str] | None = None) -> Iterator[Subscription]:
    subscription = Subscription(subscriber(host), name, most, max_bytes, clock, lambda: 0.01, [].append if told is None else told.append)
    try:
        subscription.check()
        subscription.start()
        yield subscription
    finally:
        subscription.close()


def _take(subscription: Subscription, number: int) -> list[Received]:
    """So many messages, as they come; hangs never, for the clock of take() may stand still."""
    taken: list[Received] = []
    until(lambda: len(taken.__iadd__(subscription.take(0, STOP, 0))) >= number)
    return taken


def _bodies(received: Iterable[Received]) -> list[bytes]:
    return sorted(r.message.data for r in received)


def _ids(received: Iterable[Received]) -> list[str]:
    return [r.ack_id for r in received]


@pytest.fixture(params=["ours", "emulator"])
def client(request: pytest.FixtureRequest) -> Client:
    """A topic and a subscription. Google's emulator: skipped where it is not installed, which the test's line in the report says."""
    host = request.getfixturevalue("broker").host if request.param == "ours" else request.getfixturevalue("emulator_host")
    client = Client(host).start(ack_deadline_seconds=90)  # beyond what a machine may stall, and within what is waited for
    client.host = host  # type: ignore[attr-defined]
    return client


def test_what_was_published_is_taken_once(client: Any) -> None:
    bodies = [f"message {n:04d}".encode() for n in range(950)] + [b"{\n}", b"\x00\xff", b"x" * 100_000]
    ids = client.publish(*[{"data": body, "attributes": {"n": str(n), "ключ": "é"}} for n, body in enumerate(bodies[:500])], *bodies[500:])
    with opened(client.host, name=client.subscription) as subscription:
        taken = _take(subscription, len(bodies))
        assert _bodies(taken) == sorted(bodies) and sorted(r.message.id for r in taken) == sorted(ids)
        assert {r.message.data: r.message.attributes for r in taken} == {b: {"n": str(n), "ключ": "é"} if n < 500 else {} for n, b in enumerate(bodies)}
        assert all(abs(r.message.published - time.time() * 1e6) < 3600 * 1e6 for r in taken)
        assert subscription.acknowledge(_ids(taken)) == 0
        until(lambda: subscription.drained)
    assert client.now() == []


def test_what_is_given_back_comes_again_at_once(client: Any) -> None:
    client.publish(*[b"%d" % n for n in range(30)])
    with opened(client.host, name=client.subscription, most=10) as subscription:
        taken = subscription.take(FOREVER, STOP)
        done = subscription.take(FOREVER, STOP)
        subscription.acknowledge(_ids(done))
        until(lambda: subscription._hand.count >= 10)  # none is on its way to a pull, which would keep it for its deadline
        subscription.give_back()
        assert not subscription.drained
    left = {b"%d" % n for n in range(30)} - set(_bodies(done))
    again: set[bytes] = set()
    while not again >= left:
        again.update(r.message.data for r in client.pull())
    assert again == left and len(taken) == len(done) == 10


def test_a_subscription_that_is_deleted_ends_it(client: Any) -> None:
    with opened(client.host, name=client.subscription) as subscription:
        client.subscriber.delete_subscription(subscription=client.subscription)
        with pytest.raises(Gone, match=r"does not exist \(NOT_FOUND\); create it"):
            subscription.take(FOREVER, STOP)


def test_a_run_starts_when_enough_is_there(local: Broker, clock: Clock) -> None:
    with opened(local.host, clock, most=20) as subscription:
        local.publish(TOPIC, [b"a"] * 50)
        assert len(subscription.take(FOREVER, STOP)) == len(subscription.take(FOREVER, STOP)) == 20
        assert subscription.take(FOREVER, STOP, timeout=0) == []


def test_a_run_starts_when_the_oldest_has_waited(local: Broker, clock: Clock) -> None:
    with opened(local.host, clock, most=20) as subscription:
        local.publish(TOPIC, [b"a"] * 3)
        until(lambda: subscription._hand.count == 3)
        assert subscription.take(1.0, STOP, timeout=0) == []
        clock.time += 0.9
        assert subscription.take(1.0, STOP, timeout=0) == []
        clock.time += 0.1
        assert len(subscription.take(1.0, STOP)) == 3


def test_a_stop_is_seen_while_nothing_comes(local: Broker, clock: Clock) -> None:
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    with opened(local.host, clock) as subscription:
        assert subscription.take(FOREVER, stop) == []
        local.publish(TOPIC, [b"a"])
        until(lambda: subscription._hand.count == 1)
        assert subscription.take(0.0, stop) == []


def test_the_hand_is_bounded_by_messages(local: Broker, clock: Clock) -> None:
    local.publish(TOPIC, [b"%d" % n for n in range(300)])
    with opened(local.host, clock, most=20) as subscription:
        until(lambda: subscription._hand.count == 40 and subscription._asked == 0)
        asked = local.faults.asked["Pull"]  # type: ignore[attr-defined]
        taken: list[Received] = []
        while len(taken) < 300:
            taken += subscription.take(0, STOP)
            assert local.counts(NAME).outstanding <= 41 + len(taken)
        assert asked == 2 and len(set(_bodies(taken))) == 300


def test_the_hand_is_bounded_by_bytes(local: Broker, clock: Clock) -> None:
    local.publish(TOPIC, [bytes(100_000)] * 400)
    with opened(local.host, clock, max_bytes=5_000_000) as subscription:
        taken = 0
        while taken < 400:
            taken += len(subscription.take(FOREVER, STOP)) if taken < 350 else len(_take(subscription, 400 - taken))
            assert local.counts(NAME).outstanding - taken <= 250  # two answers of 10 MB, and 5 MB


def test_messages_of_one_who_was_killed_come_after_their_deadline(local: Broker, clock: Clock) -> None:
    local.publish(TOPIC, [b"a", b"b"])
    killed = Client(local.host, subscription=NAME)
    assert len(killed.pull_all(2)) == 2
    with opened(local.host, clock) as subscription:
        clock.time += 1
        until(lambda: subscription.drained)
        clock.time += DEADLINE - 1
        assert _bodies(_take(subscription, 2)) == [b"a", b"b"]
        assert local.counts(NAME).redelivered == 2


def test_leases_are_extended_until_messages_are_acknowledged(local: Broker, clock: Clock) -> None:
    local.publish(TOPIC, [b"%d" % n for n in range(40)])
    faults: Any = local.faults
    with opened(local.host, clock, most=20) as subscription:
        taken = subscription.take(FOREVER, STOP)
        until(lambda: subscription._hand.count == 20)
        assert faults.asked["ModifyAckDeadline"] == 0
        for turn in range(1, 6):  # three deadlines
            clock.time += 0.6 * DEADLINE
            until(lambda turn=turn: faults.asked["ModifyAckDeadline"] == turn)
            until(lambda: not subscription._leases.due(clock() + 0.5 * DEADLINE))
            assert local.counts(NAME)[2:] == (0, 0, 40, 0)  # none delivered again, all leased
        assert subscription.acknowledge(_ids(taken)) == 0
        assert local.counts(NAME).acknowledged == 20
        assert sorted(subscription._leases.due(FOREVER)) == sorted(_ids(subscription.take(FOREVER, STOP)))


def test_a_lease_that_cannot_be_extended_ends_and_the_message_comes_again(local: Broker, clock: Clock) -> None:
    local.publish(TOPIC, [b"a"])
    local.faults = Counted(Fault("unavailable", "ModifyAckDeadline"))
    told: list[str] = []
    with opened(local.host, clock, told=told) as subscription:
        (first,) = _take(subscription, 1)
        clock.time += 0.6 * DEADLINE
        until(lambda: local.faults.asked["ModifyAckDeadline"])  # type: ignore[attr-defined]
        clock.time += 0.4 * DEADLINE
        (second,) = _take(subscription, 1)
        assert first.message == second.message and first.ack_id != second.ack_id
        assert subscription.acknowledge(_ids([first, second])) == 0
        assert local.counts(NAME)[2:] == (1, 1, 0, 0)
    assert told == ["Pub/Sub answers UNAVAILABLE; it is asked again until it does better"]


@pytest.mark.parametrize(("fault", "failed", "acknowledged"), [
    (Fault("lost", "Acknowledge", calls=2), 0, 50),  # it is done, and nobody knows
    (Fault("unavailable", "Acknowledge", calls=4), 0, 50),
    (Fault("unavailable", "Acknowledge"), 50, 0),
    (Fault("lost", "Acknowledge"), 50, 50),
    (Fault("late", "Acknowledge"), 0, 0),  # the leases were over: nothing is acknowledged, and the answer is sound
])
def test_acknowledgements_that_go_wrong(local: Broker, clock: Clock, fault: Fault, failed: int, acknowledged: int) -> None:
    local.publish(TOPIC, [b"secret %d" % n for n in range(50)])
    told: list[str] = []
    with opened(local.host, clock, told=told) as subscription:
        taken = _take(subscription, 50)
        local.faults = Counted(fault)
        assert subscription.acknowledge(_ids(taken)) == failed
        assert local.counts(NAME).acknowledged == acknowledged
        assert subscription._leases.due(FOREVER) == [] or fault.kind == "late"
        local.faults = Counted()
        clock.time += (DEADLINE + 1) * (fault.kind != "late")  # the deadline
        if not acknowledged:
            again = _take(subscription, 50)
            assert _bodies(again) == _bodies(taken) and subscription.acknowledge(_ids(again)) == 0
        assert local.counts(NAME)[3:] == (50, 0, 0)
    assert told[bool(fault.kind != "late"):] == (["Pub/Sub: 50 messages could not be acknowledged; they come again and are counted as repeated"] if failed else [])


def test_acknowledgements_go_in_requests_that_the_service_takes(local: Broker, clock: Clock) -> None:
    local.publish(TOPIC, [b"a"] * 6000)
    with opened(local.host, clock, most=6000) as subscription:
        taken = subscription.take(FOREVER, STOP)
        assert len(taken) == 6000 and subscription.acknowledge(_ids(taken)) == 0
        assert local.counts(NAME).acknowledged == 6000 and local.faults.asked["Acknowledge"] == 3  # type: ignore[attr-defined]


def test_ahead() -> None:
    ahead = Ahead()
    received = [Received(str(n), Message(b"", "", n, {})) for n in range(10)]
    assert ahead.oldest is None and ahead.take(5) == []
    ahead.put(1.0, received[:4], 400)
    ahead.put(2.0, received[4:], 60)
    assert (ahead.count, ahead.bytes, ahead.oldest) == (10, 460, 1.0)
    assert ahead.take(3) == received[:3] and (ahead.count, ahead.bytes, ahead.oldest) == (7, 160, 1.0)
    assert ahead.take(4) == received[3:7] and (ahead.count, ahead.bytes, ahead.oldest) == (3, 30, 2.0)
    assert ahead.take(4) == received[7:] and (ahead.count, ahead.bytes, ahead.oldest) == (0, 0, None)


@pytest.mark.parametrize(("sizes", "found"), [
    ([], []), ([100], [1]), ([249_996, 249_996], [2]), ([249_996, 249_997], [1, 1]), ([600_000, 1, 600_000], [1, 1, 1]), ([184] * 3000, [2659, 341])])
def test_parts(sizes: list[int], found: list[int]) -> None:
    ack_ids = ["a" * size for size in sizes]
    assert list(map(len, parts(ack_ids))) == found
    assert [a for part in parts(ack_ids) for a in part] == ack_ids


@pytest.mark.parametrize(("kind", "remedy"), [("permission", "roles/pubsub.subscriber"), ("unauthenticated", "renew them"), ("deleted", "create it")])
@pytest.mark.parametrize("method", ["Pull", "Acknowledge", "ModifyAckDeadline"])
def test_what_does_not_pass_ends_it_and_says_what_to_do(local: Broker, clock: Clock, kind: str, remedy: str, method: str) -> None:
    local.publish(TOPIC, [b"secret"])
    with opened(local.host, clock, most=1) as subscription:
        (taken,) = _take(subscription, 1)
        local.faults = Faults(Fault(kind, method))
        if method == "Acknowledge":
            assert subscription.acknowledge([taken.ack_id]) == 1
        elif method == "Pull":
            local.publish(TOPIC, [b"secret"] * 2)  # the pulls that wait come back, and the next ones fail
        else:
            clock.time += 0.6 * DEADLINE
        with pytest.raises(Gone, match=f"^--subscription: {NAME} .*{remedy}") as caught:
            until(lambda: subscription.take(FOREVER, STOP, timeout=0) is None)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("kind", "status"), [("unavailable", "UNAVAILABLE"), ("internal", "INTERNAL"), ("exhausted", "RESOURCE_EXHAUSTED"), ("cancelled", "CANCELLED"), ("lost", "UNAVAILABLE")])
def test_what_passes_is_asked_again(local: Broker, clock: Clock, kind: str, status: str) -> None:
    local.faults = Faults(Fault(kind, "Pull", calls=6))
    local.publish(TOPIC, [b"a"] * 6)
    told: list[str] = []
    with opened(local.host, clock, most=1, told=told) as subscription:
        until(lambda: local.faults.committed[kind] == 6)
        clock.time += (DEADLINE + 1) * (kind == "lost")  # what was lost on the way comes again
        assert subscription.acknowledge(_ids(_take(subscription, 6))) == 0
    assert told == [f"Pub/Sub answers {status}; it is asked again until it does better"]
    assert local.counts(NAME)[3:] == (6, 0, 0)


def test_an_outage_is_told_once_a_minute_and_asked_at_growing_intervals(clock: Clock) -> None:
    told: list[str] = []
    outage = Outage("S", clock, lambda: 0.5, told.append)
    pauses = []
    for _ in range(60):
        outage.met("DOWN")
        pauses.append(outage.pause())
        clock.time += 2.0
    assert pauses[:3] == [0.1, 1.0, 2.0] and pauses[3:] == sorted(pauses[3:]) and pauses[-1] == 5.0
    assert told == ["S answers DOWN; it is asked again until it does better"] * 2
    outage.over()
    assert outage.pause() == 0.1
    outage.met("DOWN")
    assert len(told) == 3  # two minutes have passed


def test_it_goes_on_when_the_service_was_away(clock: Clock) -> None:
    told: list[str] = []
    port = free_port()  # which nobody else is given while it is closed
    local = Broker(port, clock=clock)
    local.create(TOPIC, NAME, seconds=DEADLINE)
    with opened(local.host, clock, told=told) as subscription:
        local.publish(TOPIC, [b"a"])
        assert _bodies(_take(subscription, 1)) == [b"a"]
        clock.time += 1
        until(lambda: subscription.drained)
        local.close()
        until(lambda: told and not subscription.drained)
        assert subscription.idle() == 0
        with Broker(port, clock=clock) as other:
            other.create(TOPIC, NAME, seconds=DEADLINE)
            other.publish(TOPIC, [b"b"])
            assert _bodies(_take(subscription, 1)) == [b"b"]
    assert told in [[f"Pub/Sub answers {status}; it is asked again until it does better"] for status in ("UNAVAILABLE", "CANCELLED")]


def test_idle_says_since_when_nothing_came(local: Broker, clock: Clock) -> None:
    with opened(local.host, clock) as subscription:
        assert not subscription.drained and subscription.idle() == 0  # nobody has asked yet
        clock.time += 1
        until(lambda: subscription.drained)
        clock.time += 5
        assert subscription.idle() == 6
        local.publish(TOPIC, [b"a"])
        until(lambda: subscription._hand.count)
        assert not subscription.drained and subscription.idle() == 0
        (taken,) = _take(subscription, 1)
        assert not subscription.drained and subscription.idle() == 0  # there may be more
        subscription.acknowledge([taken.ack_id])
        clock.time += 2
        until(lambda: subscription.drained)
        assert subscription.idle() == 2


def test_it_is_asked_whether_there_is_any_when_nothing_came_since_it_began_to_pull(local: Broker, clock: Clock) -> None:
    """Not since it was made: a model may have been loaded meanwhile, and the question would take a message from the pulls."""
    faults: Any = local.faults
    subscription = Subscription(subscriber(local.host), NAME, 10, clock=clock)
    try:
        subscription.check()
        clock.time += 60
        subscription.start()
        until(lambda: faults.asked["Pull"] == 2)
        time.sleep(1.2)  # twice as long as its thread sleeps
        assert faults.asked["Pull"] == 2 and not subscription.drained
        clock.time += 1
        until(lambda: subscription.drained)
    finally:
        subscription.close()


def test_a_service_that_does_not_answer_is_not_taken_for_empty(clock: Clock) -> None:
    told: list[str] = []
    with Broker(clock=clock, faults=Faults(Fault("hang", "Pull")), shortest_deadline=1) as broker:
        broker.create(TOPIC, NAME, seconds=1)
        with opened(broker.host, clock, told=told) as subscription:
            clock.time += 1
            until(lambda: told)
            assert not subscription.drained and subscription.idle() == 0
    assert told == ["Pub/Sub answers DEADLINE_EXCEEDED; it is asked again until it does better"]


def test_close_leaves_nothing_behind(local: Broker) -> None:
    def left() -> tuple[int, int]:
        own = [t for t in threading.enumerate() if not t.name.startswith("ThreadPoolExecutor")]  # those are the broker's
        return len(own), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    counted = []
    for _ in range(4):
        until(lambda: not local.pulling(NAME))  # or a call whose client has gone would lease the next messages
        local.publish(TOPIC, [b"a"] * 10)
        with opened(local.host, most=10) as subscription:
            subscription.acknowledge(_ids(subscription.take(FOREVER, STOP)))
        counted.append(left())
    until(lambda: left() <= counted[0])
    unused = Subscription(subscriber(local.host), NAME, 10)
    unused.close()
    unused.close()


def test_close_gives_back(local: Broker, clock: Clock) -> None:
    local.publish(TOPIC, [b"a"] * 30)
    with opened(local.host, clock, most=10) as subscription:
        taken = subscription.take(FOREVER, STOP)
        subscription.acknowledge(_ids(taken)[:4])
        until(lambda: subscription._hand.count == 20)  # none is on its way
    assert local.counts(NAME)[3:] == (4, 0, 26)
