"""A topic that does not take messages, requests by the rate and within the limits, and where a channel without TLS may lead."""

import threading

import pytest

from pipelines.sources.pubsub_channel import await_ready, publisher, subscriber
from pipelines.tools.samples.sample import Sample
from pipelines.tools.sequence import Line
from pipelines.tools.topic import MOST_BYTES, Topic, requests
from schemas.errors import Misconfigured, Transient
from tests.pubsub_clients import Client
from tests.pubsub_faults import Fault, Faults


@pytest.mark.parametrize("kind, error, text", [("permission", Misconfigured, "roles/pubsub.publisher"), ("unauthenticated", Misconfigured, "roles/pubsub.publisher")])
def test_a_service_that_does_not_take_it(kind, error, text, broker):
    broker.faults = Faults(Fault(kind, "Publish", after=1))
    client = Client(broker.host).start()
    told = Topic(publisher(broker.host), client.topic, "t").publish([[line(i)] for i in range(3)])
    assert [made.sample.id for made in next(told)] == ["0"]
    with pytest.raises(error, match=text):
        list(told)


@pytest.mark.parametrize("kind", ["unavailable", "hang"])
def test_a_service_that_stays_away(kind, broker):
    broker.faults = Faults(Fault(kind, "Publish"))
    client = Client(broker.host).start()
    with pytest.raises(Transient, match="Pub/Sub fails"):
        list(Topic(publisher(broker.host), client.topic, "t").publish([[line(0)]], patience=2.0))
    assert broker.counts(client.subscription).published == 0


def line(number, size=10):
    return Line(b"x" * size, "stored", Sample(str(number), number, {"t": "2026-03-02T00:00:00Z"}))


class Clock:
    """A clock, and a stop whose waiting moves it."""

    def __init__(self, until=None):
        self.time, self.until = 100.0, until

    def __call__(self):
        return self.time

    def wait(self, seconds):
        self.time += seconds

    def is_set(self):
        return self.until is not None and self.time >= self.until


@pytest.mark.parametrize("rate", [1, 7, 100, 1_000, 30_000])
def test_a_rate_is_kept_and_never_passed(rate):
    clock, sent = Clock(), 0
    for made in requests(map(line, range(3 * rate)), rate, clock, clock):
        assert sent == int(made[0].sample.id) and len(made) <= 1_000
        sent += len(made)
        assert sent <= (clock.time - 100) * rate + 1.001
    assert sent == 3 * rate and 3 - 1 / rate <= clock.time - 100 + 0.001 < 3.05


def test_requests_end_when_they_shall_stop():
    clock = Clock(until=102.0)
    assert 190 < sum(map(len, requests(map(line, range(10_000)), 100, clock, clock))) <= 201
    stop = threading.Event()
    stop.set()
    assert list(requests(map(line, range(10)), 0, stop)) == []


def test_requests_stay_below_the_limits_of_the_service(broker):
    made = list(requests([line(i, size=400_000 if i < 40 else 10) for i in range(3_000)], 0, threading.Event()))
    assert [made_line.sample.id for lines in made for made_line in lines] == [str(i) for i in range(3_000)]
    assert max(map(len, made)) == 1_000 and all(sum(len(each.body) for each in lines) <= MOST_BYTES for lines in made)
    client = Client(broker.host).start()
    assert sum(map(len, Topic(publisher(broker.host), client.topic, "t").publish(made))) == 3_000


@pytest.mark.parametrize("endpoint, environment, host", [
    ("localhost:8085", {}, "localhost:8085"), ("", {"PUBSUB_EMULATOR_HOST": "127.0.0.1:1"}, "127.0.0.1:1"), ("[::1]:8085", {"PUBSUB_EMULATOR_HOST": "x"}, "[::1]:8085")])
def test_this_machine_is_spoken_to_without_tls(endpoint, environment, host):
    for connect in (publisher, subscriber):
        assert connect(endpoint, environment).transport.host == host


@pytest.mark.parametrize("endpoint, environment, where", [
    ("pubsub.example.com", {}, "--pubsub_endpoint"), ("http://localhost:8085", {}, "--pubsub_endpoint"), ("pubsub.googleapis.com.example.com", {}, "--pubsub_endpoint"),
    ("10.0.0.1:8085", {}, "--pubsub_endpoint"), ("", {"PUBSUB_EMULATOR_HOST": "10.0.0.1:8085"}, "PUBSUB_EMULATOR_HOST")])
def test_rows_in_clear_go_nowhere_else(endpoint, environment, where):
    for connect in (publisher, subscriber):
        with pytest.raises(Misconfigured) as raised:
            connect(endpoint, environment)
        assert [f.where for f in raised.value.faults] == [where]


def test_an_endpoint_that_does_not_answer_is_told():
    with pytest.raises(Misconfigured, match="nothing answers at localhost:1;"):
        await_ready(publisher("localhost:1"), 0.2)
