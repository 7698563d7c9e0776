"""Failures on their way through the graph again. They are opened in the memory of this process and nowhere else.

In the graph a row's origin is its number among the rows in hand: the same place of a file may have been refused by several
runs, and each failure has an attempt and an outcome of its own. It leaves the graph under its true origin.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import apache_beam as beam
import pyarrow as pa

from pipelines.hand import Hand, Run
from pipelines.sinks.bigquery_files import Staged
from pipelines.sinks.lake_files import Written
from pipelines.sinks.replays import Failure
from schemas.errors import Stage
from transforms.batch import ORIGIN, with_column
from transforms.decode import AHEAD
from transforms.fates import REFUSED, REPEATED, STORED
from transforms.formats.block import Block, Message
from transforms.formats.opened import BODY, CSV, FORM, JSON, OPENED
from transforms.seal import NotOurs, Unwrap, unseal

BYTES, ROWS = 64 << 20, 100_000  # of opened rows in hand at once
_NEVER_AHEAD = (1 << 62) - AHEAD  # files have no time of publishing
_SUBSCRIPTION = re.compile(r"projects/[^/]+/subscriptions/[^/]+:")
_CSV = re.compile(r".*\.csv(\.gz)?:\d+", re.DOTALL)  # only a name tells that a file is CSV


@dataclass
class Opened:
    """Failures and the rows that they held, in the clear; others: how many of the failures read the key did not open."""

    failures: list[Failure] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list)
    others: int = 0


def opened(failures: Iterable[Failure], unwrap: Unwrap, most_bytes: int = BYTES, most_rows: int = ROWS) -> Iterator[Opened]:
    """The failures in their order, opened, as many at a time; no two of the same origin, since a run refuses an origin once.

    Raises what unwrap raises, but for ValueError: these rows are counted and left out.
    """
    part, origins, size = Opened(), set[str](), 0
    for failure in failures:
        assert failure.sealed is not None
        try:
            row = unseal(failure.sealed, failure.run, failure.stage, failure.reason, failure.origin, unwrap)
        except NotOurs:
            part.others += 1
            continue
        if part.rows and (size + len(row) > most_bytes or len(part.rows) >= most_rows or failure.origin in origins):
            yield part
            part, origins, size = Opened(), set(), 0
        part.failures.append(failure._replace(sealed=None))
        part.rows.append(row)
        origins.add(failure.origin)
        size += len(row)
    if part.failures or part.others:
        yield part


def message(name: str, failure: Failure, row: bytes, now: int) -> Message:
    """An opened row as Decode takes it. name: by which it is known again; now: microseconds; when a message was published is not known any more."""
    streamed = bool(_SUBSCRIPTION.match(failure.origin))
    csv = failure.stage == str(Stage.DECODE) and bool(_CSV.fullmatch(failure.origin.lower()))
    return Message(row, name, now if streamed else _NEVER_AHEAD, {FORM: BODY if streamed else CSV if csv else JSON})


def block(part: Opened, number: int, without: Iterable[str] = (), clock: Callable[[], float] = time.time) -> Block:
    """The rows as one Block; without: numbers (as text) of those that are left out."""
    now, out = int(clock() * 1_000_000), set(without)
    messages = tuple(message(str(i), failure, row, now) for i, (failure, row) in enumerate(zip(part.failures, part.rows)) if str(i) not in out)
    return Block("", OPENED, number, 0, len(messages), b"", messages=messages)


@dataclass
class Replay(Run):
    """A run in hand. failures: where each row came from, by its number; ended: what came of those that did not repeat."""

    failures: list[Failure] = field(default_factory=list)
    ended: dict[int, str] = field(default_factory=dict)

    def end(self, rows: pa.RecordBatch, outcome: str) -> list[Failure]:
        """Notes what came of these rows; answers where they came from."""
        numbers = [int(origin[1:]) for origin in rows[ORIGIN].to_pylist()]  # Decode writes PATH:ID, and the path is empty
        self.ended.update(dict.fromkeys(numbers, outcome))
        return [self.failures[number] for number in numbers]

    def outcomes(self) -> list[str]:
        return [self.ended.get(number, REPEATED) for number in range(len(self.failures))]


class StoreNamed(beam.PTransform):
    """Batches of events to a sink, under their true origins."""

    def __init__(self, hand: Hand, sink: beam.PTransform) -> None:
        super().__init__()
        self.hand, self.sink = hand, sink

    def expand(self, events: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[Written | Staged]:
        named = events | "Name" >> beam.ParDo(_NameFn(self.hand)).with_output_types(pa.RecordBatch)
        return named | "Store" >> self.sink


class _NameFn(beam.DoFn):
    def __init__(self, hand: Hand) -> None:
        self.hand = hand

    def process(self, events: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        run = self.hand.run()
        assert isinstance(run, Replay)
        yield with_column(events, ORIGIN, pa.array([f.origin for f in run.end(events, STORED)], pa.string()))


def again(run: Run, refused: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
    """REFUSED rows under their true origins, with attempts one higher; nothing is taken out."""
    assert isinstance(run, Replay)
    before = run.end(refused, REFUSED)
    named = with_column(refused, ORIGIN, pa.array([f.origin for f in before], pa.string()))
    return with_column(named, "attempt", pa.array([f.attempt + 1 for f in before], pa.int32())), 0
