"""The stream job on one machine into BigQuery, by its real flags: a broker, a BigQuery with its Storage Write API, the publisher's books."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_jobs import Place as Jobs
from pipelines.sinks.bigquery_lease import Lease
from tests.bigquery_server import BigQuery
from tests.bigquery_write_server import BigQueryWrite, Fault
from tests.kills import Drive, drive
from tests.pubsub_clients import still
from tests.pubsub_server import Broker
from tests.test_stream import SUBSCRIPTION, TOPIC, ask, different, publish, short, until  # noqa: F401
from tests.test_stream import stream as stream_lake

BOOKS = ("read", "stored", "repeated", "refused", "reasons")


class Place:
    """A dataset with census' tables, its servers, and a folder to work in."""

    def __init__(self, service: BigQuery, write: BigQueryWrite) -> None:
        self.service, self.write, self.ask = service, write, service.ask

    def flags(self) -> list[str]:
        return ["--output=bq://project.ds", f"--bigquery_endpoint={self.service.url}", f"--bigquery_storage_endpoint={self.write.host}"]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Place]:
    """The tables are those of census, or of the parameter `contract`."""
    contract = request.node.callspec.params.get("contract", "census") if hasattr(request.node, "callspec") else "census"
    here = os.getcwd()
    os.chdir(tmp_path)  # .penstock stands in the working directory
    try:
        with BigQuery("project") as service, BigQueryWrite(service.store) as write:
            service.store.make_dataset("ds", {})
            assert main(["tables", f"--contract={contract}", "--output=bq://project.ds", f"--bigquery_endpoint={service.url}", "--apply"]) == 0
            capsys.readouterr()
            yield Place(service, write)
    finally:
        os.chdir(here)


def arguments(broker: Broker, place: Place, keys: Path, *more: str, contract: str = "census") -> list[str]:
    return ["stream", f"--contract={contract}", f"--subscription={SUBSCRIPTION}", f"--pubsub_endpoint={broker.host}", f"--keys={keys}", "--json",
            *place.flags(), *more]


def stream(broker: Broker, place: Place, capsys: pytest.CaptureFixture[str], keys: Path, *more: str, contract: str = "census") -> dict:
    code = main(arguments(broker, place, keys, "--until_idle=1s", "--wait=100ms", *more, contract=contract))
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == (0 if row["balanced"] else 1)
    return row


def test_books_are_the_publishers(short, place, capsys, tmp_path, key_folder) -> None:  # noqa: F811
    truth = publish(short, tmp_path, "census", "--rows=3000", "--repeats=0.05", "--conflicts=0.005", "--malformed=0.01", "--disorder=60s")
    row = stream(short, place, capsys, key_folder, "--max_messages=700")
    assert {k: row[k] for k in BOOKS} == {k: truth[k] for k in BOOKS}
    runs = place.ask("select * from ds.runs order by number")
    assert [r["number"] for r in runs] == list(range(1, len(runs) + 1)) and len(runs) >= 5
    assert all(r["balanced"] and r["read"] == r["stored"] + r["repeated"] + r["refused"] and r["job"] == "stream" for r in runs)
    assert {r["d"].isoformat(): r["n"] for r in place.ask("select d, count(*) as n from ds.events group by d")} == truth["stored_by_day"]
    assert {r["reason"]: r["n"] for r in place.ask("select reason, count(*) as n from ds.failures group by reason")} == truth["reasons"]
    assert place.ask("select count(*) as n from ds.events where run not in (select run from ds.runs)") == [{"n": 0}]
    counts = short.counts(SUBSCRIPTION)
    assert (counts.acknowledged, counts.outstanding, counts.backlog) == (truth["read"], 0, 0)


@pytest.mark.parametrize("contract", ["weblog", "telemetry"])
def test_windows_are_those_of_a_lake(short, place, capsys, tmp_path, key_folder, contract) -> None:  # noqa: F811
    """The same messages into both, with rows that join sessions, in two lives each."""
    columns = "* exclude (run, pane, is_late, model_name, model_version, model_digest)"
    with still(TOPIC, SUBSCRIPTION) as other:
        for more in (["--rows=600", "--disorder=60s", "--repeats=0.02"], ["--rows=1200", "--disorder=60s", "--late=0.02"]):
            for broker in (short, other):
                publish(broker, tmp_path, contract, *more)
            lake = stream_lake(other, capsys, contract, tmp_path / "out", key_folder, "--max_messages=400")
            row = stream(short, place, capsys, key_folder, "--max_messages=400", contract=contract)
            assert {k: row[k] for k in (*BOOKS, "fingerprint", "watermark")} == {k: lake[k] for k in (*BOOKS, "fingerprint", "watermark")}
            told = place.ask(f"select {columns} from ds.windows_latest")
            assert told and not different(told, ask(tmp_path / "out", f"select {columns} from windows"))
            assert not different(told, ask(tmp_path / "out", f"select {columns} from windows_latest"))
    assert place.ask("select sum(late) as n from ds.runs") == place.ask("select count(*) as n from ds.failures where stage = 'window'")


