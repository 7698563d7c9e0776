"""The batch job: files to tables. Adds rows, or replaces exactly the days of --partition."""

import gc
import logging
import secrets
import sys
from datetime import datetime, timezone

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import batch_graph, graph
from pipelines.contracts import load
from pipelines.launch.submitting import RUNNER
from pipelines.options import BatchOptions
from pipelines.progress import Watch
from pipelines.sinks.bigquery_jobs import Failed
from pipelines.sinks.bigquery_replace import Replacement, Target
from pipelines.sinks.lake import Lake
from pipelines.sources.files import ReadFiles
from pipelines.sources.listing import listed
from pipelines.sources.verdict import VERDICT
from pipelines.starting import Faults, beam_options, lineage_of, means_for
from pipelines.stopping import unwinding
from schemas.contract import Contract
from schemas.errors import Transient
from transforms.decode import Decode
from transforms.deduplicate import Deduplicate
from transforms.ledger import LedgerRow
from transforms.park import Park
from transforms.unquoted import frames

SHARD_BYTES = 1 << 30  # of input a shard: about two million rows' digests


def run(options: BatchOptions, beam_arguments: list[str]) -> int:
    """Runs the job on this machine, or hands its graph to Dataflow; exit code 0 where it is done and balanced, 1 where it failed.

    Raises Misconfigured, with every fault, where it cannot run.
    """
    if options.runner == RUNNER:
        return batch_graph.run(options, beam_arguments)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # its errors quote elements
    faults = Faults()
    given = faults.of(lambda: beam_options(options.runner, beam_arguments))
    contract = faults.of(lambda: load(options.contract, options.allow_unwrapped_keys, options.storage_endpoint))
    files = faults.of(lambda: listed(options.input, options.storage_endpoint))
    expected = faults.of(lambda: batch_graph.expected_rows(options, files)) if files else None
    target = faults.of(lambda: _target(options, contract)) if contract else None
    held = faults.of(lambda: _held(options, contract, target)) if contract and not faults.found else None
    means = means_for(options, contract, faults, held)
    faults.stop()
    assert contract and files and given and means
    keys, engine, handler = means
    started = datetime.now(timezone.utc)
    run_id = options.run or f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    done = (target.done(run_id) if target else Lake.done(options.output, run_id)) if options.run else None
    if done:
        return _tell(options, done)
    with unwinding(), target.run(run_id) if target else Lake.writer(options.output, contract, run_id, options.partition, alone=True) as lake:
        parts = graph.Parts(
            contract=contract, read=ReadFiles(files, contract.max_row_bytes, options.storage_endpoint, expected),
            decode=Decode(contract, keys, frozenset(options.partition) or None),
            deduplicate=Deduplicate(contract, Park(lake.parked), lake.stored(options.partition), 1 + sum(f.size for f in files) // SHARD_BYTES),
            engine=engine, handler=handler, public_pem=keys.public_pem(), run=run_id,
            events=lake.write_events(), failures=lake.write_failures(),
            outcome=lake.commit("batch", options.partition, started, lineage_of(options.engine, engine)))
        return _run(options, parts, given, lake)


def _held(options: BatchOptions, contract: Contract, target: Target | None) -> pa.Table:
    """Columns id and id_hash of some events that are stored and stay. Raises Misconfigured."""
    return target.ids() if target else Lake.ids(options.output, contract, options.partition)


def _target(options: BatchOptions, contract: Contract) -> Target | None:
    """The dataset that the run writes to; None where --output is a folder. Raises Misconfigured."""
    if not options.output.startswith("bq://"):
        return None
    return Target.of(options.output, contract, options.partition, options.bigquery_endpoint, options.staging, options.storage_endpoint)


def _run(options: BatchOptions, parts: graph.Parts, given: PipelineOptions, lake: Lake | Replacement) -> int:
    pipeline = beam.Pipeline("FnApiRunner", options=given)
    graph.build(pipeline, parts)
    gc.collect()
    gc.freeze()  # what was imported lives as long as the process: without this the collector walks over it again and again (a tenth of the time)
    VERDICT.forget()
    try:
        with Watch():
            pipeline.run().wait_until_finish()
        row = lake.ledger(lake.run)
    except Exception as error:  # whatever it is, its text may hold a row: say where, not what
        lost = lake.lost() or VERDICT.told() or (str(error) if isinstance(error, (Failed, Transient)) else "")
        state = lake.state() if isinstance(lake, Replacement) else "the tables are as they were"
        print(f"penstock batch failed; {state}: {lost or frames(error)}", file=sys.stderr)
        return 1
    return _tell(options, row)


def _tell(options: BatchOptions, row: LedgerRow) -> int:
    print(row.sentence())
    print(f"tables: {options.output}")
    if options.json:
        print(row.to_json())
    return 0 if row.balanced else 1


