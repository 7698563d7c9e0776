"""penstock publish against brokers that know nothing of it: what arrives is what truth.json says."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pytest

from pipelines import progress
from pipelines.__main__ import main
from pipelines.flags import parse
from pipelines.tools import publish
from pipelines.tools.options import PublishOptions
from pipelines.tools.sequence import EPOCH, stream_of
from schemas.contract import load, shipped
from schemas.errors import Misconfigured
from tests.pubsub_clients import Client
from tests.pubsub_faults import Fault, Faults
from tests.recount import at, recount
from tests.runs import REPOSITORY

ALL = ("--repeats=0.05", "--conflicts=0.02", "--malformed=0.02", "--disorder=60s", "--late=0.03")


def published(host, contract, tmp_path, *options, rows=2_000):
    """What `penstock publish` says in truth.json, and the messages that have arrived, as pulled, in the order of their publication."""
    client = Client(host).start()
    code = main(["publish", contract, f"--topic={client.topic}", f"--rows={rows}", f"--truth={tmp_path}/truth.json", f"--pubsub_endpoint={host}", *options])
    assert code == 0
    truth = json.loads((tmp_path / "truth.json").read_text())
    return truth, arrived(client, truth["read"])


def arrived(client, number):
    """So many messages, in the order of their publication; no other is there. One may come again, where a machine is slower than its ack deadline."""
    messages = {}
    while len(messages) < number:
        if received := client.pull(timeout=240):
            messages |= {int(r.message.message_id): r.message for r in received}
            client.acknowledge(*received)
    assert len(messages) == number and {int(r.message.message_id) for r in client.now()} <= messages.keys()
    return [messages[number] for number in sorted(messages)]


def check(contract, truth, messages):
    """The truth by what has arrived."""
    fates, days = recount(contract, [m.data for m in messages])
    assert {k: truth[k] for k in ("read", "stored", "repeated", "reasons", "stored_by_day")} == {
        "read": len(messages), "stored": fates["stored"], "repeated": fates["repeated"], "stored_by_day": days,
        "reasons": {k: n for k, n in fates.items() if k not in ("stored", "repeated")}}
    assert truth["read"] == truth["stored"] + truth["repeated"] + truth["refused"] and truth["refused"] == sum(truth["reasons"].values())


def first_copies(contract, messages):
    """(seconds behind the greatest event time before it, row) of each event's first copy, by the attributes."""
    seen, greatest, found = set(), EPOCH, []
    for message in messages:
        if message.attributes["event_id"] not in seen:
            seen.add(message.attributes["event_id"])
            row = json.loads(message.data)
            found.append((max((greatest - at(contract, row)).total_seconds(), 0), row))
            greatest = max(greatest, at(contract, row))
    return found


@pytest.mark.parametrize("name", shipped())
def test_what_arrives_is_what_truth_says(name, broker, tmp_path):
    contract = load(name)
    truth, messages = published(broker.host, name, tmp_path, *ALL)
    check(contract, truth, messages)
    assert truth["stored"] == truth["rows"] == 2_000 and (truth["contract"], truth["version"], truth["seed"]) == (name, contract.version, 7)
    assert 70 < truth["repeated"] < 130 and 20 < truth["reasons"]["conflict"] < 65 and 20 < truth["refused"] - truth["reasons"]["conflict"] < 65
    found = first_copies(contract, messages)
    hold = publish.hold(contract, timedelta(seconds=60)).total_seconds()
    assert truth["held_back"] == sum(behind >= hold for behind, _ in found) and all(behind <= 60 or behind >= hold for behind, _ in found)
    assert 20 < truth["held_back"] < 100
    times = sorted(at(contract, row) for _, row in found)
    assert (truth["first_event"], truth["last_event"]) == (f"{times[0]:%Y-%m-%dT%H:%M:%S.%fZ}", f"{times[-1]:%Y-%m-%dT%H:%M:%S.%fZ}")
    assert [row for _, row in sorted(found, key=lambda f: f[1][contract.id])] == sorted((s.row for s in stream_of(name, 2_000, 7)()), key=lambda r: r[contract.id])


