"""The graphs for Dataflow in a normal form, kept in tests/golden, and whether a job that streams can be updated to today's.

    python -m tests.graphs            says what has changed
    python -m tests.graphs --write    keeps today's graphs; refused where a running job could not be updated to them
    python -m tests.graphs --drain    keeps them all the same: running jobs must be drained before this version

A batch job is never updated: of its graph only what has changed is told.

A job on Dataflow is updated by a new graph under the same job name; it finds state and data in flight by the full names of
transforms. tests/golden/mappings.json holds what was renamed, {old name: new name}, "" for what is gone: the value of
--transform_name_mapping (cloud.google.com/dataflow/docs/guides/updating-a-pipeline).
"""

import json
import sys
import tempfile
from collections.abc import Callable
from datetime import date, datetime, timezone
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import batch_graph, graph, reidentify_graph, reidentify_parts, replay_graph, stream_graph
from pipelines.launch.graph_shape import Graph, changed, incompatible, normal
from pipelines.options import BatchOptions, ReplayOptions, StreamOptions
from pipelines.reidentify_parts import Parts
from pipelines.sinks.audit import Reidentification
from pipelines.sinks.bigquery import dataset
from pipelines.sinks.bigquery_audit import DatasetAudit
from pipelines.sinks.replays import Choice
from pipelines.sinks.restricted_table import RestrictedTable
from pipelines.sources.listing import InputFile
from pipelines.sources.query_bigquery import Question
from pipelines.sources.subscription import ReadSubscription
from pipelines.starting import Faults, means_of
from schemas.contract import load
from transforms import keys
from transforms.engines.reversal_local import LocalReverser

GOLDEN = Path(__file__).parent / "golden"
MAPPINGS = "mappings.json"
CONTRACTS = ("census", "telemetry")  # streams without and with windows: the graphs of the others are the same


def streaming(contract: str, key_folder: str, given: PipelineOptions | None = None) -> beam.Pipeline:
    """The graph that `penstock stream --runner=DataflowRunner` runs, not run. given: in place of options that need no credentials."""
    options = StreamOptions(contract=contract, subscription="projects/project/subscriptions/events", output="bq://project.penstock",
                            project="project", keys=key_folder)
    loaded, ring = load(contract), keys.Keys(key_folder)
    pipeline = beam.Pipeline(options=given or PipelineOptions(["--runner=FnApiRunner", "--streaming"]))
    graph.build(pipeline, stream_graph.parts(options, loaded, means_of(options, loaded, Faults(), lambda: ring), dataset(options.output),
                                             ReadSubscription(options.subscription)))
    return pipeline


def batch(contract: str, key_folder: str) -> beam.Pipeline:
    """The graph that `penstock batch --runner=DataflowRunner` runs on two files, not run."""
    options = BatchOptions(contract=contract, input="gs://raw/*", output="bq://project.penstock", staging="gs://bucket/load", project="project",
                           keys=key_folder, partition=(date(2026, 3, 4),))
    loaded, ring = load(contract), keys.Keys(key_folder)
    files = tuple(InputFile(f"gs://raw/{name}.ndjson", 1_000, at, "ndjson", 1) for at, name in enumerate("ab"))
    pipeline = beam.Pipeline("FnApiRunner", options=PipelineOptions([]))
    means = means_of(options, loaded, Faults(), lambda: ring)
    graph.build(pipeline, batch_graph.parts(options, loaded, means, files, batch_graph.Tables(dataset(options.output), "EU", options.staging), "run"))
    return pipeline


def replay(contract: str, key_folder: str) -> beam.Pipeline:
    """The graph that `penstock replay --runner=DataflowRunner` runs, not run."""
    key = "projects/project/locations/europe-west4/keyRings/penstock/cryptoKeys/failures/cryptoKeyVersions/1"
    options = ReplayOptions(contract=contract, failures="bq://project.penstock", private_key=key, staging="gs://bucket/load", project="project", keys=key_folder)
    loaded, ring = load(contract), keys.Keys(key_folder)
    means = means_of(options, loaded, Faults(), lambda: ring)
    pipeline = beam.Pipeline("FnApiRunner", options=PipelineOptions([]))
    graph.build(pipeline, replay_graph.parts(options, means, replay_graph.replaying_of(options, loaded, means, "EU"), Choice(crashes=False)))
    return pipeline


def reidentify(contract: str, key_folder: str) -> beam.Pipeline:
    """The graph that `penstock reidentify --runner=DataflowRunner` runs, not run."""
    loaded, tables, now = load(contract), dataset("bq://project.penstock"), datetime(2026, 3, 4, tzinfo=timezone.utc)
    audit, destination = DatasetAudit(tables, "EU"), RestrictedTable.of("bq://project.penstock_restricted.case", "run")
    answer = pa.schema([("email", pa.string())])
    read = reidentify_graph.AskPrepared(audit, destination, answer, Question(tables, "EU", "select email from events"), answer)
    row = Reidentification("run", "ann", "worker", "why", ("email",), contract, "local", "0" * 64, destination.name, now, now)
    pipeline = beam.Pipeline("FnApiRunner", options=PipelineOptions([]))
    reidentify_parts.build(pipeline, Parts(read, LocalReverser(loaded, ("email",), keys.Keys(key_folder)), destination, answer, audit, row))
    return pipeline


GRAPHS: dict[str, tuple[Callable[[str, str], beam.Pipeline], str]] = {
    **{contract: (streaming, contract) for contract in CONTRACTS}, "batch": (batch, "census"), "replay": (replay, "census"), "reidentify": (reidentify, "census")}


def built(name: str, key_folder: str) -> Graph:
    """Today's graph of this name."""
    make, contract = GRAPHS[name]
    return normal(make(contract, key_folder).to_runner_api())


def read(name: str) -> Graph | None:
    path = GOLDEN / f"{name}.json"
    found: Graph | None = json.loads(path.read_text()) if path.exists() else None
    return found


def mappings() -> dict[str, str]:
    found: dict[str, str] = json.loads((GOLDEN / MAPPINGS).read_text())
    return found


def write(name: str, form: Graph) -> None:
    (GOLDEN / f"{name}.json").write_text(json.dumps(form, indent=1) + "\n")


def main(arguments: list[str]) -> int:
    broken = other = 0
    with tempfile.TemporaryDirectory() as folder:
        keys.make(Path(folder, "keys"))
        for name in GRAPHS:
            new, old = built(name, str(Path(folder, "keys"))), read(name)
            why = list(incompatible(old, new, mappings())) if old and name in CONTRACTS else []
            what = list(changed(old, new)) if old else ["the graph is new"]
            for line in why:
                print(f"{name}: INCOMPATIBLE: {line}")
            for line in what:
                print(f"{name}: {line}")
            broken, other = broken + len(why), other + len(what)
            if "--drain" in arguments or ("--write" in arguments and not why):
                write(name, new)
    if broken and "--drain" not in arguments:
        print("running jobs could not be updated to this version: take the change back, or map names, or drain them and say --drain")
        return 1
    return 1 if other and not arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
