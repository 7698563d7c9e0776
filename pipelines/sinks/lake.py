"""A lake: a folder of tables (events, failures, runs) for one contract. Jobs write it, anyone reads it.

    with Lake.writer(folder, contract, run) as lake:      for the time of one run
        ... | lake.write_events() ... | lake.write_failures() ... | lake.commit("batch", days, started)
        lake.ledger(run)
    Lake.reader(folder).query("select ... from events")
"""

import logging
from collections.abc import Iterable
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import duckdb
import pyarrow as pa

from pipelines.sinks import lake_runs
from pipelines.sinks.lake_catalog import CATALOG, Reader, engine, locked, make, write_connection
from pipelines.sinks.lake_commit import Commit, Request
from pipelines.sinks.lake_files import WriteEvents, WriteFailures
from pipelines.sinks.lake_ledger import ledger
from pipelines.sinks.lake_marks import Stored
from pipelines.sinks.lake_tables import declare, ids
from pipelines.sinks.lake_upkeep import keep_up
from pipelines.sinks.lake_windows import rewindow
from schemas.arrow import stored_columns
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured
from schemas.tables import Column
from transforms.batch import ORIGIN, WATERMARK
from transforms.deduplicate import Nothing
from transforms.ledger import LedgerRow
from transforms.marks import Marks

_LOG = logging.getLogger(__name__)


class Rewindowed(NamedTuple):
    """Events of the days, window rows written, and deleted before that."""

    events: int
    written: int
    deleted: int


class Lake:
    """One run's hold on a lake. Take it as a context: what the run did not commit is gone when it ends."""

    def __init__(self, folder: str, contract: Contract, run: str, days: Iterable[date] = (), alone: bool = False) -> None:
        """Makes the folder and the tables where they are missing, and removes what dead runs left; days: those that the run
        replaces, for others to see; alone: where a living run replaces one of them, this one is refused now, and not only when it
        commits. Raises Misconfigured."""
        self.folder, self.contract, self.run = Path(folder).resolve(), contract, run
        self.columns = stored_columns(contract)
        make(self.folder)
        with closing(engine(self.folder)), locked(self.folder):  # what takes long comes first: others wait for the lock
            self.connection = write_connection(self.folder)
            declare(self.connection, self.folder, contract)
            if ledger(self.connection, run):
                raise Misconfigured([Fault(f"run {run}", "is in the ledger already", "start a run under an id of its own")])
            if alone:
                lake_runs.refuse(self.folder, run, days)
            self._lock = lake_runs.enlist(self.folder, run, days)
            self.baseline = int(self.connection.execute("FROM ducklake_current_snapshot('lake')").fetchone()[0])
            lake_runs.clean(self.connection, self.folder)

    @staticmethod
    def writer(folder: str, contract: Contract, run: str, days: Iterable[date] = (), alone: bool = False) -> "Lake":
        """For the time of one run; days: those that it replaces; alone: as above. Raises Misconfigured."""
        return Lake(folder, contract, run, days, alone)

    @staticmethod
    def done(folder: str, run: str) -> LedgerRow | None:
        """The row of a run that committed already; None where it has not. Raises Misconfigured."""
        if not (Path(folder) / CATALOG).exists():
            return None
        reader = Reader(Path(folder))
        try:
            found = ledger(reader.connection, run)
        finally:
            reader.close()
        return found[0] if found and found[1] else None

    @staticmethod
    def ids(folder: str, contract: Contract, without: Iterable[date] = ()) -> pa.Table:
        """Columns id and id_hash of some events that are stored, on other days than these. Raises Misconfigured."""
        if not (Path(folder) / CATALOG).exists():
            return pa.table({"id": pa.array([], pa.string()), "id_hash": pa.array([], pa.int64())})
        with closing(Reader(Path(folder))) as reader:
            return ids(reader.connection, contract, without)

    @staticmethod
    def reader(folder: str) -> Reader:
        """The tables, read only. Raises Misconfigured where the folder is not a lake."""
        return Reader(Path(folder))

    @property
    def parked(self) -> str:
        """A folder for batches that wait; it goes with the run."""
        return str(lake_runs.parked(self.folder, self.run))

    def stored(self, partitions: Iterable[date]) -> Stored | Nothing:
        """What answers the marks of the rows that this run adds to; nothing where it replaces."""
        return Nothing() if list(partitions) else Stored(str(self.folder), self.contract.time)

    def write_events(self) -> WriteEvents:
        return WriteEvents(str(self.folder), self.run, self.columns)

    def write_failures(self) -> WriteFailures:
        return WriteFailures(str(self.folder), self.run)

    def commit(self, job: str, partitions: Iterable[date], started: datetime, engine: str = "{}") -> Commit:
        """The step that commits this run; partitions are the days that it replaces, none where it adds; engine is JSON."""
        return Commit(Request(
            str(self.folder), self.run, job, f"{self.contract.name} {self.contract.version}", started,
            tuple(sorted({day.isoformat() for day in partitions})), self.baseline, self.contract.horizon, self.contract.time,
            fingerprinted(self.columns), engine, self.contract if self.contract.windows else None))

    def rewindow(self, days: Iterable[date]) -> "Rewindowed":
        """Makes the windows of these days (of all days where there are none) anew from the stored events, in one transaction."""
        with locked(self.folder):
            self.connection.begin()
            try:
                there = self.connection.execute("SELECT d, count(*) FROM lake.events GROUP BY d").fetchall()
                old = self.connection.execute("SELECT DISTINCT d FROM lake.windows").fetchall()
                wanted = set(days) or {day for day, *_ in [*there, *old]}
                changes = rewindow(self.connection, self.contract, wanted)
            except BaseException:
                self.connection.rollback()
                raise
            self.connection.commit()
        return Rewindowed(sum(rows for day, rows in there if day in wanted), changes.rows.num_rows, changes.gone.num_rows)

    def lost(self) -> str | None:
        """Why the commit of this run was refused (lost to another run, or out of balance); None where it was not."""
        path = lake_runs.verdict(self.folder, self.run)
        return path.read_text() if path.exists() else None

    def ledger(self, run: str) -> LedgerRow:
        """A run's row of the ledger. Raises KeyError where it committed nothing."""
        found = ledger(self.connection, run)
        if found is None:
            raise KeyError(run)
        return found[0]

    def close(self) -> None:
        """Ends the run: its files go unless they were committed, and the tables are kept up."""
        if self._lock.closed:
            return
        with locked(self.folder):
            try:
                committed = ledger(self.connection, self.run)
                lake_runs.withdraw(self.connection, self.folder, self.run)
                if committed:
                    keep_up(self.connection)
            except duckdb.Error as error:  # a full disk, or another program is at the tables: the next run removes what is left, and keeps them up
                _LOG.warning("upkeep of the tables was put off: %s", type(error).__name__)
            lake_runs.discharge(self.folder, self.run, self._lock)
        self.connection.close()

    def __enter__(self) -> "Lake":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def fingerprinted(columns: tuple[Column, ...]) -> tuple[str, ...]:
    """The columns that a fingerprint covers: those that are a function of the input and the contract alone."""
    return tuple(c.name for c in columns if c.name not in (ORIGIN, "run", WATERMARK))


def stored_hashes(lake: Lake, first_day: date | None = None, last_day: date | None = None) -> Marks:
    """The marks of the rows of these days (all where None), sorted by id_hash."""
    return Stored(str(lake.folder), lake.contract.time)(first_day, last_day)
