"""The stream job as one unbounded graph, for Dataflow: the same options, the same stages, other forms of the parts."""

import secrets
from collections.abc import Callable
from datetime import datetime, timezone

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.typehints.decorators import no_annotations

from pipelines import graph
from pipelines.keyfolder import open_keys
from pipelines.options import StreamOptions
from pipelines.sinks.bigquery import Dataset, InsertRows, KeepBooks, dataset
from pipelines.sinks.loaded import Loaded
from pipelines.sources.subscription import ReadSubscription
from pipelines.starting import Faults, Means, lineage_of, means_of
from pipelines.window_rows import Complete
from schemas.arrow import stored_columns, window_columns
from schemas.contract import Contract, load
from schemas.errors import Fault, Misconfigured
from schemas.tables import FAILURES
from transforms.columns import Typing
from transforms.decode import Digest, decode
from transforms.formats.block import Block
from transforms.formats.messages import Front, front
from transforms.gather import Gather
from transforms.keys import Keys
from transforms.window_stream import WindowStream

RUNNER = "DataflowRunner"


def run(options: StreamOptions, beam_arguments: list[str]) -> int:
    """Builds the graph and dry-runs it. Raises Misconfigured, with every fault, where it cannot."""
    faults = Faults()
    given = faults.of(lambda: _options(options, beam_arguments))
    contract = faults.of(lambda: load(options.contract, options.allow_unwrapped_keys))
    tables = faults.of(lambda: dataset(options.output))
    means = means_of(options, contract, faults, lambda: open_keys(options.keys, make=not faults.found))
    faults.stop()
    assert contract and given and tables and means
    pipeline = beam.Pipeline(RUNNER, options=given)
    graph.build(pipeline, parts(options, contract, means, tables, ReadSubscription(options.subscription)))
    pipeline.run()
    steps = len(pipeline.to_runner_api().components.transforms)
    print(f"the graph of {contract.name} {contract.version} was built and dry-run for Dataflow: {steps} transforms")
    return 0


def parts(options: StreamOptions, contract: Contract, means: Means, tables: Dataset, read: beam.PTransform) -> graph.Parts:
    """The parts of the streaming graph; read gives Messages."""
    keys, engine, handler = means
    run_id = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    known = front(contract, options.id_attribute, options.time_attribute)
    return graph.Parts(
        contract=contract, read=read, decode=None,
        deduplicate=Gather(contract, options.subscription, Decoder(contract, keys, known), known, wait=options.wait), engine=engine,
        handler=handler, public_pem=keys.public_pem(), run=run_id,
        events=InsertRows(tables.table("events"), stored_columns(contract), run_id),
        failures=InsertRows(tables.table("failures"), FAILURES),
        window=WindowStream(contract) if contract.windows else None,
        windows=LoadWindows(contract, run_id, tables.table("windows")) if contract.windows else None,
        outcome=KeepBooks(tables.table("runs"), run_id, f"{contract.name} {contract.version}", lineage_of(options.engine, engine)))


class LoadWindows(beam.PTransform):
    """Panes to rows of the windows table, scored. A pane that is told again is a row more: the greatest `pane` is the last word."""

    def __init__(self, contract: Contract, run_id: str, table: str) -> None:
        super().__init__()
        self.complete, self.insert = Complete(contract, run_id), InsertRows(table, window_columns(contract))

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


def _options(options: StreamOptions, arguments: list[str]) -> PipelineOptions:
    """Beam's options for Dataflow. Raises Misconfigured."""
    given = PipelineOptions([*arguments, f"--project={options.project}", "--no_save_main_session", "--streaming",
                             "--experiments=disable_always_on_exception_sampling"])  # it would write the element that failed into a bucket
    faults = []
    if not given.get_all_options().get("dry_run"):
        faults.append(Fault("--runner=DataflowRunner", "is not launched from here yet: its workers have no way to a key folder",
                            "give --dry_run=true to build and check the graph"))
    cloud = given.view_as(GoogleCloudOptions)
    for name in ("project", "region", "temp_location"):
        if not getattr(cloud, name):
            faults.append(Fault(f"--{name}", "is missing: Dataflow needs it", f"give --{name}=..."))
    if faults:
        raise Misconfigured(faults)
    return given
