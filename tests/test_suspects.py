"""Messages that kill the process: who is suspected, how they are tried, and the whole of it by real deaths."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.canary import Trial, Unready, fatal
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_catalog import RUNNING
from pipelines.sources.pubsub import Received
from pipelines.suspects import CHILD, MOST, TRYING, Part, Suspects, parted
from tests.contracts import plain_contract
from tests.fatal_canary import DAY, ROW
from tests.pubsub_server import Broker
from transforms.formats.block import Message
from transforms.formats.messages import Front
from transforms.keys import Keys
from transforms.seal import private_key, unseal

SUBSCRIPTION = "projects/test-project/subscriptions/suspects"
WEEK = 7 * 86_400


def received(*ids: str) -> list[Received]:
    return [Received(f"ack {i} {id}", Message(b"a body", id, 0, {})) for i, id in enumerate(ids)]


def suspects(lake: Path, now: float = 1_000.0, subscription: str = SUBSCRIPTION) -> Suspects:
    """What a process that starts now finds."""
    (lake / RUNNING).mkdir(exist_ok=True)
    return Suspects(lake, subscription, lambda: now)


def die(lake: Path, *ids: str, now: float = 1_000.0) -> None:
    """A process starts, takes these in hand, and dies: what it has written by then stays."""
    with suspects(lake, now).in_hand(ids):
        left = (lake / RUNNING / TRYING).read_bytes()
    (lake / RUNNING / TRYING).write_bytes(left)


def times(found: Suspects) -> dict[str, int]:
    return {id: deaths.times for id, deaths in found.deaths.items()}


@given(taken=st.lists(st.integers(0, 300).map(str)), deaths=st.dictionaries(st.integers(0, 300).map(str), st.integers(1, 4)), most=st.integers(1, MOST))
def test_parts(taken, deaths, most) -> None:
    parts = parted(received(*taken), deaths, most)
    assert sorted(r.ack_id for part in parts for r in part.received) == sorted(r.ack_id for r in received(*taken)), "nothing is lost, nothing is twice"
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    for part in parts:
        of = [deaths.get(m.id, 0) for _, m in part.received]
        assert all(part.in_child == (n >= CHILD) for n in of)
        assert set(of) <= {0} or (len(of) <= most and min(of) > 0), "who is no suspect is not beside one"
    assert sum(not any(deaths.get(m.id) for _, m in part.received) for part in parts) <= 1, "those that nobody suspects are not parted"
    assert [part.in_child for part in parts] == sorted(part.in_child for part in parts)


def test_who_was_in_hand_at_a_death_is_suspected(tmp_path) -> None:
    assert suspects(tmp_path).parts(received("a", "b")) == [Part(received("a", "b"))]
    die(tmp_path, "a", "b", "c")
    assert times(suspects(tmp_path)) == {"a": 1, "b": 1, "c": 1}
    die(tmp_path, "b", "d")
    assert times(suspects(tmp_path)) == {"a": 1, "b": 2, "c": 1, "d": 1}
    found = suspects(tmp_path)
    assert [([m.id for _, m in p.received], p.in_child) for p in found.parts(received("x", "b", "d"))] == [(["x"], False), (["d"], False), (["b"], True)]


def test_who_came_through_is_forgotten_and_an_error_is_no_death(tmp_path) -> None:
    die(tmp_path, "a", "b")
    found = suspects(tmp_path)
    with pytest.raises(RuntimeError), found.in_hand(["a", "new"]):
        raise RuntimeError
    assert times(found) == times(suspects(tmp_path)) == {"a": 1, "b": 1}
    with found.in_hand(["a", "new"]):
        assert times(suspects(tmp_path)) == {"a": 2, "b": 1, "new": 1}, "what is true if it dies now"
    assert times(found) == times(suspects(tmp_path)) == {"b": 1}
    with found.in_hand(["b"]):
        pass
    assert not list((tmp_path / RUNNING).iterdir())


@settings(max_examples=60, deadline=None)
@given(runs=st.lists(st.tuples(st.sets(st.sampled_from("abcdef")), st.sampled_from(["passes", "fails", "dies"])), max_size=12))
def test_any_history(tmp_path_factory, runs) -> None:
    lake, expected = tmp_path_factory.mktemp("lake"), Counter[str]()
    found = suspects(lake)
    for ids, end in runs:
        if end == "dies":
            die(lake, *ids) if ids or times(found) else None
            expected.update(ids)
            found = suspects(lake)
        else:
            try:
                with found.in_hand(ids):
                    if end == "fails":
                        raise RuntimeError
                for id in ids:
                    del expected[id]
            except RuntimeError:
                pass
        assert times(found) == times(suspects(lake)) == dict(expected)


@pytest.mark.parametrize("number, most", [(1, 1), (3, 1), (4, 2), (400, 20), (20_000, MOST)])
def test_groups_are_the_root_of_the_suspects(tmp_path, number, most) -> None:
    die(tmp_path, *map(str, range(number)))
    assert suspects(tmp_path).most == most


def test_what_is_old_of_another_subscription_or_broken_is_no_suspicion(tmp_path) -> None:
    die(tmp_path, "a")
    die(tmp_path, "b", now=2_000.0)
    assert times(suspects(tmp_path, now=1_001.0 + WEEK)) == {"b": 1}
    assert times(suspects(tmp_path, subscription=SUBSCRIPTION + "2")) == {}
    for left in (b"", (tmp_path / RUNNING / TRYING).read_bytes()[:-3]):
        (tmp_path / RUNNING / TRYING).write_bytes(left)
        assert times(suspects(tmp_path)) == {}


HANGS = 4.0  # seconds, after which one that hangs is ended; who does not hang has as long as it takes


@pytest.fixture
def trial(ring: Keys) -> Trial:
    return Trial(plain_contract(), ring, None, None, Front(), 120.0)


def tried(trial: Trial, folder: Path, *bodies: bytes, **more) -> dict[str, dict]:
    """What a child that does as the bodies say makes of them: the refused rows by number."""
    folder.mkdir()
    messages = [Message(body, str(i), 0, {}) for i, body in enumerate(bodies)]
    found = fatal(trial, SUBSCRIPTION, messages, command=[sys.executable, "-m", "tests.fatal_canary", str(folder)], **more)
    return {id: batch.to_pylist()[0] for id, batch in found.items()}


def test_what_a_child_dies_of_is_told_and_where(trial, tmp_path, capfd) -> None:
    """Each case is tried by a child of its own; two at a time."""
    decoded = {"row": ROW.encode(), "d": DAY, "field": None, "reason": "crashes", "attempt": 3, "origin": f"{SUBSCRIPTION}:0"}
    cases = {b":exit": decoded | {"stage": "decode", "row": b":exit", "d": None}, b"infer:exit": decoded | {"stage": "infer"},
             b"deidentify:signal": decoded | {"stage": "deidentify"}, b"infer:hang": decoded | {"stage": "infer"}}
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda i, body: tried(replace(trial, seconds=HANGS) if b"hang" in body else trial, tmp_path / str(i), body), range(len(cases)), cases))
    assert told == [{"0": case} for case in cases.values()]
    assert capfd.readouterr() == ("", "")


def test_one_child_tries_all_that_come_through(trial, tmp_path, capfd) -> None:
    """An exception kills nobody; a signal that ends a stream in order does not end it; what died between two is not the second's fault."""
    assert tried(trial, tmp_path / "all", b":", b"infer:", b":raise", b"infer:raise", b":order", b"deidentify:", b"x" * 3_000_000) == {}
    assert len(list((tmp_path / "all").iterdir())) == 1
    assert tried(trial, tmp_path / "hurt", b":afterwards", b":wait", b":") == {}
    assert len(list((tmp_path / "hurt").iterdir())) == 2
    assert capfd.readouterr() == ("", "")


