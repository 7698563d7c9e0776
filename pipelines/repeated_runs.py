"""The stream job on one machine: bounded runs, repeated. Pull what is there, run the graph, commit, acknowledge.

Nothing but the tables is state. A run is committed whole (events, failures, windows, ledger row with run number and
watermark), and only then are its messages acknowledged, and only then is it added to what was seen: a kill at any moment
loses nothing, stores nothing twice, and leaves every window right.
"""

import copy
import gc
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone

import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import graph
from pipelines.canary import Trial, fatal
from pipelines.hand import Hand, Kept, LayDown, LookAgain, ReadHand, Run, not_again
from pipelines.kept_graph import KeptGraph
from pipelines.options import StreamOptions
from pipelines.progress import Watch
from pipelines.sinks.lake_commit import ignore
from pipelines.sinks.streamed import Finished, Held, Moved, StreamTables, moment
from pipelines.sources.pubsub import Gone, Received, Subscription
from pipelines.starting import Means, lineage_of
from pipelines.stopping import stopping
from pipelines.stream_windows import StreamWindows
from pipelines.suspects import Part, Suspects
from pipelines.totals import Totals
from pipelines.watermark import Watermark
from schemas.contract import Contract
from schemas.errors import Transient
from transforms.decode import Decode
from transforms.deduplicate import Sift
from transforms.formats.block import Block
from transforms.formats.messages import front
from transforms.lateness import Partials
from transforms.ledger import LedgerRow, Tally
from transforms.marks import Marks
from transforms.panes import Changes
from transforms.seen import Failed, Seen
from transforms.unquoted import frames

TRIES = 3  # of a run that fails, before the job ends
PAUSE = 2.0  # seconds after the first of them, doubled after each


