"""The replay job: failures are opened and go through the same graph once more; what is accepted now is stored.

Rows in clear are in the memory of this process alone, at most some 64 MB of them at a time. Each such part is a run of its
own: events, failures that are refused again, the ledger row, and the marks of what was replayed are one transaction. So a
kill leaves each part done or not begun, and a second replay finds nothing to do.
"""

import gc
import json
import logging
import secrets
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import graph
from pipelines.canary import Trial, fatal
from pipelines.hand import Hand, LayDown, ReadHand
from pipelines.kept_graph import KeptGraph
from pipelines.keyfolder import open_keys
from pipelines.options import ReplayOptions
from pipelines.private_key import Unanswered, opener
from pipelines.progress import Watch
from pipelines.replay_choice import choice, left_alone, told
from pipelines.replay_rows import BYTES, Again, Opened, Replay, StoreNamed, block, opened
from pipelines.sinks import lake_replays
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_commit import Lost, Unbalanced, commit, ignore
from pipelines.sinks.lake_files import WriteEvents, WriteFailures, Written
from pipelines.sinks.lake_replays import Copies, Failure, Pending
from pipelines.sinks.lake_tables import owner
from pipelines.starting import Faults, Means, beam_options, lineage_of, means_of
from pipelines.totals import Totals
from pipelines.trace import frames
from schemas.arrow import stored_columns
from schemas.contract import Contract, load, shipped
from schemas.errors import Fault, Misconfigured, Reason
from transforms.decode import Decode
from transforms.deduplicate import Sift
from transforms.fates import READ, REPEATED
from transforms.formats.block import Message
from transforms.formats.messages import front
from transforms.keys import Keys
from transforms.ledger import LedgerRow, Tally
from transforms.seal import Unwrap
from transforms.seen import Failed

Canary = Callable[[Trial, str, list[Message]], dict[str, pa.RecordBatch]]


def run(options: ReplayOptions, beam_arguments: list[str], at: Callable[[str], None] = ignore, most_bytes: int = BYTES, canary: Canary = fatal) -> int:
    """Runs the job; exit code 0 where it is done and balanced, 1 where it failed or the key opens nothing.

    at: told each step, for tests that kill it there; canary: tries rows that may kill (pipelines.canary.fatal). Raises
    Misconfigured, with every fault, where it cannot run.
    """
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # its errors quote elements
    chosen = choice(options)
    if options.failures.startswith("bq://"):
        raise Misconfigured([Fault("--failures", "is a dataset of BigQuery, which this command does not read", "give a folder of tables")])
    reader = Lake.reader(options.failures)
    try:
        faults = Faults()
        contract = faults.of(lambda: _contract(options, owner(reader.connection)))
        if contract and not options.again:
            chosen = replace(chosen, settled=f"{contract.name} {contract.version}")
        pending = Pending(reader, chosen)
        if options.dry_run:
            faults.stop()
            print(told(pending.groups(), options.json))
            return 0
        given = faults.of(lambda: beam_options(options.runner, beam_arguments))
        unwrap = faults.of(lambda: opener(options.private_key, options.kms_endpoint))
        means = means_of(options, contract, faults, lambda: _keys(options))
        faults.stop()
        assert given and contract and unwrap and means
        return _Job(options, contract, means, given, at, canary).go(pending, unwrap, most_bytes)
    finally:
        reader.close()


def _contract(options: ReplayOptions, name: str) -> Contract:
    if options.contract or name in shipped():
        contract = load(options.contract or name, options.allow_unwrapped_keys)
        if name in ("", contract.name):
            return contract
        raise Misconfigured([Fault("--contract", f"is {contract.name}, and the tables hold the events of {name}", "give a version of that one")])
    raise Misconfigured([Fault("--contract", "is missing, and the tables are those of no shipped contract", "give the folder of the contract")])


def _keys(options: ReplayOptions) -> Keys:
    found = open_keys(options.keys, make=False)
    if found is None:
        raise Misconfigured([Fault("--keys", "there is no key folder", "give the one that the tables were made with: tokens and digests depend on it")])
    return found


