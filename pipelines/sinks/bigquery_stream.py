"""A stream's hold on a dataset of BigQuery: each run is one pending stream a table, and they are committed all, or none of them.

    target = StreamTarget.of(output, contract, endpoint, storage_endpoint)       checks, before anything runs
    with StreamDataset(target, "20261121T101500Z-3fa2c1", subscription, public_pem) as tables:
        tables.state(), tables.days(), tables.marks(day), ...                    what it starts from: nothing but the tables is state
        tables.commit(Finished(...))                                             a run: events, failures, windows, and its row of `runs` last

A second stream is refused, and so is a batch run of a day, and told who writes (bigquery_lease). bigquery_stream_intent says what
makes a run whole. On this machine nothing is kept but who is suspected of killing processes, in .penstock/streams/PROJECT.DATASET.
"""

import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import pyarrow as pa

from pipelines.sinks import bigquery_stream_state as stored_state
from pipelines.sinks import bigquery_stream_windows, bigquery_write
from pipelines.sinks.bigquery import Dataset, dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_jobs import Failed, Place
from pipelines.sinks.bigquery_lease import STREAM, Lease
from pipelines.sinks.bigquery_ledger import ledger
from pipelines.sinks.bigquery_stream_intent import Intent, Intents
from pipelines.sinks.bigquery_stream_rows import LayRows
from pipelines.sinks.bigquery_stream_run import LEDGER_TABLE, Writer
from pipelines.sinks.bigquery_stream_windows import Told
from pipelines.sinks.bigquery_tables import LOOK, ids, looked
from pipelines.sinks.bigquery_windows import WINDOWS_TABLE
from pipelines.sinks.lake_commit import NOTHING, ignore, utc_now
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE
from pipelines.sinks.streamed import Finished, Held, Moved, State, hold, moment
from schemas.arrow import stored_columns
from schemas.contract import Contract
from schemas.errors import Misconfigured, Transient
from schemas.tables import FAILURES
from transforms.ledger import LedgerRow
from transforms.marks import Marks
from transforms.run_id import RunId

STREAMS = Path(".penstock") / "streams"
_LONG = Patience(seconds=600.0)  # a quota of write streams takes so long to fill again


class StreamTarget(NamedTuple):
    """A dataset whose tables have been looked at and found as the contract declares them."""

    place: Place
    dataset: Dataset
    contract: Contract
    write: Any  # the client of the Storage Write API

    @staticmethod
    def of(output: str, contract: Contract, endpoint: str = "", storage_endpoint: str = "", patience: Patience = _LONG) -> "StreamTarget":
        """Raises Misconfigured, with every fault, where a stream cannot start."""
        named = dataset(output)
        client, write = connect(named.project, endpoint), bigquery_write.connect(storage_endpoint)
        where, found = looked(client, named, contract)
        if found:
            raise Misconfigured(found)
        return StreamTarget(Place(client, where, patience), named, contract, write)

    def ids(self) -> pa.Table:
        """Columns id and id_hash of some events. Raises Misconfigured."""
        return ids(self.place.client, self.dataset, self.contract)


