"""The Pub/Sub broker of the tests is tested itself, by Google's own clients: what Google's emulator knows too runs on both."""

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
from google.api_core import exceptions

from tests.pubsub_clients import Client, bodies


@pytest.fixture(params=["ours", "emulator"])
def host(request) -> str:
    """A broker's address. Google's emulator: skipped where it is not installed, which the test's line in the report says."""
    return request.getfixturevalue("broker").host if request.param == "ours" else request.getfixturevalue("emulator_host")


@pytest.fixture
def client(host) -> Iterator[Client]:
    client = Client(host).start()
    yield client
    client.channel.close()


def test_topics(host) -> None:
    client = Client(host, project=f"p{uuid.uuid4().hex}")
    assert client.publisher.create_topic(name=client.topic).name == client.topic
    with pytest.raises(exceptions.AlreadyExists):
        client.publisher.create_topic(name=client.topic)
    assert client.publisher.get_topic(topic=client.topic).name == client.topic
    assert [t.name for t in client.publisher.list_topics(project=client.project)] == [client.topic]
    client.publisher.delete_topic(topic=client.topic)
    for call in (client.publisher.get_topic, client.publisher.delete_topic):
        with pytest.raises(exceptions.NotFound):
            call(topic=client.topic)
    with pytest.raises(exceptions.NotFound):
        client.publish(b"x")


@pytest.mark.parametrize("name", ["ab", "1abc", "goog-x", "a" * 256, "a b c", "abc/d", "äöü"])
def test_names_are_refused(host, name) -> None:
    client = Client(host)
    with pytest.raises(exceptions.InvalidArgument):
        client.publisher.create_topic(name=f"{client.project}/topics/{name}")
    with pytest.raises(exceptions.InvalidArgument):
        client.subscriber.create_subscription(name=f"{client.project}/subscriptions/{name}", topic=client.topic)


def test_names_at_the_limits(host) -> None:
    client = Client(host, project=f"p{uuid.uuid4().hex}")
    for name in ("abc", "A" * 255, "a1-_.~+%25"):
        assert client.publisher.create_topic(name=f"{client.project}/topics/{name}")


def test_subscriptions(host) -> None:
    client = Client(host, project=f"p{uuid.uuid4().hex}").start(ack_deadline_seconds=0)
    found = client.subscriber.get_subscription(subscription=client.subscription)
    assert (found.name, found.topic, found.ack_deadline_seconds, found.message_retention_duration) == (client.subscription, client.topic, 10, timedelta(days=7))
    with pytest.raises(exceptions.AlreadyExists):
        client.subscriber.create_subscription(name=client.subscription, topic=client.topic)
    with pytest.raises(exceptions.NotFound):
        client.subscriber.create_subscription(name=f"{client.subscription}2", topic=f"{client.topic}x")
    with pytest.raises(exceptions.InvalidArgument):
        client.subscriber.create_subscription(request={"name": f"{client.subscription}2", "topic": client.topic, "ack_deadline_seconds": 601})
    assert [s.name for s in client.subscriber.list_subscriptions(project=client.project)] == [client.subscription]
    client.publisher.delete_topic(topic=client.topic)
    assert client.subscriber.get_subscription(subscription=client.subscription).topic == "_deleted-topic_"


def test_lists_by_pages(host) -> None:
    client = Client(host, project=f"p{uuid.uuid4().hex}").start()
    names = {client.subscription} | {f"{client.subscription}{i}" for i in range(4)}
    for name in names - {client.subscription}:
        client.subscriber.create_subscription(name=name, topic=client.topic)
    pages = list(client.subscriber.list_subscriptions(request={"project": client.project, "page_size": 2}).pages)
    assert [len(p.subscriptions) for p in pages] == [2, 2, 1]
    assert {s.name for p in pages for s in p.subscriptions} == names


def test_a_message_comes_as_it_was_sent(client) -> None:
    sent = [{"data": "é\x00".encode(), "attributes": {"kind": "ä"}}, {"attributes": {"only": "attributes"}}, {"data": b"\xff" * 5_000_000, "ordering_key": "k"}]
    ids = client.publish(*sent)
    received = {r.message.message_id: r.message for r in client.pull_all(3)}
    assert set(received) == set(ids)
    for i, given in zip(ids, sent):
        assert (received[i].data, dict(received[i].attributes), received[i].ordering_key) == (
            given.get("data", b""), given.get("attributes", {}), given.get("ordering_key", ""))
        assert abs(received[i].publish_time - datetime.now(timezone.utc)) < timedelta(minutes=5)
    assert [int(i) for i in ids] == sorted(int(i) for i in ids)