def test_what_comes_again_after_everything_was_stored_is_repeated(short, place, capsys, tmp_path, key_folder) -> None:  # noqa: F811
    """The second stream is on another machine: it knows from the tables what was stored, and what was refused."""
    options = ["--rows=500", "--malformed=0.02"]
    first = publish(short, tmp_path, "census", *options)
    assert stream(short, place, capsys, key_folder)["stored"] == 500
    shutil.rmtree(tmp_path / ".penstock")
    publish(short, tmp_path, "census", *options)
    row = stream(short, place, capsys, key_folder)
    assert (row["stored"], row["repeated"], row["refused"]) == (0, first["stored"], first["refused"])
    numbers = [r["number"] for r in place.ask("select number from ds.runs order by number")]
    assert numbers == list(range(1, len(numbers) + 1)), "run numbers go on where the last stream stopped"


def test_a_quota_is_waited_for_and_rejected_rows_are_failures(short, place, capsys, tmp_path, key_folder) -> None:  # noqa: F811
    place.write.faults = [Fault("^create", "RESOURCE_EXHAUSTED", times=2, after=3), Fault("^append .*events", "cut", after=2), Fault("^commit .*runs", "lost")]
    place.write.streams.rejects = lambda table, row: table[1] == "events" and row["id_hash"] % 100 == 0
    truth = publish(short, tmp_path, "census", "--rows=1000", "--repeats=0.05")
    row = stream(short, place, capsys, key_folder, "--max_messages=300")
    rejected = row["reasons"].pop("rejected_by_sink")
    assert rejected and (row["read"], row["stored"] + rejected, row["repeated"], row["reasons"]) == (truth["read"], truth["stored"], truth["repeated"], {})
    assert not any(fault.times for fault in place.write.faults)
    assert place.ask("select count(*) as n, count(distinct id_hash) as ids from ds.events") == [{"n": row["stored"], "ids": row["stored"]}]


def test_one_writes_at_a_time(short, place, capsys, tmp_path, census, key_folder) -> None:  # noqa: F811
    """A second stream is refused and told who writes, and so are a batch run beside a stream and a stream beside a batch run."""
    publish(short, tmp_path, "census", "--rows=100")
    batch = ["batch", "--contract=census", f"--input={census}/*.ndjson", f"--keys={key_folder}", "--partition=2026-03-04", *place.flags()[:2]]
    job = subprocess.Popen([sys.executable, "-m", "pipelines", *arguments(short, place, key_folder, "--wait=100ms")], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: place.ask("select count(*) as n from ds.events")[0]["n"] == 100)
        assert main(arguments(short, place, key_folder)) == 2
        assert f"process {job.pid}" in (told := capsys.readouterr().err) and SUBSCRIPTION in told
        assert main(batch) == 2
        assert f"is being written by the stream of {SUBSCRIPTION} on " in capsys.readouterr().err
    finally:
        job.send_signal(signal.SIGTERM)
        out, err = job.communicate(timeout=300)
    assert job.returncode == 0 and json.loads(out.splitlines()[-1])["stored"] == 100, err
    nightly = Lease(Jobs(connect("project", place.service.url), "EU", Patience()), Dataset("project", "ds"), "nightly", [date(2026, 3, 4)])
    nightly.take()
    assert main(arguments(short, place, key_folder)) == 2
    assert "is being written by run nightly" in capsys.readouterr().err
    nightly.release()
    assert main(batch) == 0, "nobody holds the tables any more"


@pytest.mark.parametrize(("more", "words"), [
    (["--output=bq://project.none"], ["bq://project.none: is no dataset"]),
    (["--output=bq://nothing", "--for=soon"], ["--for: is not a span of time"]),
    (["--output=bq://nothing"], ["--output: is no BigQuery dataset"]),
    (["--write=insert_all"], ["--write: insert_all is a way of the streaming graph"]),
    (["--contract=telemetry"], ["ds: events: has another form", "ds: windows: is missing; make it: penstock tables --apply"]),
    (["--bigquery_endpoint=http://example.com"], ["--bigquery_endpoint: is neither"]),
    (["--bigquery_storage_endpoint=example.com"], ["--bigquery_storage_endpoint: is neither"]),
])
def test_what_cannot_run_says_why_and_leaves_nothing(short, place, key_folder, tmp_path, capsys, more, words) -> None:  # noqa: F811
    kept = [a for a in arguments(short, place, key_folder) if not any(a.startswith(m.split("=")[0] + "=") for m in more)]
    assert main([*kept, *more]) == 2
    told = capsys.readouterr().err
    assert all(word in told for word in words), told
    assert not (tmp_path / ".penstock").exists() and place.write.calls == []


@pytest.mark.timeout(1800)
def test_killed_again_and_again_it_loses_nothing_and_stores_nothing_twice() -> None:
    """By SIGKILL, while calls fail; every step of a commit is in test_stream_bigquery_commit, and by SIGKILL in `make kill`."""
    report = drive(Drive("weblog", 3, seed=2, bigquery=True))
    assert report.faults == {} and report.figures["stored"] > 500 and report.figures["windows"] > 50
