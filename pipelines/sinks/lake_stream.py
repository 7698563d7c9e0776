"""A stream's hold on a lake: one transaction a run, for as long as the stream lives.

    with StreamLake(folder, contract, "20261121T101500Z-3fa2c1", "subscription s, process 17 on host h") as lake:
        lake.state(), lake.days(), lake.marks(day), ...     what it starts from: nothing but the tables is state
        lake.commit(Finished(...))                          a run: events, failures, windows and ledger row, or nothing

A second stream on the lake is refused and told who holds it. A batch run may commit beside it: the next commit then raises
Moved, and the stream reads its state anew before it does that run again.
"""

import os
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from types import TracebackType

import duckdb
import pyarrow as pa

from pipelines.sinks import lake_runs
from pipelines.sinks.lake import fingerprinted
from pipelines.sinks.lake_catalog import HOLDER, locked, make, write_connection
from pipelines.sinks.lake_commit import add_files, fingerprint, ignore, utc_now
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE, WriteEvents, WriteFailures
from pipelines.sinks.lake_ledger import record
from pipelines.sinks.lake_marks import Stored
from pipelines.sinks.lake_tables import declare
from pipelines.sinks.lake_upkeep import Tidy
from pipelines.sinks.lake_windows import change, measured, written
from pipelines.sinks.streamed import Finished, Moved, State, hold, moment
from schemas.arrow import stored_columns
from schemas.contract import Contract
from schemas.errors import Stage
from transforms.fates import READ, REPEATED
from transforms.ledger import LedgerRow, sums
from transforms.marks import Marks
from transforms.run_id import RunId

RENEWED = 100  # runs after which the connection is opened anew


