"""What the stream job asks of the tables that it writes, and what it gives them: where the loop and its sinks meet."""

import fcntl
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Protocol

import apache_beam as beam
import pyarrow as pa

from schemas.errors import Fault, Misconfigured
from transforms.ledger import LedgerRow, Tally
from transforms.marks import Marks
from transforms.panes import Changes
from transforms.run_id import RunId
from transforms.seen import Failed

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Moved(Exception):
    """The tables are not as this stream left them: what it knows of them is out of date. It reads its state anew, and does the run again."""


class Held(Exception):
    """The stream cannot go on. The text says why, and holds no data."""


@dataclass(frozen=True)
class State:
    """Where a stream stood after its last run: its number (0 before the first), watermark and greatest event time (us)."""

    number: int
    watermark: int | None
    greatest: int | None


@dataclass(frozen=True)
class Finished:
    """A run that is to be committed. written: what the tables' own transforms laid down; windows: what it changes in their
    table, its rows with all the columns; failed: what is in `failures` already.
    """

    id: str
    number: int
    started: datetime
    written: list[Any]
    tallies: list[Tally]
    watermark: int | None
    greatest: int | None
    engine: str = "{}"
    windows: Changes | None = None
    failed: Failed = Failed([])


class StreamTables(Protocol):
    """Tables held by one stream. name: begins the ids of its runs; folder: of this machine, for what is about its processes."""

    name: str
    folder: Path

    def state(self) -> State:
        """Where the last stream on these tables stood; call it first, and again after Moved."""
        ...

    def days(self) -> Iterable[date]:
        """The days on which events are stored."""
        ...

    def marks(self, day: date) -> Marks:
        """The marks of the events of a day, sorted by id."""
        ...

    def failed(self, subscription: str) -> Iterable[str]:
        """The origins of the failures that came from a subscription."""
        ...

    def measured(self, since: int | None) -> Iterator[pa.RecordBatch]:
        """The columns that windows are made of, of the stored events from this time (us) on."""
        ...

    def windowed(self, since: int | None) -> pa.RecordBatch:
        """key, window_start, window_end and pane of the windows that end after this time."""
        ...

    def write_events(self, run: RunId) -> beam.PTransform:
        """Batches as they are stored, to what `commit` finds among `written`."""
        ...

    def write_failures(self, run: RunId) -> beam.PTransform:
        """Sealed batches, likewise."""
        ...

    def commit(self, run: Finished) -> LedgerRow:
        """Commits a run whole, or raises: Moved, Held, or what may pass when the run is done again.

        A row whose `balanced` is False was committed all the same: its messages are stored or sealed, and acknowledging
        them loses nothing; the caller says so and ends.
        """
        ...

    def keep_up(self, idle: bool) -> None:
        """Between runs: what the tables need; idle: there is time for it."""
        ...


def hold(path: Path, tables: str, holder: str) -> int:
    """Takes tables for one stream of this machine, until the descriptor is closed or the process ends. Raises Misconfigured."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        by = os.read(descriptor, 1_000).decode(errors="replace") or "another stream"
        os.close(descriptor)
        raise Misconfigured([Fault(tables, f"is held by {by}", "one stream at a time writes these tables: end it, or give another --output")]) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, holder.encode())
    return descriptor


def moment(micros: int | None) -> datetime | None:
    """Microseconds since 1970 as a time, UTC."""
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)


def micros(at: datetime | None) -> int | None:
    """The other way round."""
    return None if at is None else (at - _EPOCH) // timedelta(microseconds=1)