def test_googles_emulator_takes_it_too(emulator_host, tmp_path):
    truth, messages = published(emulator_host, "gaming", tmp_path, *ALL)
    check(load("gaming"), truth, messages)
    assert len(first_copies(load("gaming"), messages)) == 2_000


def test_without_options_every_event_once_in_order(broker, tmp_path):
    truth, messages = published(broker.host, "weblog", tmp_path, rows=1_200)
    assert (truth["read"], truth["repeated"], truth["refused"], truth["reasons"], truth["held_back"]) == (1_200, 0, 0, {}, 0)
    assert [json.loads(m.data) for m in messages] == [s.row for s in stream_of("weblog", 1_200, 7)()]


def test_attributes_are_those_of_the_event_even_of_a_broken_message(broker, tmp_path):
    contract = load("gaming")
    _, messages = published(broker.host, "gaming", tmp_path, *ALL, rows=500)
    known = {s.id: s.row[contract.time] for s in stream_of("gaming", 500, 7)()}
    assert all(dict(m.attributes) == {"event_id": i, "event_time": known[i]} for m in messages for i in [m.attributes["event_id"]])
    assert {m.attributes["event_id"] for m in messages} == set(known)


def test_one_seed_one_publication(broker, tmp_path):
    def bodies(*options):
        return [m.data for m in published(broker.host, "gaming", tmp_path, *ALL, *options, rows=300)[1]]
    assert bodies("--seed=3") == bodies("--seed=3") != bodies("--seed=4")


def test_the_books_go_where_they_are_asked_for_and_to_the_last_line(broker, tmp_path, capsys):
    client = Client(broker.host).start()
    assert main(["publish", "gaming", f"--topic={client.topic}", "--rows=5", f"--truth={tmp_path}/deep/books.json", f"--pubsub_endpoint={broker.host}", "--json"]) == 0
    *_, sentence, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == json.loads((tmp_path / "deep" / "books.json").read_text()) and json.loads(last)["read"] == 5
    assert sentence == f"5 messages to {client.topic}; {tmp_path}/deep/books.json: 5 stored + 0 repeated + 0 refused"


def test_create_makes_what_is_missing_and_leaves_what_is_there(broker, tmp_path):
    name = uuid.uuid4().hex
    client = Client(broker.host, topic=f"projects/p/topics/t{name}", subscription=f"projects/p/subscriptions/s{name}")
    asked = ["publish", "gaming", f"--topic={client.topic}", "--create", f"--subscription={client.subscription}", "--rows=5",
             f"--truth={tmp_path}/t.json", f"--pubsub_endpoint={broker.host}"]
    assert main(asked) == 0 and main(asked) == 0
    assert len(arrived(client, 10)) == 10
    assert client.subscriber.get_subscription(subscription=client.subscription).ack_deadline_seconds == 10


def test_a_subscription_to_another_topic_is_not_taken(broker, tmp_path, capsys):
    client = Client(broker.host).start()
    asked = ["publish", "gaming", "--topic=projects/p/topics/other", "--create", f"--subscription={client.subscription}", f"--pubsub_endpoint={broker.host}",
             f"--truth={tmp_path}/t.json"]
    assert main(asked) == 2 and f"--subscription: is one to {client.topic}" in capsys.readouterr().err
    assert broker.counts(client.subscription).delivered == 0


def test_a_missing_topic_is_told_with_what_to_do(broker, tmp_path, capsys):
    (tmp_path / "t.json").write_text("old")
    asked = ["publish", "gaming", "--topic=projects/p/topics/missing", "--rows=5", f"--pubsub_endpoint={broker.host}", f"--truth={tmp_path}/t.json"]
    assert main(asked) == 2 and "--topic: projects/p/topics/missing does not exist, or its topic does not; make it, or give --create" in capsys.readouterr().err
    assert not (tmp_path / "t.json").exists(), "old books are not taken for those of this publication"


