"""The batch graph for Dataflow, run whole on one machine: files, staging, keys and tables out of services, no folder shared."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam
import pytest
from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException

from pipelines import batch_graph, contracts, graph
from pipelines.__main__ import main
from pipelines.flags import parse, written
from pipelines.keyfolder import open_keys
from pipelines.launch import submitting
from pipelines.options import BatchOptions
from pipelines.secret_keys import payload
from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_replace import Target
from pipelines.sinks.bigquery_tables import apply, compare, wanted_tables
from pipelines.sources.listing import listed
from pipelines.starting import Faults, means_of
from schemas.contract import SHIPPED, load
from tests.bigquery_server import BigQuery, Fault
from tests.gcs_server import Storage
from tests.secret_server import VERSION, Service, serve

DAYS = (date(2026, 3, 4), date(2026, 3, 5))
QUICK = Patience(seconds=600.0, first=0.02, answer=300.0, job=600.0)


class Ground(NamedTuple):
    storage: Storage
    bigquery: BigQuery
    options: BatchOptions

    def run(self, name: str) -> None:
        """Builds the graph as a job of Dataflow's is built, and runs it."""
        options = self.options
        contract = contracts.load(options.contract, storage_endpoint=options.storage_endpoint)
        files = listed(options.input, options.storage_endpoint)
        means = means_of(options, contract, Faults(), lambda: open_keys(options.keys, endpoint=options.secrets_endpoint))
        assert means is not None
        pipeline = beam.Pipeline("FnApiRunner")
        tables = batch_graph.Tables(Dataset("project", "ds"), "EU", options.staging)
        graph.build(pipeline, batch_graph.parts(options, contract, means, files, tables, name))
        pipeline.run().wait_until_finish()

    def ask(self, sql: str) -> list[dict]:
        return self.bigquery.ask(sql)


@pytest.fixture(scope="module")
def ground(tmp_path_factory, census, key_folder) -> Iterator[Ground]:
    """With a run in its tables, named dataflow."""
    tmp_path = tmp_path_factory.mktemp("ground")
    secrets = Service(payload(key_folder))
    server, address = serve(secrets)
    with Storage(tmp_path / "gcs", "raw", "load") as storage, BigQuery("project", gcs=str(tmp_path / "gcs")) as bigquery:
        bigquery.store.make_dataset("ds", {})
        client, here = connect("project", bigquery.url), Dataset("project", "ds")
        for table in compare(client, here, wanted_tables(load("census"), ""), QUICK):
            apply(client, here, table, QUICK)
        lines = Path(next(census.glob("*.ndjson"))).read_bytes().splitlines(keepends=True)
        for number in range(2):
            storage.put("raw", f"day/{number}.ndjson", b"".join(lines[number::2]))
        options, _ = parse(BatchOptions, ["--contract=census", "--input=gs://raw/day/*", "--output=bq://project.ds", "--staging=gs://load/here",
                                          f"--partition={DAYS[0]},{DAYS[1]}", f"--keys={VERSION}", f"--secrets_endpoint={address}",
                                          f"--bigquery_endpoint={bigquery.url}", f"--storage_endpoint={storage.url}"])
        ground = Ground(storage, bigquery, options)
        ground.run("dataflow")
        yield ground
    server.stop(0)


def test_the_graph_stores_what_batch_stores(ground, tmp_path, key_folder, capsys) -> None:
    """The same rows, fates and reasons as the job on one machine, with the same keys out of a folder; nothing staged is left, no day is held."""
    told = ground.ask("select * from ds.runs where run = 'dataflow'")[0]
    rows = sorted(map(str, ground.ask("select * from ds.events")))
    failed = ground.ask("select stage, reason, field, d, count(*) as n from ds.failures where run = 'dataflow' group by all order by all")
    assert told["balanced"] and told["stored"] == len(rows) > 100 and told["refused"] > 10 and told["repeated"] > 0
    assert ground.storage.names("load") == [] and not [table for table in ground.bigquery.store.tables if "writing" in str(table)]
    options = ground.options
    assert main(["batch", "--contract=census", f"--input={options.input}", f"--output={options.output}", f"--staging={tmp_path / 'here'}", "--run=here",
                 f"--partition={DAYS[0]},{DAYS[1]}", f"--keys={key_folder}", f"--bigquery_endpoint={options.bigquery_endpoint}",
                 f"--storage_endpoint={options.storage_endpoint}"]) == 0
    capsys.readouterr()
    here = ground.ask("select * from ds.runs where run = 'here'")[0]
    assert [here[name] for name in ("read", "stored", "repeated", "refused", "reasons", "fingerprint", "partitions")] == [
        told[name] for name in ("read", "stored", "repeated", "refused", "reasons", "fingerprint", "partitions")]
    assert sorted(map(str, ground.ask("select * from ds.events"))) == rows
    assert ground.ask("select stage, reason, field, d, count(*) as n from ds.failures where run = 'here' group by all order by all") == failed
    assert sum(json.loads(here["reasons"]).values()) == here["refused"]


