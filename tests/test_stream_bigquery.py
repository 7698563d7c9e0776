"""The stream job on one machine into BigQuery, by its real flags: a broker, a BigQuery with its Storage Write API, the publisher's books."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.__main__ import main
from tests.bigquery_server import BigQuery
from tests.bigquery_write_server import BigQueryWrite
from tests.pubsub_server import Broker
from tests.test_stream import SUBSCRIPTION, TOPIC, ask, different, publish, short  # noqa: F401
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


def stream(broker: Broker, place: Place, capsys: pytest.CaptureFixture[str], keys: Path, *more: str, contract: str = "census") -> dict:
    code = main(["stream", f"--contract={contract}", f"--subscription={SUBSCRIPTION}", f"--pubsub_endpoint={broker.host}", f"--keys={keys}", "--json",
                 "--until_idle=1s", "--wait=100ms", *place.flags(), *more])
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


@pytest.mark.parametrize("contract", ["weblog", "telemetry", "gaming"])
def test_windows_are_those_of_a_lake(short, place, capsys, tmp_path, key_folder, contract) -> None:  # noqa: F811
    """The same messages into both, with rows that join sessions, in two lives each."""
    columns = "* exclude (run, pane, is_late, model_name, model_version, model_digest)"
    with Broker(shortest_deadline=1) as other:
        other.create(TOPIC, SUBSCRIPTION, seconds=1)
        for more in (["--rows=1500", "--disorder=60s", "--repeats=0.02"], ["--rows=3000", "--disorder=60s", "--late=0.02"]):
            for broker in (short, other):
                publish(broker, tmp_path, contract, *more)
            lake = stream_lake(other, capsys, contract, tmp_path / "out", key_folder, "--max_messages=400")
            row = stream(short, place, capsys, key_folder, "--max_messages=400", contract=contract)
            assert {k: row[k] for k in (*BOOKS, "fingerprint", "watermark")} == {k: lake[k] for k in (*BOOKS, "fingerprint", "watermark")}
            told = place.ask(f"select {columns} from ds.windows_latest")
            assert told and not different(told, ask(tmp_path / "out", f"select {columns} from windows"))
            assert not different(told, ask(tmp_path / "out", f"select {columns} from windows_latest"))
    assert place.ask("select sum(late) as n from ds.runs") == place.ask("select count(*) as n from ds.failures where stage = 'window'")