class _Job:
    """One replay: a graph, and the runs that it makes of it."""

    def __init__(self, options: ReplayOptions, contract: Contract, means: Means, given: PipelineOptions,
                 at: Callable[[str], None], canary: Canary) -> None:
        keys, engine, handler = means
        self.options, self.contract, self.at, self.canary = options, contract, at, canary
        self.folder = str(Path(options.failures).resolve())
        self.started, self.number = datetime.now(timezone.utc), 0
        self.name = f"{self.started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        self.engine, self.totals = lineage_of(options.engine, engine), Totals()
        self.copies = Copies(self.folder, contract.time, contract.horizon)
        self.hand = hand = Hand()
        attributes = front(contract)
        self.trial = Trial(contract, keys, engine, handler, attributes, 60.0 if options.engine == "local" else 600.0)
        parts = graph.Parts(
            contract=contract, read=ReadHand(hand), decode=Decode(contract, keys, front=attributes),
            deduplicate=Sift(contract, hand.copies, hand.watermark), engine=engine, handler=handler, public_pem=keys.public_pem(), run=hand.id,
            events=StoreNamed(hand, WriteEvents(self.folder, hand.id, stored_columns(contract))),
            failures=WriteFailures(self.folder, hand.id), again=Again(hand), outcome=LayDown(hand))
        self.graph = KeptGraph(lambda pipeline: graph.build(pipeline, parts), given)

    def go(self, pending: Pending, unwrap: Unwrap, most_bytes: int) -> int:
        """Run after run, until nothing is left."""
        left = left_alone(pending.groups())
        gc.collect()
        gc.freeze()  # what was imported lives as long as the process
        others, problem = 0, None
        try:
            with Watch():
                for part in opened(pending.rows(), unwrap, most_bytes):
                    others += part.others
                    if part.failures:
                        self.totals.add(self._through(part))
                if late := pending.late():
                    self.totals.add(self._late(late))
        except (Lost, Unanswered, Unbalanced) as error:
            problem = str(error)
        except Misconfigured as error:  # the key: Cloud KMS refuses it
            if not self.number:
                raise
            problem = str(error)
        except Exception as error:  # whatever it is, its text may hold a row: say where, not what
            problem = frames(error)
        return self._tell(others, problem, left)

    def _tell(self, others: int, problem: str | None, left: dict[str, int]) -> int:
        row = replace(self.totals.row(self.name, f"{self.contract.name} {self.contract.version}", self.engine, self.number, self.started,
                                      datetime.now(timezone.utc), None, None), job="replay", number=None)
        print(row.sentence() if row.read else "nothing was replayed")
        for why, rows in left.items():
            print(f"{rows:,} left alone: {why}")
        print(f"tables: {self.options.failures}")
        if others:
            print(f"penstock replay: {others:,} failures are sealed with another key, and were left alone", file=sys.stderr)
        if problem:
            print(f"penstock replay failed: {problem}; what is not in the sum above was not replayed", file=sys.stderr)
        if self.options.json:
            print(json.dumps(json.loads(row.to_json()) | {"runs": self.number, "not_opened": others, "left": left}))
        return 1 if problem or not self.totals.balanced or (others and not row.read) else 0

    def _through(self, part: Opened) -> LedgerRow:
        """A part of the failures through the graph, and committed."""
        self.at("opened")
        killers = [Message(row, str(i), 0, {}) for i, (f, row) in enumerate(zip(part.failures, part.rows)) if f.reason == str(Reason.CRASHES)]
        aside = self.canary(self.trial, "", killers) if killers else {}
        with self._lake() as lake:
            replay = Replay(lake.run, block(part, self.number, aside), None, self.copies, Failed([]), aside=list(aside.values()), failures=part.failures)
            self.hand.take(replay)
            try:
                self.graph.run()
            finally:
                self.hand.empty()
            self.at("graph done")
            return self._commit(lake, part.failures, replay.outcomes(), [o for o in replay.outcome if isinstance(o, Written)],
                                [o for o in replay.outcome if isinstance(o, Tally)])

    def _late(self, failures: list[Failure]) -> LedgerRow:
        """Late rows are in events: they repeat, and need not be opened."""
        tallies = [Tally(READ, "", len(failures)), Tally(REPEATED, "", len(failures))]
        with self._lake() as lake:
            return self._commit(lake, failures, [REPEATED] * len(failures), [], tallies)

    def _lake(self) -> Lake:
        self.number += 1
        lake = Lake.writer(self.folder, self.contract, f"{self.name}-{self.number:08d}")
        lake_replays.prepare(lake.connection, lake.folder)
        return lake

    def _commit(self, lake: Lake, failures: list[Failure], outcomes: list[str], written: list[Written], tallies: list[Tally]) -> LedgerRow:
        request = lake.commit("replay", (), datetime.now(timezone.utc), self.engine).request
        marks: pa.Table = lake_replays.marks(failures, lake.run, outcomes)
        return commit(request, written, tallies, at=self.at, replayed=marks)
