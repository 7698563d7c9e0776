"""A replay at work: one graph, and the runs that it makes of it, part after part."""

import gc
import json
import secrets
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone

import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import graph
from pipelines.canary import Trial
from pipelines.hand import Hand, LayDown, LookAgain, ReadHand
from pipelines.kept_graph import KeptGraph
from pipelines.options import ReplayOptions
from pipelines.progress import Watch
from pipelines.replay_choice import left_alone
from pipelines.replay_rows import Opened, Replay, StoreNamed, again, block, opened
from pipelines.replay_tables import Pending, Tables
from pipelines.sinks.bigquery_jobs import Failed as Refused
from pipelines.sinks.lake_commit import Lost, Unbalanced
from pipelines.sinks.replays import Failure
from pipelines.starting import Means, lineage_of
from pipelines.totals import Totals
from schemas.contract import Contract
from schemas.errors import Misconfigured, Reason, Transient
from transforms.decode import Decode
from transforms.deduplicate import Sift
from transforms.fates import READ, REPEATED
from transforms.formats.block import Message
from transforms.formats.messages import front
from transforms.ledger import LedgerRow, Tally
from transforms.seal import Unwrap
from transforms.seen import Failed
from transforms.unquoted import frames

Canary = Callable[[Trial, str, list[Message]], dict[str, pa.RecordBatch]]


class Job:
    """One replay over some tables. at: told each step; canary: tries rows that may kill (pipelines.canary.fatal)."""

    def __init__(self, options: ReplayOptions, contract: Contract, means: Means, given: PipelineOptions, tables: Tables, at: Callable[[str], None],
                 canary: Canary) -> None:
        keys, engine, handler = means
        self.options, self.contract, self.tables, self.at, self.canary = options, contract, tables, at, canary
        self.started, self.number = datetime.now(timezone.utc), 0
        self.name = f"{self.started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        self.engine, self.totals = lineage_of(options.engine, engine), Totals()
        self.copies = tables.copies(contract)
        self.hand = hand = Hand()
        attributes = front(contract)
        self.trial = Trial(contract, keys, engine, handler, attributes, 60.0 if options.engine == "local" else 600.0)
        events, failures = tables.sinks(contract, hand.id)
        parts = graph.Parts(
            contract=contract, read=ReadHand(hand), decode=Decode(contract, keys, front=attributes),
            deduplicate=Sift(contract, hand.copies, hand.watermark), engine=engine, handler=handler, public_pem=keys.public_pem(), run=hand.id,
            events=StoreNamed(hand, events), failures=failures, again=LookAgain(hand, "Count", again), outcome=LayDown(hand))
        self.graph = KeptGraph(lambda pipeline: graph.build(pipeline, parts), given)

    def go(self, pending: Pending, unwrap: Unwrap, most_bytes: int) -> int:
        """Run after run, until nothing is left."""
        left: dict[str, int] = {}
        gc.collect()
        gc.freeze()  # what was imported lives as long as the process
        others, problem = 0, None
        try:
            for row in self.tables.take(self.contract, self.at):
                print(f"run {row.run} of a replay that died is finished: {row.sentence()}")
            left = left_alone(pending.groups())
            with Watch():
                for part in opened(pending.rows(), unwrap, most_bytes):
                    others += part.others
                    if part.failures:
                        self.totals.add(self._through(part))
                if late := pending.late():
                    self.totals.add(self._late(late))
        except (Lost, Transient, Unbalanced, Refused) as error:
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
        run = self._next()
        with self.tables.part(self.contract, run, self.engine, self.at) as commit:
            replay = Replay(run, block(part, self.number, aside), None, self.copies, Failed([]), aside=list(aside.values()), failures=part.failures)
            self.hand.take(replay)
            try:
                self.graph.run()
            finally:
                self.hand.empty()
            self.at("graph done")
            return commit(part.failures, replay.outcomes(), replay.outcome)

    def _late(self, failures: list[Failure]) -> LedgerRow:
        """Late rows are in events: they repeat, and need not be opened."""
        with self.tables.part(self.contract, self._next(), self.engine, self.at) as commit:
            return commit(failures, [REPEATED] * len(failures), [Tally(READ, "", len(failures)), Tally(REPEATED, "", len(failures))])

    def _next(self) -> str:
        self.number += 1
        return f"{self.name}-{self.number:08d}"
