"""The replay job as a graph for Dataflow: one replay is one run. Failures are opened by workers, with a key of Cloud KMS.

    Read        one step takes the turn, ends what a replay that died had begun, and asks for the failures; workers open them
    Deduplicate by groups of ids, each compared with what BigQuery holds of them
    Load        events, failures that are refused again, and the marks of all that was tried are staged
    Commit      one step loads them (pipelines.sinks.bigquery_parts); the marks last, but for the row in `runs`

Where only a job file is written nothing of this is done: the failures are counted, by their stages and reasons, and that is all.
"""

import secrets
from dataclasses import replace
from datetime import datetime, timezone

import apache_beam as beam

from pipelines import graph
from pipelines.hand import Kept
from pipelines.launch.submitting import dataflow_options, ended, label, submit
from pipelines.options import ReplayOptions
from pipelines.replay_choice import Asked, choice, contract_for, groups_of, left_alone, told
from pipelines.replay_marks import DeduplicateMarked, RefuseMarked, StageMarks, StoreMarked
from pipelines.replay_read import Private, ReadFailures
from pipelines.sinks.bigquery import dataset
from pipelines.sinks.bigquery_files import CommitAndWithdraw, StageRows
from pipelines.sinks.bigquery_jobs import Failed
from pipelines.sinks.bigquery_ledger import ledger
from pipelines.sinks.bigquery_replaying import Replaying
from pipelines.sinks.bigquery_replays import DatasetTables
from pipelines.sinks.bigquery_turn import InHand
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE
from pipelines.sinks.once import Once
from pipelines.sinks.replays import Choice
from pipelines.starting import Faults, Means, lineage_of, means_for
from schemas.arrow import stored_columns
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured, Transient
from schemas.tables import FAILURES
from transforms.decode import Decode
from transforms.deduplicate import Deduplicate
from transforms.formats.messages import front
from transforms.ledger import LedgerRow
from transforms.park import Park

STILL = "sealed with another key, or of a place that another failure of this replay was of: the next one tries these"
SHARD_ROWS = 2_000_000  # whose ids are compared in one group


def run(options: ReplayOptions, beam_arguments: list[str]) -> int:
    """Builds the graph, and dry-runs it, writes it as a job file or submits it and waits for its end; exit code 0 where it is done and
    balanced, 1 where it failed. Raises Misconfigured, with every fault, where it cannot.
    """
    faults = Faults()
    given = faults.of(lambda: dataflow_options(options, beam_arguments, *(["--dry_run=true"] if options.dry_run else [])))
    asked = faults.of(lambda: choice(options, opens=False))
    faults.stop()
    assert asked and given
    tables = DatasetTables.of(options.failures, options.bigquery_endpoint)
    try:
        contract = contract_for(options, tables.owner())
        chosen = replace(asked, settled="" if options.again else f"{contract.name} {contract.version}", crashes=False)
        pending = tables.pending(chosen)
        faults.of(lambda: tables.check(contract))
        held = faults.of(lambda: tables.ids(contract)) if not faults.found else None
        means = means_for(options, contract, faults, held, there=True)
        faults.stop()
        assert means
        groups = groups_of(pending)
        tried = sum(group.rows for group in groups if not group.left)
        label(given, contract)
        pipeline = beam.Pipeline(options=given)
        replaying = replaying_of(options, contract, means, tables.location)
        graph.build(pipeline, parts(options, means, replaying, chosen, 1 + tried // SHARD_ROWS))
        result = submit(pipeline, given, contract)
        print(told(groups, options.json) if options.dry_run else f"{tried:,} failures are pending")
        if result is None:
            return 0
        return ended(result, lambda: done(replaying), "replay", replaying.run, options.failures, options.json, lambda: still(pending))
    finally:
        tables.close()


def replaying_of(options: ReplayOptions, contract: Contract, means: Means, location: str) -> Replaying:
    """A replay of the tables of --failures, under a run of its own. location: of the dataset."""
    started = datetime.now(timezone.utc)
    hand = InHand(f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}", f"{contract.name} {contract.version}", lineage_of(options.engine, means.engine),
                  started.isoformat())
    return Replaying(dataset(options.failures, "--failures"), options.bigquery_endpoint, location, contract, hand, secrets.token_hex(8))


def done(replaying: Replaying) -> LedgerRow:
    """The row of a replay whose job is done: where nothing was pending there is none in the ledger. Raises Misconfigured."""
    try:
        found = ledger(replaying.place(), replaying.dataset, replaying.run)
    except (Failed, Transient) as error:
        raise Misconfigured([Fault("--failures", str(error), "check that the account may run queries and read the tables")]) from None
    return found[0] if found else replaying.nothing()


def still(pending: Asked) -> dict[str, int]:
    """How many failures are left by a replay that is done, by why; none where nobody answers."""
    try:
        groups = groups_of(pending)
    except Misconfigured:
        return {}
    waiting = sum(group.rows for group in groups if not group.left)
    return left_alone(groups) | ({STILL: waiting} if waiting else {})


def parts(options: ReplayOptions, means: Means, replaying: Replaying, chosen: Choice, shards: int = 1) -> graph.Parts:
    """The parts of the replay graph, for workers that share nothing but Google Cloud."""
    keys, engine, handler = means
    contract, run_id, staging, endpoint = replaying.contract, replaying.run, options.staging, options.storage_endpoint
    attributes, marks = front(contract), StageMarks(staging, run_id, endpoint)
    return graph.Parts(
        contract=contract, read=ReadFailures(replaying, chosen, Private(options.private_key, options.kms_endpoint), marks),
        decode=Decode(contract, keys, front=attributes),
        deduplicate=DeduplicateMarked(Deduplicate(contract, Park(None), shards=shards, copies=replaying.copies, repeats=True), marks),
        engine=engine, handler=handler, public_pem=keys.public_pem(), run=run_id,
        events=StoreMarked(StageRows(staging, run_id, EVENTS_TABLE, stored_columns(contract), endpoint=endpoint), marks),
        failures=StageRows(staging, run_id, FAILURES_TABLE, FAILURES, endpoint=endpoint),
        notes=Kept(contract), again=RefuseMarked(marks), outcome=CommitAndWithdraw(Once(replaying.commit, "LoadJobs"), staging, run_id, endpoint))