class Stream:
    """One process of the job."""

    number: int  # of the last run that was committed
    seen: Seen
    failed: Failed
    windows: StreamWindows | None

    def __init__(self, options: StreamOptions, contract: Contract, means: Means, given: PipelineOptions, tables: StreamTables,
                 subscription: Subscription, started: datetime, at: Callable[[str], None] = ignore) -> None:
        """at: told each step of a run."""
        keys, engine, handler = means
        self.options, self.contract, self.tables, self.subscription, self.started, self.at = options, contract, tables, subscription, started, at
        self.hand = Hand()
        hand, attributes = self.hand, front(contract, options.id_attribute, options.time_attribute)
        parts = graph.Parts(
            contract=contract, read=ReadHand(hand),
            decode=Decode(contract, keys, front=attributes), deduplicate=Sift(contract, hand.copies, hand.watermark), engine=engine,
            handler=handler, public_pem=keys.public_pem(), run=hand.id,
            events=tables.write_events(hand.id), failures=tables.write_failures(hand.id), again=LookAgain(hand, "Look", not_again), notes=Kept(contract),
            window=Partials(contract) if contract.windows else None, outcome=LayDown(hand))
        self.graph = KeptGraph(lambda pipeline: graph.build(pipeline, parts), given)
        self.engine = lineage_of(options.engine, engine)
        self.suspects = Suspects(tables.folder, options.subscription)
        self.trial = Trial(contract, keys, engine, handler, attributes, 60.0 if options.engine == "local" else 600.0)
        self.stop = threading.Event()
        self.totals = Totals()
        self.taken, self.caught_up = time.monotonic(), False
        self.watermark = Watermark(contract.disorder, subscription.deadline, time.monotonic())
        self._restore()

    def go(self) -> int:
        """Until told to end: by a signal, by --for, by --until_idle, or by what cannot be mended."""
        gc.collect()
        gc.freeze()  # what was imported lives as long as the process
        gc.set_threshold(50_000)  # the messages in hand are many: looking through them at Python's own rate takes 5 % of a run of 20,000
        problem = None
        try:
            with stopping() as self.stop, Watch():
                self._runs()
            if not self.totals.balanced:
                problem = "the books of its last run do not balance"
        except Exception as error:  # whatever it is, its text may hold a row: say where, not what
            problem = _told(error)
        finally:
            self.subscription.give_back()
            self.subscription.close()
        row = self.totals.row(self.tables.name, f"{self.contract.name} {self.contract.version}", self.engine, self.number, self.started,
                              datetime.now(timezone.utc), moment(self.watermark.value), moment(self.watermark.greatest))
        print(row.sentence())
        print(f"tables: {self.options.output}")
        if problem:
            print(f"penstock stream ended: {problem}; what was not acknowledged comes again", file=sys.stderr)
        if self.options.json:
            print(row.to_json())
        return 0 if problem is None and self.totals.balanced and row.balanced else 1

    def _runs(self) -> None:
        ends = time.monotonic() + self.options.for_.total_seconds() if self.options.for_ else None
        self.subscription.start()
        while self.totals.balanced and not self.stop.is_set():
            now = time.monotonic()
            if ends is not None and now >= ends:
                return
            received = self.subscription.take(self.options.wait.total_seconds(), self.stop, timeout=1.0 if ends is None else min(1.0, ends - now))
            self.taken, self.caught_up = time.monotonic(), self._caught_up(received)
            if received or self._moved():
                self._parts(received)
            if not received and self._idle():
                return
            self.tables.keep_up(idle=not received)

    def _caught_up(self, received: list[Received]) -> bool:
        """Whether nothing is left of what was published before the start: what a dead process had in hand has come again.

        Asked when messages are taken: by the end of a run, which may be long, others are in hand that the run did not store.
        """
        if not received:
            return self.subscription.drained
        return self.subscription.caught_up and min(message.published for _, message in received) >= self.started.timestamp() * 1_000_000

    def _idle(self) -> bool:
        """Whether --until_idle is over: nothing came for so long, and no window waits for the watermark to be let go."""
        for_long = self.options.until_idle and self.subscription.idle() >= self.options.until_idle.total_seconds()
        return bool(for_long) and (self.windows is None or not self.watermark.held(True, time.monotonic()))

    def _moved(self) -> bool:
        """Whether the watermark moves though nothing came: windows may close."""
        return self.windows is not None and copy.copy(self.watermark).advance(self.caught_up, self.taken) != self.watermark.value

    def _parts(self, received: list[Received]) -> None:
        """One run; where messages are among them with which a process died, several."""
        for part in self.suspects.parts(received):
            if part.in_child:
                part = part._replace(aside=fatal(self.trial, self.options.subscription, part.messages, self.stop.is_set))
            if self.stop.is_set():
                return
            self._try(part)

    def _try(self, part: Part) -> None:
        """One run; again where it failed, or where somebody else wrote to the tables meanwhile."""
        for attempt in range(1, TRIES + 1):
            try:
                self._once(part)
                return
            except (Gone, Held):
                raise
            except Moved:
                self._restore()
            except Exception as error:  # whatever it is, nothing is lost by trying again; its text may hold a row
                if attempt == TRIES or self.stop.is_set():
                    raise
                print(f"penstock stream: a run failed and is tried again: {_told(error)}", file=sys.stderr)
                self.stop.wait(PAUSE * 2 ** (attempt - 1))
        self._once(part)

    def _once(self, part: Part) -> None:
        with self.suspects.in_hand([message.id for message in part.messages]):
            row = self._committed(part)
        if row is not None:
            self.subscription.acknowledge([ack_id for ack_id, _ in part.received])
            self.at("acknowledged")
            self.totals.add(row)

    def _committed(self, part: Part) -> LedgerRow | None:
        """The run's row in the ledger; None where there was nothing to write."""
        number, messages = self.number + 1, part.messages
        run = Run(f"{self.tables.name}-{number:08d}", Block(self.options.subscription, "messages", number, 0, len(messages), b"", messages=messages),
                  self.watermark.value, self.seen, self.failed, aside=part.set_aside)
        started = datetime.now(timezone.utc)
        if part.received:
            self.at("taken")
            self.hand.take(run)
            try:
                self.graph.run()
            finally:
                self.hand.empty()
            self.at("graph done")
        marks = [o for o in run.outcome if isinstance(o, Marks)]
        watermark = copy.copy(self.watermark)
        watermark.stored(max((int(m.times.max()) for m in marks), default=None), self.taken)
        if part.last:
            watermark.advance(self.caught_up, self.taken)
        try:
            changes = self._changes(run, watermark.value)
            if not part.received and not (changes and (changes.rows.num_rows or changes.gone.num_rows)):
                return None
            row = self.tables.commit(Finished(
                run.id, number, started, [o for o in run.outcome if not isinstance(o, (Tally, Marks, pa.RecordBatch))],
                [o for o in run.outcome if isinstance(o, Tally)],
                watermark.value, watermark.greatest, self.engine, changes, self.failed))
        except BaseException:
            if self.windows:
                self.windows.drop()
            raise
        if self.windows:
            self.windows.settle()
        self.number, self.watermark = number, watermark
        for kept in marks:
            self.seen.add(kept)
        self.failed.add(run.failing)
        if watermark.greatest is not None:
            self.seen.forget(watermark.greatest)
        self.at("settled")
        return row

    def _changes(self, run: Run, watermark: int | None) -> Changes | None:
        """What the run changes in the windows table."""
        if self.windows is None:
            return None
        return self.windows.changes([part for part in run.outcome if isinstance(part, pa.RecordBatch)], watermark, run.id)

    def _restore(self) -> None:
        """What the tables say: run number, watermark, what was seen, what failed."""
        state = self.tables.state()
        self.number = state.number
        self.watermark.restore(state.watermark, state.greatest)
        self.seen = Seen(self.tables.marks, self.tables.days(), self.contract.horizon)
        self.failed = Failed(self.tables.failed(self.options.subscription))
        self.windows = StreamWindows(self.contract, self.tables, state) if self.contract.windows else None


def _told(error: Exception) -> str:
    """What is said of an error: the text of one of ours; of any other, which may hold a row, where it was, not what."""
    return str(error) if isinstance(error, (Gone, Held, Transient)) else frames(error)
