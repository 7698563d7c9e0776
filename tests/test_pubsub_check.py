"""Whether a subscription can be read is asked before anything else: its name, its ack deadline, and what a service says that answers late or not at all."""

import itertools

import pytest

from pipelines.sources.pubsub import Subscription, subscriber
from schemas.errors import Misconfigured
from tests.programs import free_port
from tests.pubsub_faults import Fault, Faults
from tests.pubsub_server import Broker
from tests.test_pubsub import NAME, TOPIC, clock, local, opened  # noqa: F401


@pytest.mark.parametrize("name", ["", "events", "projects/p/topics/events", "projects/p/subscriptions/", "projects//subscriptions/s", "projects/p/subscriptions/s/x",
                                  " projects/p/subscriptions/s", "projects/p/subscriptions/s\n"])
def test_names_of_no_subscription(local: Broker, name: str) -> None:  # noqa: F811
    with pytest.raises(Misconfigured, match="not the name of a subscription"), opened(local.host, name=name):
        pass
    assert local.faults.asked["GetSubscription"] == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(("fault", "name", "text"), [
    (None, "projects/test-project/subscriptions/absent", r"does not exist \(NOT_FOUND\)"),
    (Fault("permission", "GetSubscription"), NAME, r"may not be read by this account \(PERMISSION_DENIED\); give it roles/pubsub.subscriber"),
    (Fault("unauthenticated", "GetSubscription"), NAME, r"is not read with these credentials \(UNAUTHENTICATED\)"),
    (Fault("unavailable", "GetSubscription"), NAME, r"did not answer for 300 seconds \(UNAVAILABLE\); look at the network, --pubsub_endpoint"),
])
def test_check(local: Broker, fault: Fault | None, name: str, text: str) -> None:  # noqa: F811
    local.faults = Faults(*[fault] if fault else [])
    subscription = Subscription(subscriber(local.host), name, 10, clock=itertools.count(0, 50).__next__)  # the last call, too, has time to be answered in
    with pytest.raises(Misconfigured, match=text) as caught:
        subscription.check(patience=300.0)
    assert len(caught.value.faults) == 1
    subscription.close()


def test_check_of_a_service_that_does_not_answer(local: Broker) -> None:  # noqa: F811
    local.faults = Faults(Fault("hang", "GetSubscription"))
    subscription = Subscription(subscriber(local.host), NAME, 10)
    with pytest.raises(Misconfigured, match=r"did not answer for 1 seconds \(DEADLINE_EXCEEDED\)"):
        subscription.check(patience=1.0)
    subscription.close()


def test_check_reads_the_deadline_as_soon_as_the_service_answers(local: Broker) -> None:  # noqa: F811
    name = f"{NAME}-two"
    local.create(TOPIC, name, seconds=77)
    local.faults = Faults(Fault("unavailable", "GetSubscription", calls=2))
    with opened(local.host, name=name) as subscription:
        assert subscription.deadline == 77


def test_check_of_a_host_where_nobody_listens() -> None:
    subscription = Subscription(subscriber(f"127.0.0.1:{free_port()}"), NAME, 10, clock=itertools.count(0, 50).__next__)
    with pytest.raises(Misconfigured, match="UNAVAILABLE"):
        subscription.check(patience=300.0)
    subscription.close()