def test_no_child_no_verdict(trial, tmp_path) -> None:
    assert tried(trial, tmp_path / "stopped", b":exit", stop=lambda: True) == {} and not list((tmp_path / "stopped").iterdir())
    with pytest.raises(Unready):
        fatal(trial, SUBSCRIPTION, [Message(b"x", "1", 0, {})], command=[sys.executable, "-c", ""])


TOPIC = "projects/test-project/topics/suspects"
ROWS = [json.loads(line) for line in (Path(__file__).parents[1] / "schemas" / "gaming" / "sample.ndjson").read_text().splitlines()[:9]]
KILLER = ROWS[5]


class Stand:
    """A broker with ROWS, and the job that a supervisor starts again and again; killer: the id of the row that kills it."""

    def __init__(self, broker: Broker, folder: Path, keys: Path, killer: str = "") -> None:
        broker.create(TOPIC, SUBSCRIPTION, seconds=1)
        broker.publish(TOPIC, map(orjson.dumps, ROWS))
        self.broker, self.folder, self.out = broker, folder, folder / "out"
        self.command = [sys.executable, "-m", "tests.fatal_stream", killer, str(folder), "--contract=gaming", f"--subscription={SUBSCRIPTION}",
                        f"--output={self.out}", f"--keys={keys}", f"--pubsub_endpoint={broker.host}", "--wait=100ms", "--until_idle=300ms"]

    def start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(self, sql: str) -> list[dict]:
        reader = Lake.reader(str(self.out))
        try:
            return reader.query(sql).to_pylist()
        finally:
            reader.close()

    def check(self) -> None:
        """Every run balances, every message is acknowledged, every row is in the tables once."""
        assert all(run["balanced"] for run in self.ask("select balanced from runs"))
        assert self.ask("select sum(read)::int as n from runs")[0]["n"] >= len(ROWS)
        assert self.ask("select count(*) as n, count(distinct id_hash) as ids from (select id_hash from events union all select hash(sealed) from failures)") == [
            {"n": len(ROWS), "ids": len(ROWS)}]
        counts = self.broker.counts(SUBSCRIPTION)
        assert (counts.outstanding, counts.backlog) == (0, 0)