@pytest.mark.parametrize("options, where", [
    (["nothing", "--topic=projects/p/topics/t"], ["CONTRACT"]),
    (["gaming", "--topic=t"], ["--topic"]),
    (["gaming", "--topic=projects/p/topics/t", "--repeats=0.5", "--conflicts=0.3", "--malformed=0.3"], ["--repeats, --conflicts, --malformed"]),
    (["gaming", "--topic=projects/p/topics/t", "--now"], ["--now"]),
    (["gaming", "--topic=projects/p/topics/t", "--subscription=projects/p/subscriptions/s"], ["--subscription"]),
    (["nothing", "--topic=projects/p/topics/t", "--subscription=projects/p/subscriptions/s", "--now"], ["CONTRACT", "--now", "--subscription"]),
    (["gaming", "--topic=projects/p/topics/t", "--late=2", "--disorder=far", "--rows=0", "--rate=-1"], ["--late", "--disorder", "--rows", "--rate"]),
    (["gaming", "--topic=projects/p/topics/t", "--pubsub_endpoint=pubsub.example.com:80"], ["--pubsub_endpoint"]),
])
def test_what_cannot_be_published_is_said_at_once(options, where):
    with pytest.raises(Misconfigured) as raised:
        publish.run(parse(PublishOptions, options)[0])
    assert [f.where for f in raised.value.faults] == where


@pytest.mark.parametrize("faults", [Faults(Fault("unavailable", "Publish", share=0.4), Fault("internal", "Publish", share=0.2)),
                                    Faults(Fault("exhausted", "Publish", calls=2))], ids=["failing", "quota"])
def test_a_service_that_fails_is_asked_again(faults, broker, tmp_path):
    broker.faults = faults
    truth, messages = published(broker.host, "gaming", tmp_path, *ALL, rows=6_000)
    check(load("gaming"), truth, messages)
    assert sum(faults.committed.values()) >= 2 and truth["stored"] == 6_000


def test_a_lost_answer_may_put_messages_on_the_topic_twice(broker, tmp_path):
    broker.faults = Faults(Fault("lost", "Publish", after=1, calls=1))
    client = Client(broker.host).start()
    assert main(["publish", "gaming", f"--topic={client.topic}", "--rows=3000", f"--truth={tmp_path}/t.json", f"--pubsub_endpoint={broker.host}"]) == 0
    truth, messages = json.loads((tmp_path / "t.json").read_text()), arrived(client, 4_000)
    assert truth["read"] == truth["stored"] == 3_000 == len({m.data for m in messages})
    assert Counter(Counter(m.data for m in messages).values()) == {1: 2_000, 2: 1_000}


def test_live_events_happen_as_they_are_published():
    asked = ["gaming", "--topic=projects/p/topics/t", "--rows=3000", "--rate=100", "--now", "--disorder=5s", "--repeats=0.2"]
    contract = load("gaming")
    lines = list(publish.lines(parse(PublishOptions, asked)[0], contract, clock=lambda: 1_772_409_600.0))
    ahead = [(number / 100 + 1_772_409_600.0) - each.sample.time / 1e6 for number, each in enumerate(lines) if each.fate == "stored"]
    assert all(-1.5 < seconds < 11.5 for seconds in ahead), "none from the future, none older than twice the disorder, give or take what repeats come when"
    assert recount(contract, [each.body for each in lines])[0] == Counter(each.fate for each in lines)
    assert sum(a.sample.time > b.sample.time for a, b in pairwise(lines)) > 500


def test_a_signal_ends_it_with_the_books_of_what_was_published(broker, tmp_path):
    client = Client(broker.host).start()
    command = [sys.executable, "-m", "pipelines", "publish", "gaming", f"--topic={client.topic}", "--rows=100000", "--rate=200", "--repeats=0.1", "--json"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE,
                               env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PUBSUB_EMULATOR_HOST": broker.host})
    received = client.pull_all(40)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert json.loads(out.splitlines()[-1]) == truth and 40 <= truth["read"] < 100_000
    received += client.pull_all(truth["read"] - len(received))
    check(load("gaming"), truth, sorted((r.message for r in received), key=lambda m: int(m.message_id)))


def test_progress_counts_what_was_published(broker, tmp_path):
    published(broker.host, "gaming", tmp_path, rows=1_500)
    assert progress.PROGRESS.rows() == {"published": 1_500}
