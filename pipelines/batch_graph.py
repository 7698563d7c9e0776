"""The batch job as a graph for Dataflow: the same options, the same stages; files, staging and tables are Google Cloud's.

Batches wait in the shuffle. The graph holds the commit as its last step, under one run id: a bundle that is tried again
finds what the first try loaded, and books that do not balance fail the job.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import NamedTuple

import apache_beam as beam

from pipelines import graph
from pipelines.contracts import load
from pipelines.launch.submitting import dataflow_options, ended, label, submit
from pipelines.options import BatchOptions
from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_commit import Commit, Request
from pipelines.sinks.bigquery_files import CommitAndWithdraw, StageRows
from pipelines.sinks.bigquery_replace import Target
from pipelines.sinks.lake import fingerprinted
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE
from pipelines.sources.files import ReadFiles
from pipelines.sources.listing import InputFile, listed
from pipelines.sources.manifest import check, read_manifest
from pipelines.starting import Faults, Means, lineage_of, means_for
from schemas.arrow import stored_columns
from schemas.contract import Contract
from schemas.tables import FAILURES
from transforms.decode import Decode
from transforms.deduplicate import Deduplicate
from transforms.park import Park

SHARD_BYTES = 128 << 20  # of input a shard: what one worker compares at once
_MOST_SHARDS = 1000  # each block is divided among all of them


class Tables(NamedTuple):
    """Where a run's rows go. staging: gs://; location: the dataset's."""

    dataset: Dataset
    location: str
    staging: str


def run(options: BatchOptions, beam_arguments: list[str]) -> int:
    """Builds the graph, and dry-runs it, writes it as a job file or submits it and waits for its end; exit code 1 where that failed.

    Raises Misconfigured, with every fault, where it cannot.
    """
    faults = Faults()
    given = faults.of(lambda: dataflow_options(options, beam_arguments))
    contract = faults.of(lambda: load(options.contract, options.allow_unwrapped_keys, options.storage_endpoint))
    faults.stop()
    assert contract and given
    files = faults.of(lambda: listed(options.input, options.storage_endpoint))
    expected = faults.of(lambda: expected_rows(options, files)) if files else None
    target = faults.of(lambda: Target.of(options.output, contract, options.partition, options.bigquery_endpoint, options.staging, options.storage_endpoint))
    held = faults.of(target.ids) if target else None
    means = means_for(options, contract, faults, held)
    faults.stop()
    assert files and target and means
    run_id = options.run or f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    label(given, contract)
    pipeline = beam.Pipeline(options=given)
    tables = Tables(target.dataset, target.place.location, options.staging)
    graph.build(pipeline, parts(options, contract, means, files, tables, run_id, expected))
    result = submit(pipeline, given, contract)
    return 0 if result is None else ended(result, lambda: target.done(run_id), "batch", run_id, options.output, options.json)


def expected_rows(options: BatchOptions, files: tuple[InputFile, ...]) -> dict[int, tuple[str, int]] | None:
    """The rows that the manifest says, by the file's index; None without one. Raises Misconfigured where the files are not those of it."""
    return check(files, read_manifest(options.manifest, options.storage_endpoint)) if options.manifest else None


def parts(options: BatchOptions, contract: Contract, means: Means, files: tuple[InputFile, ...], tables: Tables, run_id: str,
          expected: Mapping[int, tuple[str, int]] | None = None) -> graph.Parts:
    """The parts of the batch graph, for workers that share nothing but Google Cloud."""
    keys, engine, handler = means
    columns, started = stored_columns(contract), datetime.now(timezone.utc)
    request = Request(tables.dataset, options.bigquery_endpoint, tables.location, "", run_id, "batch", f"{contract.name} {contract.version}", started,
                      tuple(day.isoformat() for day in options.partition), columns, fingerprinted(columns), lineage_of(options.engine, engine),
                      holder=secrets.token_hex(8))
    return graph.Parts(
        contract=contract, read=ReadFiles(files, contract.max_row_bytes, options.storage_endpoint, dict(expected) if expected else None),
        decode=Decode(contract, keys, frozenset(options.partition)),
        deduplicate=Deduplicate(contract, Park(None), shards=min(_MOST_SHARDS, 1 + sum(f.size for f in files) // SHARD_BYTES)),
        engine=engine, handler=handler, public_pem=keys.public_pem(), run=run_id,
        events=StageRows(tables.staging, run_id, EVENTS_TABLE, columns, endpoint=options.storage_endpoint),
        failures=StageRows(tables.staging, run_id, FAILURES_TABLE, FAILURES, endpoint=options.storage_endpoint),
        outcome=CommitAndWithdraw(Commit(request), tables.staging, run_id, options.storage_endpoint))
