"""The stream job as one unbounded graph, for Dataflow: the same options, the same stages, other forms of the parts."""

import secrets
from collections.abc import Callable
from datetime import datetime, timezone

import apache_beam as beam
import pyarrow as pa
from apache_beam.typehints.decorators import no_annotations

from pipelines import graph
from pipelines.contracts import load
from pipelines.keyfolder import open_keys
from pipelines.launch.submitting import dataflow_options, label, submit
from pipelines.options import StreamOptions
from pipelines.sinks.append_rows import AppendRows
from pipelines.sinks.bigquery import Dataset, InsertRows, KeepBooks, dataset
from pipelines.sinks.loaded import Loaded
from pipelines.sinks.write_once import WriteOnce, expansion_service
from pipelines.sources.subscription import ReadSubscription
from pipelines.starting import Faults, Means, lineage_of, means_of
from pipelines.window_rows import Complete
from schemas.arrow import stored_columns, window_columns
from schemas.contract import Contract
from schemas.tables import FAILURES, RUNS
from transforms.columns import Typing
from transforms.decode import Digest, decode
from transforms.formats.block import Block
from transforms.formats.messages import Front, front
from transforms.gather import Gather
from transforms.keys import Keys
from transforms.window_stream import WindowStream


def run(options: StreamOptions, beam_arguments: list[str]) -> int:
    """Builds the graph, and dry-runs it, writes it as a job file or submits it; a stream that runs is not waited for.

    Raises Misconfigured, with every fault, where it cannot.
    """
    faults = Faults()
    given = faults.of(lambda: dataflow_options(options, beam_arguments, "--streaming"))
    contract = faults.of(lambda: load(options.contract, options.allow_unwrapped_keys, options.storage_endpoint))
    tables = faults.of(lambda: dataset(options.output))
    if options.keys.startswith("projects/"):
        faults.stop()  # before anybody is asked
    if tables:
        faults.of(lambda: sink(options, tables))
    means = means_of(options, contract, faults, lambda: open_keys(options.keys, not faults.found, options.secrets_endpoint))
    faults.stop()
    assert contract and given and tables and means
    label(given, contract)
    pipeline = beam.Pipeline(options=given)
    graph.build(pipeline, parts(options, contract, means, tables, ReadSubscription(options.subscription)))
    submit(pipeline, given, contract)
    return 0


def parts(options: StreamOptions, contract: Contract, means: Means, tables: Dataset, read: beam.PTransform) -> graph.Parts:
    """The parts of the streaming graph; read gives Messages. Raises Misconfigured."""
    keys, engine, handler = means
    run_id = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    known = front(contract, options.id_attribute, options.time_attribute)
    insert = sink(options, tables)
    return graph.Parts(
        contract=contract, read=read, decode=None,
        deduplicate=Gather(contract, options.subscription, Decoder(contract, keys, known), known, options.shards, wait=options.wait), engine=engine,
        handler=handler, public_pem=keys.public_pem(), run=run_id,
        events=insert("events", stored_columns(contract), run_id), failures=insert("failures", FAILURES),
        window=WindowStream(contract) if contract.windows else None,
        windows=LoadWindows(contract, run_id, insert("windows", window_columns(contract))) if contract.windows else None,
        outcome=KeepBooks(insert("runs", RUNS), run_id, f"{contract.name} {contract.version}", lineage_of(options.engine, engine)))


def sink(options: StreamOptions, tables: Dataset) -> Callable[..., beam.PTransform]:
    """What makes the sink of a table of its name, its columns, and the run where its rows are events. Raises Misconfigured."""
    if options.write == "insert_all":
        return lambda name, columns, run="": InsertRows(tables.table(name), columns, run)
    if options.write == "exactly_once":
        service = expansion_service(options.expansion_service)
        return lambda name, columns, run="": WriteOnce(tables.table(name), columns, run, service)
    return lambda name, columns, run="": AppendRows(tables.path(name), columns, run, options.bigquery_storage_endpoint)


class LoadWindows(beam.PTransform):
    """Panes to rows of the windows table, scored. A pane that is told again is a row more: the greatest `pane` is the last word."""

    def __init__(self, contract: Contract, run_id: str, insert: beam.PTransform) -> None:
        super().__init__()
        self.complete, self.insert = Complete(contract, run_id), insert

    @no_annotations  # Beam cannot read those of several collections
    def expand(self, panes: beam.PCollection[pa.RecordBatch]) -> Loaded:
        loaded: Loaded = panes | "Complete" >> self.complete | "Insert" >> self.insert
        return loaded


class Decoder:
    """Makes what decodes a block of messages, in the worker."""

    def __init__(self, contract: Contract, keys: Keys, known: Front) -> None:
        self.contract, self.keys, self.known = contract, keys, known

    def __call__(self) -> Callable[[Block], tuple[pa.RecordBatch, pa.RecordBatch]]:
        typing, digest = Typing(self.contract), Digest(self.contract, self.keys.derive("row digests"))
        return lambda block: decode(block, self.contract, typing, digest, front=self.known)