def test_what_is_acknowledged_is_gone(client) -> None:
    client.publish(*[b"%d" % i for i in range(500)])
    received = client.pull_all(500)
    assert sorted(bodies(received)) == sorted(b"%d" % i for i in range(500))
    assert len({r.ack_id for r in received}) == 500
    client.acknowledge(*received[:400])
    client.modify(0, *received[400:])
    again = client.pull_all(100)
    assert sorted(bodies(again)) == sorted(bodies(received[400:]))
    client.acknowledge(*again)
    assert client.now() == []


def test_every_subscription_has_its_own(client, host) -> None:
    second, other = Client(host, topic=client.topic, subscription=f"{client.subscription}b"), Client(host).start()
    client.publish(b"early")
    client.subscriber.create_subscription(request={"name": second.subscription, "topic": client.topic, "ack_deadline_seconds": 600})
    client.publish(b"late")
    other.publish(b"another topic's")
    assert sorted(bodies(client.pull_all(2))) == [b"early", b"late"]
    received = second.pull()
    assert bodies(received) == [b"late"]
    second.acknowledge(*received)
    assert second.now() == []


def test_publish_refuses(client) -> None:
    for messages in ([], [b"x"] * 1001, [{}], [b"x", {}]):
        with pytest.raises(exceptions.InvalidArgument):
            client.publish(*messages)
    assert len(client.publish(*[b"x"] * 1000)) == 1000


def test_pull(client) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        client.pull(0)
    assert client.now() == []
    client.publish(*[b"x"] * 10)
    assert 1 <= len(client.pull(3)) <= 3


def test_a_pull_waits_for_a_message(client) -> None:
    later = threading.Timer(0.3, client.publish, [b"x"])
    later.start()
    assert bodies(client.pull_all(1)) == [b"x"]
    later.join()


def test_a_message_comes_back_after_its_deadline(client) -> None:
    client.publish(b"x")
    first, = client.pull()
    client.modify(1, first)
    second, = client.pull_all(1)
    assert second.message.message_id == first.message.message_id
    assert second.ack_id != first.ack_id
    client.acknowledge(second)
    assert client.now() == []


def test_ack_ids_that_are_none(client) -> None:
    for ids in ([], ["nonsense"]):
        with pytest.raises(exceptions.InvalidArgument):
            client.acknowledge(*ids)
        with pytest.raises(exceptions.InvalidArgument):
            client.modify(10, *ids)


def test_an_acknowledgement_twice_is_none(client) -> None:
    client.publish(b"x", b"y")
    received = client.pull_all(2)
    client.acknowledge(received[0])
    client.acknowledge(received[0])
    client.modify(0, *received)
    assert bodies(client.pull_all(1)) == bodies(received[1:])


def test_a_deleted_subscription(client) -> None:
    client.publish(b"x")
    received = client.pull()
    client.subscriber.delete_subscription(subscription=client.subscription)
    for call in (client.pull, lambda: client.acknowledge(*received), lambda: client.modify(10, *received),
                 lambda: client.subscriber.delete_subscription(subscription=client.subscription)):
        with pytest.raises(exceptions.NotFound):
            call()
    client.subscriber.create_subscription(name=client.subscription, topic=client.topic)
    assert client.now() == []


def test_streaming_pull(client) -> None:
    """Google's SubscriberClient.subscribe, with fewer messages in hand than there are."""
    published, received = client.publish(*[b"%d" % i for i in range(300)]), Counter[str]()
    client.stream_until(lambda: len(received) == 300, lambda message: received.update([message.message_id]), most=50)
    assert set(received) == set(published)
    assert client.now() == []


def test_the_program() -> None:
    """Clients of PUBSUB_EMULATOR_HOST find it; ^C ends it; a port that is taken is said."""
    start = [sys.executable, "-m", "tests.pubsub_server"]
    with subprocess.Popen([*start, "--port=0", "--twice=1"], stdout=subprocess.PIPE, text=True) as program:
        try:
            host = program.stdout.readline().split()[2].rstrip(":")
            ask = "from google.cloud.pubsub_v1 import PublisherClient; print(PublisherClient().create_topic(name='projects/p/topics/found').name)"
            asked = subprocess.run([sys.executable, "-c", ask], env={**os.environ, "PUBSUB_EMULATOR_HOST": host}, capture_output=True, text=True, check=True)
            assert asked.stdout == "projects/p/topics/found\n"
            taken = subprocess.run([*start, f"--port={host.split(':')[1]}"], capture_output=True, text=True, check=False)
            assert (taken.returncode, "is taken; give another --port" in taken.stderr) == (2, True)
        finally:
            program.send_signal(signal.SIGINT)
        assert program.wait(240) == 0
