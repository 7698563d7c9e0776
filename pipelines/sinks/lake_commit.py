"""Load, second half: one step commits a run. Events, failures and the ledger row become visible together, or nothing does.

Counted from the tables, inside the transaction: stored, refused, reasons. Counted on the way: read, repeated. Where the two do not
meet, events and failures stay as they were, and the ledger row alone is kept, with balanced false and nothing stored or refused.

Two runs at once are judged by whoever commits later: a run that wrote into a day which the other replaced, or replaced
a day which the other wrote into, or stored an id which the other stored within the horizon, is lost: its files go when it ends, and nothing else is left.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa

from pipelines.sinks import lake_replays
from pipelines.sinks.lake_catalog import locked, quoted, write_connection
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE, Written
from pipelines.sinks.lake_ledger import ledger, record
from pipelines.sinks.lake_runs import verdict
from pipelines.sinks.lake_windows import rewindow
from pipelines.sinks.once import Once
from schemas.contract import Contract
from transforms.fates import READ, REFUSED, REPEATED
from transforms.ledger import LedgerRow, Tally, sums

NOTHING = "0" * 32  # the fingerprint of no rows


class Lost(Exception):
    """Another run committed first, and what this one read is out of date. Run it again."""


class Unbalanced(Exception):
    """read = stored + repeated + refused does not hold. The message says which counts differ."""


@dataclass(frozen=True)
class Request:
    """What is to be committed. days: those that the run replaces (ISO), empty where it adds; baseline: the lake's
    snapshot when the run began; columns: those that the fingerprint covers, in order; time: the event time's column;
    engine: what de-identified, as JSON; windowed: the contract, where it has windows.
    """

    folder: str
    run: str
    job: str
    contract: str
    started: datetime
    days: tuple[str, ...]
    baseline: int
    horizon: timedelta
    time: str
    columns: tuple[str, ...]
    engine: str = "{}"
    windowed: Contract | None = None


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


def ignore(step: str) -> None:
    """The default of `at`."""


def commit(request: Request, written: Iterable[Written], tallies: Iterable[Tally], clock: Callable[[], datetime] = utc_now,
           at: Callable[[str], None] = ignore, replayed: pa.Table | None = None) -> LedgerRow:
    """Commits a run once: a second try finds it in the ledger and answers that row.

    replayed: the failures that this run replayed (replays.marks); it is Lost where another did. at is told each step
    (tests kill the process there). Raises Lost or Unbalanced, whose text is left in lake_runs.verdict as well.
    """
    folder = Path(request.folder)
    files = list(written)
    with locked(folder):
        at("locked")
        connection = write_connection(folder)
        try:
            done = ledger(connection, request.run)
            if done is not None and done[1]:
                return done[0]
            if done is not None:
                raise Unbalanced("the books of this run did not balance")
            return _commit(connection, request, files, list(tallies), replayed, clock, at)
        except (Lost, Unbalanced) as error:
            verdict(folder, request.run).write_text(str(error))
            raise
        finally:
            connection.close()


def _commit(connection: "duckdb.DuckDBPyConnection", request: Request, files: list[Written], tallies: list[Tally], replayed: pa.Table | None,
            clock: Callable[[], datetime], at: Callable[[str], None]) -> LedgerRow:
    events = [f for f in files if f.table == EVENTS_TABLE]
    failures = [f for f in files if f.table == FAILURES_TABLE]
    touched = sorted({f.day for f in events} | set(request.days))
    if request.days and set(touched) != set(request.days):
        raise ValueError("a run that replaces days wrote rows of another day")
    print_of_rows = fingerprint(connection, [f.path for f in events], request.columns)
    at("fingerprinted")
    connection.begin()
    try:
        winner = (lake_replays.rival(connection, replayed) if replayed is not None else None) or _winner(connection, request, events, touched)
        if winner:
            raise Lost(winner)
        at("judged")
        before, deleted = _count(connection, touched), 0
        if request.days:
            deleted = connection.execute(f"DELETE FROM lake.events WHERE d IN {_days(request.days)}").fetchone()[0]
        at("deleted")
        add_files(connection, EVENTS_TABLE, events)
        at("added events")
        if request.windowed is not None and touched:
            rewindow(connection, request.windowed, [date.fromisoformat(day) for day in touched])
        add_files(connection, FAILURES_TABLE, failures)
        at("added failures")
        stored = _count(connection, touched) - before + deleted
        reasons = dict(connection.execute("SELECT reason, count(*) FROM lake.failures WHERE run = ? GROUP BY ALL ORDER BY ALL",
                                          [request.run]).fetchall())
        fates, expected = sums(tallies)
        row = LedgerRow(request.run, request.job, request.contract, fates[READ], stored, fates[REPEATED], sum(reasons.values()), 0,
                        reasons, print_of_rows, request.started, clock(), request.days, request.engine)
        problem = _imbalance(row, sum(f.rows for f in events), sum(f.rows for f in failures), fates[REFUSED], dict(expected))
        if problem:
            raise Unbalanced(problem)
        if replayed is not None:
            lake_replays.mark(connection, replayed)
            at("marked")
        record(connection, row, balanced=True)
        connection.execute(f"CALL ducklake_set_commit_message('lake', 'penstock', {quoted(f'run {request.run}')})")
        at("recorded")
    except Unbalanced:
        connection.rollback()
        record(connection, replace(row, stored=0, refused=0, reasons={}, fingerprint=NOTHING), balanced=False)
        raise
    except (Lost, duckdb.Error):
        connection.rollback()
        raise
    try:
        connection.commit()
    except duckdb.TransactionException:
        raise Lost("another program changed these tables at the same moment; run it again") from None
    at("committed")
    return row


def fingerprint(connection: "duckdb.DuckDBPyConnection", paths: list[str], columns: tuple[str, ...]) -> str:
    """An order-free digest of the rows in these files: the sum of DuckDB's 64-bit hash of each row, as 32 hex digits.

    It tells whether two runs stored the same rows, under one version of DuckDB, whose hash may change with the next; it
    is no defence against somebody who wants two tables to look the same. 0.35 us a row of 32 columns with two threads.
    """
    if not paths:
        return NOTHING
    listed = ", ".join(f'"{column}"' for column in columns)
    (total,) = connection.execute(f"SELECT sum(hash({listed})::HUGEINT) FROM {_files(paths)}").fetchone()
    return f"{total or 0:032x}"


def _winner(connection: "duckdb.DuckDBPyConnection", request: Request, events: list[Written], touched: list[str]) -> str | None:
    """Why this run is lost to one that committed since it began, or None."""
    since = connection.execute("SELECT run, partitions FROM lake.runs WHERE snapshot_id > ? AND balanced ORDER BY ended",
                               [request.baseline]).fetchall()
    for run, partitions in since:
        both = sorted(set(json.loads(partitions)) & set(touched))
        if both:
            return f"run {run} replaced {', '.join(both)} while this run was working; run it again"
    if request.days:
        found = connection.execute(f"""SELECT snapshot_id, d::VARCHAR FROM lake.events
                                       WHERE d IN {_days(request.days)} AND snapshot_id > ? LIMIT 1""", [request.baseline]).fetchone()
        return f"{_author(connection, found[0])} added rows to {found[1]} while this run was working; run it again" if found else None
    if not since or not events:
        return None
    days = request.horizon.days + 1
    found = connection.execute(f"""
        SELECT there.snapshot_id FROM lake.events there JOIN {_files([f.path for f in events])} here
        ON there.id_hash = here.id_hash AND abs(epoch_us(there."{request.time}") - epoch_us(here."{request.time}")) <= ?
        WHERE there.snapshot_id > ? AND there.d BETWEEN DATE '{touched[0]}' - {days} AND DATE '{touched[-1]}' + {days} LIMIT 1""",
        [request.horizon // timedelta(microseconds=1), request.baseline]).fetchone()
    return f"{_author(connection, found[0])} stored rows with the same ids while this run was working; run it again" if found else None


def _author(connection: "duckdb.DuckDBPyConnection", snapshot: int) -> str:
    found = connection.execute("SELECT run FROM lake.runs WHERE snapshot_id = ?", [snapshot]).fetchone()
    return f"run {found[0]}" if found else "another program"


def _imbalance(row: LedgerRow, written: int, sealed: int, refused: int, reasons: dict[str, int]) -> str | None:
    """Which counts differ, or None. What stages told of refusals is checked where they told any."""
    problems = []
    if row.stored != written:
        problems.append(f"stored: {row.stored:,} rows in the table, {written:,} written by the workers")
    if row.refused != sealed:
        problems.append(f"refused: {row.refused:,} rows in the table, {sealed:,} written by the workers")
    if reasons and (row.refused, row.reasons) != (refused, reasons):
        named = ", ".join(r for r in sorted(row.reasons.keys() | reasons.keys()) if row.reasons.get(r) != reasons.get(r))
        problems.append(f"refused: {row.refused:,} rows in the table, {refused:,} told by the stages (they differ in {named})")
    if row.read != row.ended_rows:
        problems.append(f"read: {row.ways()}")
    return "the books do not balance: " + "; ".join(problems) if problems else None


def _count(connection: "duckdb.DuckDBPyConnection", days: Iterable[str]) -> int:
    return int(connection.execute(f"SELECT count(*) FROM lake.events WHERE d IN {_days(days)}").fetchone()[0]) if days else 0


def add_files(connection: "duckdb.DuckDBPyConnection", table: str, files: list[Written]) -> None:
    """Makes files of a run part of a table, in the transaction that is open."""
    if files:
        paths = ", ".join(quoted(f.path) for f in files)
        partitioned = "true" if table == EVENTS_TABLE else "false"
        connection.execute(f"CALL ducklake_add_data_files('lake', '{table}', [{paths}], hive_partitioning => {partitioned})")


def _days(days: Iterable[str]) -> str:
    return f"({', '.join(f'DATE {quoted(day)}' for day in days)})"


def _files(paths: list[str]) -> str:
    return f"read_parquet([{', '.join(map(quoted, paths))}], hive_partitioning = false)"


class Commit(Once):
    """Commits every Written and every Tally of a run in one transaction."""

    def __init__(self, request: Request) -> None:
        super().__init__(partial(_committed, request), "Transaction")
        self.request = request


def _committed(request: Request, outcome: list[Written | Tally]) -> LedgerRow:
    return commit(request, [o for o in outcome if isinstance(o, Written)], [o for o in outcome if isinstance(o, Tally)])