class StreamDataset:
    """For the time of one process; StreamTables says what each method does. Raises Misconfigured where the tables are held."""

    def __init__(self, target: StreamTarget, name: str, subscription: str, public_pem: bytes, at: Callable[[str], None] = ignore,
                 folder: Path = STREAMS) -> None:
        """name: begins the ids of its runs; public_pem: seals rows that BigQuery rejects; at: told each step of a commit."""
        self.name, self.contract, self.at = name, target.contract, at
        self.columns = stored_columns(target.contract)
        self._place, self._dataset = target.place, target.dataset
        self.folder = (folder / f"{target.dataset.project}.{target.dataset.name}".replace(":", "_")).resolve()
        (self.folder / "running").mkdir(parents=True, exist_ok=True)
        self._windows = Told(target.place, target.dataset, target.contract) if target.contract.windows is not None else None
        self._open = ExitStack()
        host = socket.gethostname()
        try:
            held = hold(self.folder / "stream.lock", f"bq://{target.dataset.project}.{target.dataset.name}",
                        f"the stream {name} of {subscription} (process {os.getpid()} on {host})")
            self._open.callback(os.close, held)
            lease = Lease(target.place._replace(patience=LOOK), target.dataset, f"the stream of {subscription} on {host} ({_own(self.folder)})", [STREAM])
            lease.take()
            self._open.enter_context(lease.renewed())
            self._intents = Intents(target.place, target.dataset)
            self._writer = self._open.enter_context(Writer(target.write, target.dataset, target.contract, public_pem, target.place.patience))
        except BaseException:
            self._open.close()
            raise

    # What it starts from

    def state(self) -> State:
        """Where the last stream stood, once the run that it had begun to commit is finished. Raises Held, or Transient."""
        with _told():
            self._intents.take()
            self._settle()
            return stored_state.state(self._place, self._dataset)

    def days(self) -> list[date]:
        with _told():
            return stored_state.days(self._place, self._dataset)

    def marks(self, day: date) -> Marks:
        with _told():
            return stored_state.marks(self._place, self._dataset, self.contract.time, day)

    def failed(self, subscription: str) -> list[str]:
        with _told():
            return list(stored_state.failed(self._place, self._dataset, subscription))

    def measured(self, since: int | None) -> Iterator[pa.RecordBatch]:
        with _told():
            yield from bigquery_stream_windows.measured(self._place, self._dataset, self.contract, since)

    def windowed(self, since: int | None) -> pa.RecordBatch:
        assert self._windows is not None
        with _told():
            return self._windows.read(since)

    # A run

    def write_events(self, run: RunId) -> LayRows:
        return LayRows(EVENTS_TABLE, self.columns, run)

    def write_failures(self, run: RunId) -> LayRows:
        return LayRows(FAILURES_TABLE, FAILURES, run)

    def commit(self, run: Finished, clock: Callable[[], datetime] = utc_now) -> LedgerRow:
        """Raises Transient with the tables as they were, Moved where the run may be committed in part (state() finishes it), or Held."""
        windows = self._windows.rows(run.windows) if self._windows is not None and run.windows is not None else None
        with _told():
            intent = self._writer.prepared(run, windows, clock)
            self.at("prepared")
            self._intents.write(intent)
        self.at("intended")
        try:
            self._writer.finish(intent, self.at)
        except (Failed, Transient):
            raise Moved from None
        if self._windows is not None:
            self._windows.settle(run.watermark)
        self.at("committed")
        return intent.row

    def _settle(self) -> None:
        """Finishes the run that was intended last. Where a stream of it is gone, its row is made from what the tables hold: what is
        missing was not acknowledged, and comes again."""
        intent = self._intents.last
        if intent is None or self._entered(intent):
            return
        gone = self._writer.finish_rows(intent, self.at)
        row = self._counted(intent.row, WINDOWS_TABLE in gone)
        if row == intent.row:
            try:
                self._writer.finish(intent.of(LEDGER_TABLE), self.at)
            except Failed:
                pass
        if not self._entered(intent) and (row.stored or row.refused or row.late):
            counted = Intent(row, (self._writer.entered(row),))
            self._intents.write(counted)
            self._writer.finish(counted, self.at)

    def _entered(self, intent: Intent) -> bool:
        return ledger(self._place, self._dataset, intent.row.run) is not None

    def _counted(self, intended: LedgerRow, windows_gone: bool) -> LedgerRow:
        """The intended row where the tables hold what it says, else what they hold, with the watermark as it stood before."""
        stored, reasons, late, windows = stored_state.kept(self._place, self._dataset, intended.run, windows_gone)
        if (stored, reasons, late) == (intended.stored, intended.reasons, intended.late) and (windows or not windows_gone):
            return intended
        before, refused = stored_state.state(self._place, self._dataset), sum(reasons.values())
        return replace(intended, read=stored + refused, stored=stored, repeated=0, refused=refused, reasons=reasons, late=late, fingerprint=NOTHING,
                       watermark=moment(before.watermark), greatest=moment(before.greatest))

    def keep_up(self, idle: bool = False) -> None:
        """Nothing: BigQuery merges by itself."""

    def close(self) -> None:
        """Lets go of the tables."""
        self._open.close()

    def __enter__(self) -> "StreamDataset":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@contextmanager
def _told() -> Iterator[None]:
    """What BigQuery refuses ends the stream, in words; what may pass is left to be tried again."""
    try:
        yield
    except Failed as error:
        raise Held(str(error)) from None


def _own(folder: Path) -> str:
    """A name for this folder that outlives processes: the next one takes the hold of a dead one over at once."""
    path = folder / "name"
    if not path.exists():
        path.write_text(secrets.token_hex(4))
    return path.read_text()
