"""The Storage Write API of this machine, by our client: what it shares with bqemulator by one suite on both, and what it refuses as the service does."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from google.api_core import exceptions
from google.cloud.bigquery_storage_v1 import types

from pipelines.sinks.bigquery_append import Answer, Appends
from pipelines.sinks.bigquery_client import Patience
from pipelines.sinks.bigquery_jobs import Failed
from pipelines.sinks.bigquery_write import Pending, Rows, commit, connect
from schemas.errors import Transient
from tests.bigquery_emulator import MISSING, emulator
from tests.bigquery_server import BigQuery
from tests.bigquery_write_server import BigQueryWrite, Fault
from tests.test_bigquery_server import SCHEMA, Service, rows

QUICK = Patience(seconds=600.0, first=0.01, answer=300.0)


def batch(*ids: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows(*ids), SCHEMA)


def path(table: str) -> str:
    project, dataset, name = table.split(".")
    return f"projects/{project}/datasets/{dataset}/tables/{name}"


class Write(Service):
    """A BigQuery under test, and a client of its Storage Write API."""

    def __init__(self, url: str, host: str) -> None:
        super().__init__(url, None)
        self.host, self.write = host, connect(host)

    def ids(self, table: str) -> list[int]:
        return [r["n"] for r in self.ask(f"SELECT n FROM `{table}` ORDER BY n")]


@pytest.fixture(scope="module", params=["ours", "bqemulator"])
def both(request) -> Iterator[Write]:
    if request.param == "ours":
        with BigQuery("project") as service, BigQueryWrite(service.store) as write:
            yield Write(service.url, write.host)
        return
    with emulator("project") as found:
        if found is None:
            pytest.skip(MISSING)
        yield Write(*found)


@pytest.fixture(scope="module")
def ours() -> Iterator[Write]:
    with BigQuery("project") as service, BigQueryWrite(service.store) as write:
        found = Write(service.url, write.host)
        found.server = write
        yield found


# ---- what both know

def test_rows_of_the_default_stream_are_there_at_once_as_they_were(both) -> None:
    table = both.table()
    stream = Rows(both.write, path(table), SCHEMA, QUICK)
    assert stream.append(batch(1, 2)) == stream.append(batch(3)) == stream.append(batch()) == []
    assert both.ask(f"SELECT * FROM `{table}` ORDER BY id") == rows(1, 2, 3)
    stream.close()


def test_pending_rows_are_seen_when_they_are_committed(both) -> None:
    table = both.table()
    streams = [Pending(both.write, path(table), SCHEMA, QUICK) for _ in range(2)]
    streams[0].append(batch(1, 2))
    streams[0].append(batch(3))
    streams[1].append(batch(4))
    assert [s.finish() for s in streams] == [3, 1] and both.ids(table) == []
    commit(both.write, path(table), [s.name for s in streams], QUICK)
    assert both.ids(table) == [1, 2, 3, 4]


def test_offsets_are_kept(both) -> None:
    table = both.table()
    name = both.write.create_write_stream(parent=path(table), write_stream=types.WriteStream(type_=types.WriteStream.Type.COMMITTED)).name
    stream = Appends(both.write, name, SCHEMA, QUICK.answer)
    told = [stream.answer(stream.send(batch(n), offset)).code for n, offset in ((1, 0), (2, 1), (3, 1), (4, 5), (5, 2))]
    assert told == ["OK", "OK", "ALREADY_EXISTS", "OUT_OF_RANGE", "OK"] and both.ids(table) == [1, 2, 5]
    stream.close()


def test_a_table_that_is_missing(both) -> None:
    with pytest.raises(Failed, match="ds.nothing: .*NOT_FOUND"):
        Rows(both.write, path("project.ds.nothing"), SCHEMA, QUICK).append(batch(1))
    with pytest.raises(Failed, match="ds.nothing: .*NOT_FOUND"):
        Pending(both.write, path("project.ds.nothing"), SCHEMA, QUICK)


def test_a_stream_that_is_not_finished_is_not_committed(both) -> None:
    table = both.table()
    done, open_ = (Pending(both.write, path(table), SCHEMA, QUICK) for _ in range(2))
    done.append(batch(1))
    done.finish()
    open_.append(batch(2))
    with pytest.raises(Failed, match="INVALID_STREAM_STATE"):
        commit(both.write, path(table), [done.name, open_.name], QUICK)
    assert both.ids(table) == []
    open_.finish()
    commit(both.write, path(table), [done.name, open_.name], QUICK)
    assert both.ids(table) == [1, 2]


# ---- what the service refuses, and bqemulator does not

def sent(ours: Write, table: str, found: pa.RecordBatch, stream: str = "", offset: int | None = None) -> Answer:
    appends = Appends(ours.write, stream or f"{path(table)}/streams/_default", found.schema, QUICK.answer)
    try:
        return appends.answer(appends.send(found, offset))
    finally:
        appends.close()


WRONG = pa.timestamp("us", "UTC")
REFUSED: dict[str, tuple[Any, Answer]] = {
    "a column that is not there": (lambda: batch(1).append_column("more", pa.array([1])), Answer("INVALID_ARGUMENT", "SCHEMA_MISMATCH_EXTRA_FIELDS")),
    "a column of another type": (lambda: batch(1).set_column(1, "n", pa.array([1.5])), Answer("INVALID_ARGUMENT", "STORAGE_ERROR_CODE_UNSPECIFIED")),
    "a required column that is not given": (lambda: batch(1).drop_columns(["id"]), Answer("INVALID_ARGUMENT", "STORAGE_ERROR_CODE_UNSPECIFIED")),
    "nulls of a required column": (lambda: pa.RecordBatch.from_pylist(rows(1) + [{"d": rows(1)[0]["d"]}] + rows(3) + [{"id": "x"}], SCHEMA.remove(0).insert(
        0, pa.field("id", pa.string())).remove(5).insert(5, pa.field("d", pa.date32()))), Answer("INVALID_ARGUMENT", "STORAGE_ERROR_CODE_UNSPECIFIED", (1, 3))),
    "a time after the year 9999": (lambda: batch(1, 2).set_column(4, "t", pa.array([0, 1 << 60], WRONG)),
                                   Answer("INVALID_ARGUMENT", "STORAGE_ERROR_CODE_UNSPECIFIED", (1,))),
    "a day after the year 9999": (lambda: batch(1, 2).set_column(5, "d", pa.array([1 << 30, 0], pa.date32())),
                                  Answer("INVALID_ARGUMENT", "STORAGE_ERROR_CODE_UNSPECIFIED", (0,))),
    "more than 10 MB": (lambda: pa.RecordBatch.from_pylist([rows(1)[0] | {"raw": bytes(10_000_001)}], SCHEMA),
                        Answer("INVALID_ARGUMENT", "STORAGE_ERROR_CODE_UNSPECIFIED")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_service_refuses(name, ours) -> None:
    table = ours.table()
    make, answer = REFUSED[name]
    assert sent(ours, table, make()) == answer and ours.ids(table) == [], "what is refused changes nothing"


def test_what_the_service_refuses_of_streams(ours) -> None:
    table = ours.table()
    assert sent(ours, table, batch(1), offset=0).code == "INVALID_ARGUMENT"
    assert sent(ours, table, batch(1), f"{path(table)}/streams/never") == Answer("NOT_FOUND", "STREAM_NOT_FOUND")
    pending = Pending(ours.write, path(table), SCHEMA, QUICK)
    pending.finish()
    assert sent(ours, table, batch(1), pending.name) == Answer("INVALID_ARGUMENT", "STREAM_FINALIZED")
    other = ours.table()
    request = types.BatchCommitWriteStreamsRequest(parent=path(other), write_streams=[pending.name])
    assert [e.code.name for e in ours.write.batch_commit_write_streams(request).stream_errors] == ["STREAM_NOT_FOUND"]
    for parent, kind, error in ((path("project.ds.nothing"), 2, exceptions.NotFound), (path("elsewhere.ds.t"), 2, exceptions.NotFound),
                                ("projects/p", 2, exceptions.InvalidArgument), (path(table), 3, exceptions.InvalidArgument)):
        with pytest.raises(error):
            ours.write.create_write_stream(types.CreateWriteStreamRequest(parent=parent, write_stream=types.WriteStream(type_=kind)), retry=None)
    with pytest.raises(exceptions.InvalidArgument):
        ours.write.finalize_write_stream(name=f"{path(table)}/streams/_default", retry=None)
    found = ours.write.get_write_stream(types.GetWriteStreamRequest(name=f"{path(table)}/streams/_default", view=types.WriteStreamView.FULL), retry=None)
    assert [(f.name, f.type_.name, f.mode.name) for f in found.table_schema.fields][:2] == [("id", "STRING", "REQUIRED"), ("n", "INT64", "NULLABLE")]


@pytest.mark.parametrize(("fault", "code", "stored"), [
    (Fault("append", "UNAVAILABLE"), "UNAVAILABLE", [2]), (Fault("append", "RESOURCE_EXHAUSTED", inline=True), "RESOURCE_EXHAUSTED", [2]),
    (Fault("append", "cut"), "UNAVAILABLE", [2]), (Fault("append", "lost"), "UNAVAILABLE", [1, 2]), (Fault("append", "drain"), "OK", [1, 2])])
def test_faults_on_request(fault, code, stored, ours) -> None:
    table = ours.table()
    ours.server.faults = [fault]
    stream = Appends(ours.write, f"{path(table)}/streams/_default", SCHEMA, QUICK.answer)
    assert stream.answer(stream.send(batch(1))).code == code and fault.times == 0
    while stream.answer(stream.send(batch(2))).code != "OK":  # where the call is just being drained, nothing is done
        assert fault.kind == "drain"
    assert ours.ids(table) == stored
    stream.close()


def test_what_is_committed_is_told_and_not_committed_again(ours) -> None:
    table = ours.table()
    stream = Pending(ours.write, path(table), SCHEMA, QUICK)
    stream.append(batch(1))
    stream.finish()
    for _ in range(3):
        commit(ours.write, path(table), [stream.name], QUICK)  # the second asks for commit_time, which bqemulator does not tell
        assert ours.ids(table) == [1]
    request = types.BatchCommitWriteStreamsRequest(parent=path(table), write_streams=[stream.name])
    assert [e.code.name for e in ours.write.batch_commit_write_streams(request).stream_errors] == ["INVALID_STREAM_STATE"]


def test_a_server_that_is_away(ours) -> None:
    with pytest.raises(Transient, match="UNAVAILABLE"):
        Rows(connect("localhost:9"), path(ours.table()), SCHEMA, Patience(0.5, 0.01, QUICK.answer)).append(batch(1))