class StreamLake:
    """For the time of one process. Raises Misconfigured where the folder is no lake of this contract, or is held."""

    def __init__(self, folder: str, contract: Contract, name: str, holder: str, at: Callable[[str], None] = ignore) -> None:
        """name: begins the ids of its runs; holder: who it is, for whoever is refused; at: told each step of a commit."""
        self.folder, self.contract, self.name, self.at = Path(folder).resolve(), contract, name, at
        self.columns = stored_columns(contract)
        make(self.folder)
        self._held = hold(self.folder / HOLDER, str(self.folder), holder)
        try:
            with locked(self.folder):
                self.connection = self._connected()
                declare(self.connection, self.folder, contract)
                self._lock = lake_runs.enlist(self.folder, name)
                lake_runs.clean(self.connection, self.folder)
                self.tidy, self._renewed = Tidy(self.connection, self.folder), 0
                self._snapshot = self._current()
        except BaseException:
            os.close(self._held)
            raise

    def state(self) -> State:
        """Where the last stream on these tables stood; call it first, and again after Moved."""
        with locked(self.folder):
            self._snapshot = self._current()
            found = self.connection.execute("""SELECT number, epoch_us(watermark), epoch_us(greatest) FROM lake.runs
                                               WHERE number IS NOT NULL ORDER BY number DESC LIMIT 1""").fetchone()
        return State(*found) if found else State(0, None, None)

    def days(self) -> list[date]:
        """The days on which events are stored."""
        return [day for (day,) in self.connection.execute("SELECT DISTINCT d FROM lake.events").fetchall()]

    def marks(self, day: date) -> Marks:
        """The marks of the events of a day, sorted by id."""
        return Stored(str(self.folder), self.contract.time)(day, day)

    def failed(self, subscription: str) -> list[str]:
        """The origins of the failures that came from a subscription."""
        found = self.connection.execute("SELECT origin FROM lake.failures WHERE starts_with(origin, ?)", [f"{subscription}:"]).fetchall()
        return [origin for (origin,) in found]

    def measured(self, since: int | None) -> Iterator[pa.RecordBatch]:
        """The columns that windows are made of, of the stored events from this time (us) on."""
        return measured(self.connection, self.contract, since)

    def windowed(self, since: int | None) -> pa.RecordBatch:
        """key, window_start, window_end and pane of the windows that end after this time."""
        return written(self.connection, since)

    def write_events(self, run: RunId) -> WriteEvents:
        return WriteEvents(str(self.folder), run, self.columns)

    def write_failures(self, run: RunId) -> WriteFailures:
        return WriteFailures(str(self.folder), run)

    def commit(self, run: Finished, clock: Callable[[], datetime] = utc_now) -> LedgerRow:
        """Commits a run whole, or raises and leaves the tables as they were: Moved, or duckdb.Error.

        A row whose `balanced` is False was committed all the same: its messages are stored or sealed, and acknowledging
        them loses nothing; the caller says so and ends.
        """
        with locked(self.folder):
            self.at("locked")
            if self._current() != self._snapshot:
                raise Moved
            self.connection.begin()
            try:
                row = self._transaction(run, clock)
            except BaseException:
                self.connection.rollback()
                raise
            self.connection.commit()
            self.at("committed")
            self._snapshot = self._current()
        return row

    def _transaction(self, run: Finished, clock: Callable[[], datetime]) -> LedgerRow:
        events = [f for f in run.written if f.table == EVENTS_TABLE]
        failures = [f for f in run.written if f.table == FAILURES_TABLE]
        add_files(self.connection, EVENTS_TABLE, events)
        self.at("added events")
        add_files(self.connection, FAILURES_TABLE, failures)
        self.at("added failures")
        stored = self._count("SELECT count(*) FROM lake.events WHERE run = ?", run.id) if events else 0
        found = self.connection.execute("SELECT stage, reason, count(*) FROM lake.failures WHERE run = ? GROUP BY ALL ORDER BY ALL",
                                        [run.id]).fetchall() if failures else []
        late = sum(rows for stage, _, rows in found if stage == str(Stage.WINDOW))
        reasons = {reason: rows for stage, reason, rows in found if stage != str(Stage.WINDOW)}
        if run.windows is not None:
            change(self.connection, run.windows)
        self.at("windows")
        fates, _ = sums(run.tallies)
        row = LedgerRow(run.id, "stream", f"{self.contract.name} {self.contract.version}", fates[READ], stored, fates[REPEATED],
                        sum(reasons.values()), late, reasons, fingerprint(self.connection, [f.path for f in events], fingerprinted(self.columns)),
                        run.started, clock(), (), run.engine, run.number, moment(run.watermark), moment(run.greatest))
        balanced = row.balanced and stored == sum(f.rows for f in events) and row.refused + late == sum(f.rows for f in failures)
        record(self.connection, row, balanced)
        self.at("recorded")
        return row

    def keep_up(self, idle: bool = False) -> None:
        """Between runs: merges, expires, removes; idle: there is time to look for orphans too."""
        if not self.tidy.due():
            return
        with locked(self.folder):
            if self._current() != self._snapshot:
                return  # somebody else was here: the next commit finds out
            self.tidy(idle)
            self.at("tidied")
            if self.tidy.runs - self._renewed >= RENEWED:
                self._renew()
            self._snapshot = self._current()

    def _renew(self) -> None:
        """A new connection, in 0.3 s: for as long as a process has one open, DuckDB keeps some 90 KB of each run (what DuckLake knew of the tables'
        columns after it, and handles of blocks long freed). Detaching the tables alone gives nothing back."""
        self._renewed = self.tidy.runs
        self.connection.close()
        self.connection = self.tidy.connection = self._connected()

    def _connected(self) -> "duckdb.DuckDBPyConnection":
        connection = write_connection(self.folder)
        connection.execute("SET threads = 1")  # a second one gains nothing on a run's files, and waits 20 ms of CPU for it
        return connection

    def close(self) -> None:
        """Lets go of the lake; files of a run that was not committed go."""
        with locked(self.folder):
            lake_runs.withdraw(self.connection, self.folder, self.name)
            lake_runs.discharge(self.folder, self.name, self._lock)
        self.connection.close()
        os.ftruncate(self._held, 0)
        os.close(self._held)

    def __enter__(self) -> "StreamLake":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _current(self) -> int:
        return self._count("FROM ducklake_current_snapshot('lake')")

    def _count(self, sql: str, *values: str) -> int:
        return int(self.connection.execute(sql, list(values)).fetchone()[0])