def killed_by_a_row(stand: Stand) -> list[int]:
    """Started until it ends by itself; the exit codes."""
    codes = [stand.start().wait(600)]
    while codes[-1] != 0 and len(codes) < 9:
        codes.append(stand.start().wait(600))
    return codes


def killed_from_outside(stand: Stand) -> dict[str, int]:
    """Three times with rows in hand, then let be; how often a process had died with each message in hand by then."""
    hold = stand.folder / "hold"
    hold.touch()
    for _ in range(3):
        job, ends = stand.start(), time.monotonic() + 600
        while not (stand.folder / str(job.pid)).exists():
            assert time.monotonic() < ends and job.poll() is None, "it takes no row in hand"
            time.sleep(0.02)
        job.kill()
        job.wait()
    told = orjson.loads((stand.out / RUNNING / TRYING).read_bytes())["deaths"]
    os.remove(hold)
    assert stand.start().wait(600) == 0
    return {id: n for n, _, ids in told for id in ids}


@pytest.fixture(scope="module")
def ends(tmp_path_factory, key_folder) -> Iterator[tuple[Stand, list[int], Stand, dict[str, int]]]:
    """Both, side by side: most of their time is the broker's ack deadline, and imports."""
    with Broker(shortest_deadline=1) as one, Broker(shortest_deadline=1) as other, ThreadPoolExecutor(2) as pool:
        row, outside = Stand(one, tmp_path_factory.mktemp("row"), key_folder, KILLER["play_id"]), Stand(other, tmp_path_factory.mktemp("outside"), key_folder)
        codes, deaths = pool.submit(killed_by_a_row, row), pool.submit(killed_from_outside, outside)
        yield row, codes.result(), outside, deaths.result()


def test_a_row_that_kills_costs_two_deaths_and_is_set_aside(ends, key_folder) -> None:
    stand, codes, _, _ = ends
    assert codes == [139, 139, 0]
    stand.check()
    (row,) = stand.ask("select run, stage, reason, origin, attempt, sealed from failures")
    assert (row["stage"], row["reason"], row["attempt"]) == ("infer", "crashes", 3)
    unwrap = private_key((key_folder / "failures.private.pem").read_bytes())
    opened = json.loads(unseal(row["sealed"], row["run"], row["stage"], row["reason"], row["origin"], unwrap))
    assert opened | {"played_at": None} == KILLER | {"played_at": None}
    assert stand.ask("select reasons, refused, read - stored as apart from runs where refused > 0") == [{"reasons": '{"crashes": 1}', "refused": 1, "apart": 1}]
    left = (stand.out / RUNNING / TRYING).read_bytes()
    assert list(orjson.loads(left)["deaths"][0][2]) == [row["origin"].rpartition(":")[2]], "it may come again; all else is forgotten"
    assert all(str(value).encode() not in left for value in KILLER.values() if isinstance(value, str)), "nothing of a row is in it"


def test_kills_from_outside_set_nothing_aside(ends) -> None:
    _, _, stand, deaths = ends
    assert len(deaths) == len(ROWS) and 1 <= min(deaths.values()) and max(deaths.values()) >= 2
    stand.check()
    assert stand.ask("select count(*) as n from failures") == [{"n": 0}]
    assert not list((stand.out / RUNNING).iterdir())
