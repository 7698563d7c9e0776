"""The windows table of a dataset, made right after events of some days changed: partitions of it are replaced, whole or not at all.

    read        the events of those days, and of days that windows hang over to: only the columns that windows are made of
    rebuilt     which rows go and which come (transforms.rebuild), scored by the contract's model of windows
    loaded      each day whose rows change into windows$YYYYMMDD with WRITE_TRUNCATE, the last day first; a day without rows gets an empty file

All windows count as closed, and belong to no run: the same events give the same rows. A rebuild that dies on the way is put right by
the next one of the same days. For that the last day comes first: where a session starts at the same time as in the table, a rebuild
takes what follows for right, and stops; so what lies later may be new already, but never what lies earlier.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from google.api_core import exceptions
from google.cloud.bigquery import ScalarQueryParameter

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import patiently
from pipelines.sinks.bigquery_files import as_parquet
from pipelines.sinks.bigquery_jobs import Load, Place, load, query
from pipelines.sinks.bigquery_lease import Lease
from pipelines.sinks.bigquery_ledger import named
from pipelines.sinks.bigquery_read import batches
from pipelines.sinks.lake_commit import ignore
from pipelines.sinks.lake_files import EVENTS_TABLE
from pipelines.window_rows import completed, measured, scorer
from schemas.arrow import arrow_schema, stored_columns, window_columns
from schemas.contract import Contract
from schemas.errors import Misconfigured
from transforms.panes import Changes
from transforms.rebuild import rebuild
from transforms.window import window_schema

WINDOWS_TABLE = "windows"
HELD = "windows"
"""What is held in the place of a day while windows are rebuilt."""
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EDGES = ("key", "window_start", "window_end")
_AT_ONCE = 5_000_000  # events, whose windows are in memory together


class Rewindowed(NamedTuple):
    """Window rows written, and deleted before that."""

    written: int = 0
    deleted: int = 0


def rewindow(place: Place, dataset: Dataset, contract: Contract, days: Iterable[date], run: str, at: Callable[[str], None] = ignore) -> Rewindowed:
    """Makes the windows right after the events of these days changed. run: names the jobs, each once.

    at is told each step. Raises Failed or Transient: then it must be done again.
    """
    assert contract.windows is not None
    found = rebuild(lambda first, last: _of_days(place, dataset, contract, first, last), sorted(set(days)),
                    lambda low, high: _between(place, dataset, contract, low, high), contract.windows, contract.time)
    changes = Changes(completed(found.rows, contract, scorer(contract.windows), None), found.gone)
    columns = window_columns(contract)
    schema, new = arrow_schema(columns), pa.Table.from_batches([changes.rows])
    changed = {(row["key"], row["window_start"]) for rows in (changes.gone, changes.rows.select(["key", "window_start"])) for row in rows.to_pylist()}
    touched = {start.date() for _, start in changed}
    once = secrets.token_hex(4)  # a job of this time alone: what an earlier try loaded may have been replaced since
    for day in sorted(touched, reverse=True):
        at(f"windows {day}")
        there = pa.Table.from_batches(_standing(place, dataset, schema, "d = @day", "TRUE", [ScalarQueryParameter("day", "DATE", day)]), schema)
        stays = [of not in changed for of in zip(there["key"].to_pylist(), there["window_start"].to_pylist())]
        rows = pa.concat_tables([there.filter(pa.array(stays, pa.bool_())), new.filter(pc.equal(new["d"], day))])
        load(place, Load(f"penstock-{run}-{WINDOWS_TABLE}-{day}-{once}", f"{dataset.name}.{WINDOWS_TABLE}${day:%Y%m%d}",
                         as_parquet(rows.combine_chunks().to_batches(), columns), replace=True, labels={"penstock_run": run.lower()[:63]}))
    return Rewindowed(changes.rows.num_rows, changes.gone.num_rows)


@contextmanager
def alone(place: Place, dataset: Dataset, run: str) -> Iterator[None]:
    """One rebuild at a time: waits until no other run holds the windows. Days next to each other share windows, and a backfill replaces
    several days at once. Raises Transient where its turn does not come."""
    lease = Lease(place, dataset, run, [HELD])

    def take() -> None:
        try:
            lease.take()
        except Misconfigured:
            raise exceptions.ServiceUnavailable("not yet") from None  # type: ignore[no-untyped-call]

    patiently(take, replace(place.patience, seconds=place.patience.job))
    with lease.renewed():
        yield


def rewindow_all(place: Place, dataset: Dataset, contract: Contract, days: Iterable[date], run: str, most: int = _AT_ONCE) -> tuple[int, Rewindowed]:
    """(events, what was done) of these days, or of all that hold events or windows where there are none: some days at a time, as they
    come. Raises Failed or Transient."""
    held = {row["d"]: int(row["n"]) for row in query(place, f"SELECT d, COUNT(*) AS n FROM {named(dataset, EVENTS_TABLE)} GROUP BY d")}
    windowed = [row["d"] for row in query(place, f"SELECT DISTINCT d FROM {named(dataset, WINDOWS_TABLE)}")]
    wanted = sorted(set(days) or {*held, *windowed})
    done = Rewindowed()
    for some in chunks(wanted, held, most):
        one = rewindow(place, dataset, contract, some, run)
        done = Rewindowed(done.written + one.written, done.deleted + one.deleted)
    return sum(held.get(day, 0) for day in wanted), done


def chunks(days: list[date], held: dict[date, int], most: int) -> Iterator[list[date]]:
    """The days in their order, as many at a time as hold so many events; one day at least."""
    some, rows = list[date](), 0
    for day in days:
        if some and rows + held.get(day, 0) > most:
            yield some
            some, rows = [], 0
        some.append(day)
        rows += held.get(day, 0)
    if some:
        yield some


def events(place: Place, dataset: Dataset, contract: Contract, where: str, parameters: Sequence[Any]) -> Iterator[pa.RecordBatch]:
    """The columns that windows are made of, of the stored events that a condition chooses. Raises Failed or Transient."""
    names = measured(contract)
    known = arrow_schema(stored_columns(contract))
    yield from batches(place, f"SELECT {_listed(names)} FROM {named(dataset, EVENTS_TABLE)} WHERE {where}", pa.schema([known.field(name) for name in names]),
                       parameters)


def _of_days(place: Place, dataset: Dataset, contract: Contract, first: date, last: date) -> Iterator[pa.RecordBatch]:
    return events(place, dataset, contract, "d BETWEEN @first AND @last",
                  [ScalarQueryParameter("first", "DATE", first), ScalarQueryParameter("last", "DATE", last)])


def _between(place: Place, dataset: Dataset, contract: Contract, low: int, high: int) -> pa.RecordBatch:
    """key, window_start and window_end of the windows that end after low and start before high (microseconds)."""
    assert contract.windows is not None
    known = window_schema(contract.windows)
    schema = pa.schema([known.field(name) for name in _EDGES])
    found = _standing(place, dataset, schema, "window_start < @high", "window_end > @low",
                      [ScalarQueryParameter(name, "TIMESTAMP", _EPOCH + timedelta(microseconds=at)) for name, at in (("low", low), ("high", high))])
    table = pa.Table.from_batches(found, schema).combine_chunks()
    return table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema)


def _standing(place: Place, dataset: Dataset, schema: pa.Schema, of: str, where: str, parameters: Sequence[Any]) -> Iterator[pa.RecordBatch]:
    """These columns of the windows as they stand: a stream adds each as a pane of its own, and of a session that is no more one that
    ends where it starts."""
    return batches(place, f"""
        SELECT {_listed(schema.names)} FROM (
          SELECT * FROM {named(dataset, WINDOWS_TABLE)} WHERE {of}
          QUALIFY ROW_NUMBER() OVER (PARTITION BY d, key, window_start ORDER BY pane DESC, run DESC) = 1)
        WHERE window_end > window_start AND {where}""", schema, parameters)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
