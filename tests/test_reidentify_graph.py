"""The reidentify graph for Dataflow, run whole on one machine: keys out of Secret Manager, tables to a table, no folder and no bucket."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2

from pipelines import reidentify_graph
from pipelines.__main__ import main
from pipelines.flags import parse
from pipelines.options import ReidentifyOptions
from pipelines.reidentify_checks import Checked, check
from pipelines.reidentify_parts import build
from pipelines.reidentify_tables import DatasetTables
from pipelines.secret_keys import payload
from pipelines.starting import Faults
from tests import bigquery_server, bigquery_write_server, graphs
from tests.reidentifying import World, world_of
from tests.secret_server import VERSION, Service, serve
from tests.test_batch_graph import Job

PEOPLE = "select application_id, email, ssn from events"


class Ground(NamedTuple):
    world: World
    secrets: str

    def flags(self, table: str, *more: str) -> list[str]:
        return self.world.job(table, "--requested_by=ann@bank", f"--secrets_endpoint={self.secrets}", *more, sql=PEOPLE, keys=VERSION)

    def checked(self, table: str, *more: str, most: int = 50) -> Checked:
        """What a job of Dataflow's is built of, its batches small."""
        options, _ = parse(ReidentifyOptions, self.flags(table, *more)[1:])
        found = check(options, Faults(), options.requested_by, "worker@project.iam.gserviceaccount.com")
        assert isinstance(found.tables, DatasetTables)
        found.tables.question = replace(found.tables.question, most=most)
        return found

    def run(self, checked: Checked) -> None:
        pipeline = beam.Pipeline("FnApiRunner", options=PipelineOptions([]))
        build(pipeline, reidentify_graph.parts(checked))
        pipeline.run().wait_until_finish()


@pytest.fixture(scope="module")
def ground(key_folder, tmp_path_factory) -> Iterator[Ground]:
    server, address = serve(Service(payload(key_folder)))
    with world_of(key_folder, tmp_path_factory.mktemp("ground")) as world:
        yield Ground(world, address)
    server.stop(0)


def test_the_graph_gives_what_one_machine_gives(ground) -> None:
    w = ground.world
    checked = ground.checked("graph")
    assert ("clear", "graph") not in w.bigquery.store.tables and ("ds", "reidentifications") not in w.bigquery.store.tables, "checks make nothing"
    ground.run(checked)
    assert len(w.rows("graph")) > 200 and w.as_read(w.rows("graph"))
    (row,) = w.audit()
    assert (row["who"], row["account"], row["rows"]) == ("ann@bank", "worker@project.iam.gserviceaccount.com", len(w.rows("graph")))
    assert row["turned_back"] == sum(r[c] not in (None, "") for r in w.rows("graph") for c in ("email", "ssn")) and row["no_token"] == 0
    assert main(w.job("here", sql=PEOPLE)) == 0
    assert w.rows("here") == w.rows("graph")


def test_the_graph_asks_dlp(ground, world) -> None:
    w = ground.world
    ground.run(ground.checked("dlp", "--engine=dlp", "--project=penstock-demo", f"--dlp_endpoint={world.address}"))
    assert len(w.rows("dlp")) > 200 and w.as_read(w.rows("dlp")) and w.audit()[-1]["engine"] == "dlp"
    assert len(world.service.calls) > 1, "batches are asked for one by one"


def test_a_job_that_dies_shows_nothing_and_can_be_run_again(ground) -> None:
    w, before = ground.world, len(ground.world.audit())
    checked = ground.checked("dies")
    w.bigquery.faults.append(bigquery_server.Fault("load ds.reidentifications", "fails", "invalid"))
    with pytest.raises(Exception, match="refused to load ds.reidentifications"):
        ground.run(checked)
    assert w.rows("dies") == [] and len(w.audit()) == before
    w.write.faults.append(bigquery_write_server.Fault("append .*dies", "PERMISSION_DENIED", after=2))
    with pytest.raises(Exception, match="dies: "):
        ground.run(checked)
    assert w.rows("dies") == [] and len(w.audit()) == before
    ground.run(checked)
    assert len(w.audit()) == before + 1 and w.as_read(w.rows("dies")) and len(w.rows("dies")) > 200
    with pytest.raises(Exception, match="is not empty"):
        ground.run(replace(checked, destination=replace(checked.destination, run="later")))


def test_what_a_bug_says_holds_no_value(ground) -> None:
    """An error that nobody foresaw, with values in its text, between the values and the table."""
    checked = ground.checked("bug")

    class Broken:
        """Stands for a reverser with a bug."""

        def faults(self) -> list:
            return []

        def start(self) -> "Broken":
            return self

        def setup(self) -> None: ...

        def reverse(self, batch):
            raise ValueError(f"what is {batch['email'].to_pylist()}?")

    with pytest.raises(Exception, match="ValueError at ") as caught:
        ground.run(replace(checked, reverser=Broken()))
    assert "what is" not in str(caught.value)


def test_the_graph_dry_runs(ground, capsys) -> None:
    """Everything is looked at that a launch needs, and nothing is done."""
    w, tables, before = ground.world, set(ground.world.bigquery.store.tables), len(ground.world.audit())
    arguments = [*ground.flags("dry"), "--runner=DataflowRunner", "--project=project", "--region=europe-west4", "--temp_location=gs://load/temp"]
    assert main([*arguments, "--dry_run=true"]) == 0
    assert "the graph of census 1.0 was built and dry-run for Dataflow" in capsys.readouterr().out
    assert set(w.bigquery.store.tables) == tables and len(w.audit()) == before
    assert main([a for a in [*arguments, "--dry_run=true"] if not a.startswith("--requested_by")]) == 2
    assert "--requested_by: is missing" in capsys.readouterr().err
    assert main([*ground.world.job("/tmp/private", "--requested_by=ann", sql=PEOPLE, keys=VERSION), *arguments[-4:], "--dry_run=true"]) == 2
    assert "--destination: is on one machine" in capsys.readouterr().err


def test_the_end_of_a_submitted_job_is_told(ground, capsys) -> None:
    checked = ground.checked("ended")
    checked.tables.audit.prepare()
    for state, expected in (("FAILED", "ended as FAILED"), ("CANCELLED", "ended as CANCELLED"), ("DONE", "no audit row")):
        assert reidentify_graph.ended(Job(state), checked, False) == 1
        told = capsys.readouterr()
        assert expected in told.err and "078-05-1120" not in told.err + told.out
    ground.run(checked)
    assert reidentify_graph.ended(Job("DONE"), checked, True) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["run"] == checked.row.run


def test_values_are_never_shuffled(key_folder) -> None:
    """What turns tokens back gives its rows to what writes them and to nothing else: Dataflow fuses the two, so the rows stay in the worker's memory."""
    transforms = graphs.reidentify("census", str(key_folder)).to_runner_api().components.transforms.values()
    leaves = {t.unique_name: t for t in transforms if not t.subtransforms}
    (rows,) = (of for tag, of in leaves["Reidentify/TurnBack/ParDo(_ReidentifyFn)"].outputs.items() if tag != "turned")
    assert [name for name, t in leaves.items() if rows in t.inputs.values()] == ["Write/ToStream"]
    sides = [beam_runner_api_pb2.ParDoPayload.FromString(leaves[name].spec.payload).side_inputs
             for name in ("Reidentify/TurnBack/ParDo(_ReidentifyFn)", "Write/ToStream")]
    assert not any(sides)
