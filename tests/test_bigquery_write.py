"""Appends by the Storage Write API under faults: exact rows each time, and what the default stream alone may store twice."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from google.cloud.bigquery_storage_v1 import types

from pipelines.sinks.bigquery_append import MOST_BYTES, Appends
from pipelines.sinks.bigquery_client import Patience
from pipelines.sinks.bigquery_jobs import Failed
from pipelines.sinks.bigquery_write import Pending, Rows, RowsRejected, commit, connect
from schemas.errors import Misconfigured, Transient
from tests.bigquery_server import BigQuery
from tests.bigquery_write_server import BigQueryWrite, Fault

TABLE = "projects/p/datasets/ds/tables/t"
SCHEMA = pa.schema([pa.field("id", pa.int32(), False), pa.field("x", pa.float32()), pa.field("raw", pa.binary()), pa.field("d", pa.date32(), False)])
FIELDS = [{"name": "id", "type": "INTEGER", "mode": "REQUIRED"}, {"name": "x", "type": "FLOAT"}, {"name": "raw", "type": "BYTES"},
          {"name": "d", "type": "DATE", "mode": "REQUIRED"}]
QUICK = Patience(seconds=600.0, first=0.005, answer=300.0)
GIVES_UP = replace(QUICK, answer=2.0)  # an answer that takes longer is lost


class World:
    """A service with one table, its write API, and the ids that are stored."""

    def __init__(self, service: BigQuery, write: BigQueryWrite) -> None:
        self.service, self.write, self.client = service, write, connect(write.host)
        service.store.make_dataset("ds", {})
        service.store.make_table("ds", "t", {"schema": {"fields": FIELDS}})

    def ids(self) -> list[int]:
        return [r["id"] for r in self.service.ask("SELECT id FROM ds.t ORDER BY id")]

    def rows(self, patience: Patience = QUICK) -> Rows:
        return Rows(self.client, TABLE, SCHEMA, patience)


@pytest.fixture
def world() -> Iterator[World]:
    with BigQuery() as service, BigQueryWrite(service.store) as write:
        yield World(service, write)


def batch(*ids: int, size: int = 3) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"id": ids, "x": [0.5] * len(ids), "raw": [bytes(size)] * len(ids), "d": [date(2026, 3, 4)] * len(ids)}, SCHEMA)


FAULTS = {
    "nothing": None, "503": Fault("append", "UNAVAILABLE", 2), "quota, the call goes on": Fault("append", "RESOURCE_EXHAUSTED", 3, inline=True),
    "quota, the call ends": Fault("append", "RESOURCE_EXHAUSTED", 3), "cut in mid-append, nothing done": Fault("append", "cut", 2, after=1),
    "an error of the service's": Fault("append", "INTERNAL", 2, after=1, inline=True), "drained": Fault("append", "drain", 2),
}
SLOW = "a time-out after it was done"
TWICE = {"the answer is lost": Fault("append", "lost", 1, after=1), SLOW: Fault("append", "slow", 1, after=1, seconds=600.0)}


@pytest.mark.parametrize("name", [*FAULTS, *TWICE])
def test_pending_rows_are_stored_once_whatever_happens(name, world) -> None:
    fault = {**FAULTS, **TWICE}[name]
    world.write.faults = [] if fault is None else [Fault(**vars(fault))]
    pending = Pending(world.client, TABLE, SCHEMA, GIVES_UP if name == SLOW else QUICK)
    for n in range(4):
        pending.append(batch(2 * n, 2 * n + 1))
    assert world.ids() == [] and pending.finish() == 8
    commit(world.client, TABLE, [pending.name], QUICK)
    assert world.ids() == [*range(8)] and not any(f.times for f in world.write.faults)


@pytest.mark.parametrize("name", FAULTS)
def test_rows_of_the_default_stream_are_stored_once(name, world) -> None:
    fault = FAULTS[name]
    world.write.faults = [] if fault is None else [Fault(**vars(fault))]
    stream = world.rows()
    assert [stream.append(batch(2 * n, 2 * n + 1)) for n in range(4)] == [[]] * 4
    assert world.ids() == [*range(8)] and not any(f.times for f in world.write.faults)


@pytest.mark.parametrize("name", TWICE)
def test_where_an_answer_is_lost_the_default_stream_stores_those_rows_twice(name, world) -> None:
    world.write.faults = [Fault(**vars(TWICE[name]))]
    stream = world.rows(GIVES_UP if name == SLOW else QUICK)
    assert [stream.append(batch(2 * n, 2 * n + 1)) for n in range(3)] == [[]] * 3
    found = Counter(world.ids())
    assert found.keys() == {*range(6)} and found[2] == found[3] >= 2
    assert found == Counter([0, 1, 2, 2, 3, 3, 4, 5]) or name == SLOW, "on a slow machine another answer than that one may be late"


@pytest.mark.parametrize("named", [True, False], ids=["named by the service", "not named"])
@pytest.mark.parametrize("wrong", [[3], [0, 7], [1, 2, 3], [0, 1, 2, 3, 4, 5, 6]])
def test_a_rejected_row_takes_no_other_with_it(wrong, named, world) -> None:
    world.service.store.rejects, world.write.streams.names_rows = lambda table, row: row["id"] in wrong, named
    assert world.rows().append(batch(*range(8))) == wrong
    assert world.ids() == [n for n in range(8) if n not in wrong]
    pending = Pending(world.client, TABLE, SCHEMA, QUICK)
    with pytest.raises(RowsRejected) as told:
        pending.append(batch(*range(8)))
    pending.append(batch(100))
    assert told.value.rows == wrong and pending.finish() == 9 - len(wrong)


def test_faults_and_rejected_rows_at_once(world) -> None:
    world.service.store.rejects = lambda table, row: row["id"] % 5 == 0
    world.write.faults = [Fault("append", "UNAVAILABLE", 1, after=2), Fault("append", "INTERNAL", 1, after=3, inline=True)]
    stream = world.rows()
    assert [stream.append(batch(*range(10 * n, 10 * n + 10))) for n in range(5)] == [[0, 5]] * 5
    assert world.ids() == [n for n in range(50) if n % 5]


def test_rows_that_the_table_cannot_hold_are_found(world) -> None:
    rows = batch(1, 2, 3).set_column(3, SCHEMA.field("d"), pa.array([0, None, 1 << 30], pa.date32()))
    assert world.rows().append(rows) == [1, 2] and world.ids() == [1]


def test_no_row_is_blamed_where_none_of_several_is_taken_and_none_named(world) -> None:
    world.write.faults = [Fault("append", "INVALID_ARGUMENT", 1_000_000)]
    with pytest.raises(Failed, match="takes no row of a whole batch"):
        world.rows().append(batch(1, 2, 3))


def test_large_batches_are_cut_into_requests(world) -> None:
    stream = world.rows()
    assert stream.append(batch(*range(30), size=1_000_000)) == [] and world.ids() == [*range(30)]
    assert MOST_BYTES * 0.8 < world.write.largest < 10_000_000 and len(world.write.calls) < 8
    too_large = pa.concat_batches([batch(30), batch(31, size=10_000_000), batch(32)])
    assert stream.append(too_large) == [1] and world.ids() == [*range(31), 32]


DRIFTS: dict[str, tuple[Any, str]] = {
    "a column is gone": (lambda fields: fields[:1] + fields[2:], "x is missing"),
    "a column has another type": (lambda fields: [fields[0], {"name": "x", "type": "STRING"}, *fields[2:]], "x is STRING and written as DOUBLE"),
    "a column more is required": (lambda fields: [*fields, {"name": "more", "type": "STRING", "mode": "REQUIRED"}], "more is required and not written"),
}


@pytest.mark.parametrize("name", DRIFTS)
def test_a_table_that_has_changed_blames_no_row(name, world) -> None:
    change, told = DRIFTS[name]
    stream = world.rows()
    assert stream.append(batch(1)) == []
    world.service.store.make_table("ds", "other", {"schema": {"fields": change(FIELDS)}})
    world.service.store.tables["ds", "t"] = world.service.store.tables["ds", "other"]
    for some in (batch(2), batch(3, 4)):
        with pytest.raises(Failed, match=f"ds.t: has another form: {told}"):
            stream.append(some)
    assert world.ids() == [1]


def test_a_nullable_column_more_is_no_matter(world) -> None:
    stream = world.rows()
    assert stream.append(batch(1)) == []
    world.service.store.patch_table("ds", "t", {"schema": {"fields": [*FIELDS, {"name": "more", "type": "STRING"}]}}, None)
    assert stream.append(batch(2)) == [] and world.ids() == [1, 2]


def test_a_table_that_goes_missing(world) -> None:
    stream = world.rows()
    assert stream.append(batch(1)) == []
    del world.service.store.tables["ds", "t"]
    with pytest.raises(Failed, match="ds.t: TABLE_NOT_FOUND"):
        stream.append(batch(2))


def test_a_service_that_stays_away_is_told_and_nothing_is_stored(world) -> None:
    world.write.faults = [Fault("append", "RESOURCE_EXHAUSTED", 1_000_000)]
    for send in (world.rows(Patience(0.1, 0.02)).append, Pending(world.client, TABLE, SCHEMA, Patience(0.1, 0.02)).append):
        with pytest.raises(Transient, match="ds.t: BigQuery stored nothing for 0.1 s: RESOURCE_EXHAUSTED"):
            send(batch(1))
    assert world.ids() == []


@pytest.mark.parametrize("kind", ["lost", "UNAVAILABLE", "slow", "INTERNAL", "ABORTED", "CANCELLED"])
def test_a_commit_is_done_once_whatever_becomes_of_its_answer(kind, world) -> None:
    pending = Pending(world.client, TABLE, SCHEMA, QUICK)
    pending.append(batch(1, 2))
    world.write.faults = [Fault("create|finalize|commit", kind, 3, seconds=1.0)]
    other = Pending(world.client, TABLE, SCHEMA, replace(QUICK, answer=0.4))
    assert (pending.finish(), other.finish()) == (2, 0)
    commit(world.client, TABLE, [pending.name, other.name], replace(QUICK, answer=0.4))
    commit(world.client, TABLE, [pending.name, other.name], QUICK)
    assert world.ids() == [1, 2] and world.write.faults[0].times == 0


def test_a_commit_that_was_done_is_done_whatever_the_service_calls_a_second_one(world) -> None:
    pending, other = (Pending(world.client, TABLE, SCHEMA, QUICK) for _ in range(2))
    pending.append(batch(1, 2))
    assert (pending.finish(), other.finish()) == (2, 0)
    world.write.faults = [Fault("commit", "lost"), Fault("commit", "FAILED_PRECONDITION", 2)]
    commit(world.client, TABLE, [pending.name], QUICK)
    assert world.ids() == [1, 2]
    with pytest.raises(Failed, match="ds.t: FAILED_PRECONDITION"):
        commit(world.client, TABLE, [pending.name, other.name], QUICK)
    commit(world.client, TABLE, [other.name], QUICK)


def test_many_threads_share_a_stream(world) -> None:
    stream, told = world.rows(), []
    world.write.faults = [Fault("append", "cut", 3, after=10)]
    world.service.store.rejects = lambda table, row: row["id"] % 100 == 7
    threads = [threading.Thread(target=lambda n=n: told.append([stream.append(batch(*range(100 * n + i, 100 * n + i + 10))) for i in range(0, 100, 10)]))
               for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [[[7], *[[]] * 9]] * 8
    assert world.ids() == [n for n in range(800) if n % 100 != 7]
    assert sum(call.startswith("append") for call in world.write.calls) < 8 * 11 + 60


class Held:
    """A client whose call answers one request each time that it is let go."""

    def __init__(self) -> None:
        self.transport, self.let_go, self.cancel = self, threading.Semaphore(0), lambda: None

    def append_rows(self, requests: Iterator[Any], metadata: Any) -> "Held":
        self.requests = requests
        return self

    def __iter__(self) -> Iterator[types.AppendRowsResponse]:
        for _ in self.requests:
            self.let_go.acquire()
            yield types.AppendRowsResponse(append_result=types.AppendRowsResponse.AppendResult())


def test_so_many_bytes_are_under_way_and_no_more() -> None:
    client, one = Held(), batch(1, size=1_000_000)
    stream = Appends(client, "s", SCHEMA, 300.0, in_flight=2_500_000)
    sent = [stream.send(one), stream.send(one)]
    third = threading.Thread(target=lambda: sent.append(stream.send(one)))
    third.start()
    third.join(0.1)
    assert third.is_alive(), "there is no room for the third"
    client.let_go.release()
    third.join()
    assert len(sent) == 3 and stream.answer(sent[0]).code == "OK" and not sent[1].done()
    client.let_go.release(2)
    assert [stream.answer(s).code for s in sent] == ["OK"] * 3
    stream.close()


class Cutter:
    """A way to a server that is cut, each time, after so many bytes to it or from it; a cut that was used up is not made again."""

    def __init__(self, host: str, up: list[int], down: list[int]) -> None:
        self._host, self._left = host.rpartition(":"), {True: list(up), False: list(down)}
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._server.getsockname()[1]}"
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
                far = socket.create_connection((self._host[0], int(self._host[2])))
            except OSError:
                return
            for way, (source, sink) in ((True, (near, far)), (False, (far, near))):
                threading.Thread(target=self._pass, args=(way, source, sink, (near, far)), daemon=True).start()

    def _pass(self, up: bool, source: socket.socket, sink: socket.socket, both: tuple[socket.socket, ...]) -> None:
        left = self._left[up].pop(0) if self._left[up] else None
        try:
            while data := source.recv(65_536):
                sink.sendall(data if left is None else data[:left])
                if left is not None and len(data) >= left:
                    self.cuts += 1
                    break
                left = None if left is None else left - len(data)
        except OSError:
            pass
        for end in both:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.mark.parametrize(("up", "down"), [([30_000, 200_000, 450_000], []), ([], [500, 600, 700]), ([90_000, 250_000], [10_000, 500])])
def test_a_connection_that_is_cut_anywhere(up, down, world) -> None:
    """Cut on the way there nothing is stored of the append; on the way back the default stream may store it twice, a pending one never does."""
    cutter = Cutter(world.write.host, up, down)
    client, patience = connect(cutter.host), Patience(600.0, 0.01, 300.0)
    pending = Pending(client, TABLE, SCHEMA, patience)
    rows = 0
    while rows < 60 or (cutter.cuts < 2 and rows < 600):
        pending.append(batch(*range(rows, rows + 10), size=10_000))
        rows += 10
    assert pending.finish() == rows
    commit(client, TABLE, [pending.name], patience)
    assert world.ids() == [*range(rows)] and cutter.cuts >= 2
    cutter.close()


@pytest.mark.parametrize("endpoint", ["http://elsewhere.example:9060", "elsewhere.example", "bigquerystorage.googleapis.com.example"])
def test_only_google_and_this_machine_are_spoken_to(endpoint) -> None:
    with pytest.raises(Misconfigured, match="--bigquery_storage_endpoint"):
        connect(endpoint)
    with pytest.raises(Misconfigured, match="BIGQUERY_STORAGE_EMULATOR_HOST"):
        connect("", {"BIGQUERY_STORAGE_EMULATOR_HOST": endpoint})
    assert connect("", {"BIGQUERY_STORAGE_EMULATOR_HOST": "http://localhost:9060"}).transport.host == "localhost:9060"