def test_a_job_that_is_tried_again_under_its_run_id_adds_nothing(ground) -> None:
    def tables() -> list[list[dict]]:
        return [ground.ask(f"select {what}") for what in ("count(*) as n, sum(id_hash % 1000) as s from ds.events", "count(*) as n from ds.failures", "* from ds.runs")]

    before = tables()
    ground.run("dataflow")
    assert tables() == before and ground.storage.names("load") == []


def test_a_contract_out_of_a_bucket_stores_the_same(ground) -> None:
    """The model too comes from there, by its generation."""
    for file in ("contract.yaml", "event.avsc", "inspect.json", "deidentify.json", "model.json", "model.onnx"):
        ground.storage.put("raw", f"contracts/mine/{file}", (SHIPPED / "census" / file).read_bytes())
    before = len(ground.storage.calls)
    ground._replace(options=replace(ground.options, contract="gs://raw/contracts/mine")).run("mine")
    assert len([call for call in ground.storage.calls[before:] if "model.onnx" in call]) >= 2, "when it was checked, and by a worker"
    here, there = (ground.ask(f"select * from ds.runs where run = '{run}'")[0] for run in ("dataflow", "mine"))
    same = ("read", "stored", "repeated", "refused", "reasons", "fingerprint", "partitions", "contract")
    assert [there[name] for name in same] == [here[name] for name in same] and there["balanced"]


def test_the_graph_dry_runs(ground, capsys) -> None:
    """Everything is looked at that a launch needs, and nothing is done."""
    arguments = ["batch", *written(ground.options), "--runner=DataflowRunner", "--project=project", "--region=europe-west4", "--temp_location=gs://load/temp"]
    before = ground.ask("select count(*) as n from ds.runs")
    assert main([*arguments, "--dry_run=true"]) == 0
    assert "the graph of census 1.0 was built and dry-run for Dataflow" in capsys.readouterr().out
    assert ground.ask("select count(*) as n from ds.runs") == before and ground.storage.names("load") == []
    (missing,) = [a for a in arguments if a.startswith("--input=")]
    assert main([*(a if a != missing else "--input=gs://raw/none/*" for a in arguments), "--dry_run=true"]) == 2
    assert "gs://raw/none/*" in capsys.readouterr().err


class Job:
    """What Beam answers of a submitted job that has ended."""

    def __init__(self, state: str) -> None:
        self.state = state

    def job_id(self) -> str:
        return "2026-03-04_1"

    def wait_until_finish(self) -> str:
        if self.state == "FAILED":
            raise DataflowRuntimeException("Dataflow pipeline failed. Error: 078-05-1120", self)
        return self.state


def test_the_books_of_a_submitted_job_are_told(ground, capsys) -> None:
    options = replace(ground.options, json=True)
    target = Target.of(options.output, load("census"), options.partition, options.bigquery_endpoint, options.staging, options.storage_endpoint, QUICK)

    def ended(state: str, run: str) -> int:
        return submitting.ended(Job(state), lambda: target.done(run), "batch", run, options.output, options.json)

    assert ended("DONE", "dataflow") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["run"] == "dataflow"
    for state, run, expected in (("FAILED", "dataflow", "ended as FAILED"), ("CANCELLED", "dataflow", "ended as CANCELLED"), ("DONE", "nowhere", "not in the ledger")):
        assert ended(state, run) == 1
        told = capsys.readouterr()
        assert expected in told.err and "078-05-1120" not in told.err + told.out


def test_a_job_whose_load_fails_fails_and_is_not_in_the_books(ground) -> None:
    ground.bigquery.faults.append(Fault("load ds.events", "fails", "invalid", times=20))
    with pytest.raises(Exception, match="refused to load ds.events"):
        ground.run("refused")
    assert ground.ask("select count(*) as n from ds.runs where run = 'refused'")[0]["n"] == 0
