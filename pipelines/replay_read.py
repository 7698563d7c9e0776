"""Failures on their way into the graph of a replay on Dataflow: one step asks BigQuery for them, workers open them.

What the first step reads goes through a shuffle, sealed: whatever is tried again behind it sees the same failures. Rows in clear
are in the memory of workers, and in the shuffle of Deduplicate, as those of a batch job are.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations

from pipelines.private_key import opener
from pipelines.replay_choice import left_alone
from pipelines.replay_marks import StageMarks, marked, packed
from pipelines.replay_rows import message, opened
from pipelines.sinks.bigquery_failures import Pending
from pipelines.sinks.bigquery_files import Staged
from pipelines.sinks.bigquery_replaying import LEFT, OTHER_KEY, SAME_ORIGIN, Replaying
from pipelines.sinks.replays import Choice, Failure
from transforms.fates import READ, REPEATED
from transforms.formats.block import Block
from transforms.formats.opened import OPENED
from transforms.ledger import Tally, count

BYTES, ROWS = 4 << 20, 5_000  # of sealed rows that one worker opens at once
_SEALED = pa.schema([("run", pa.string()), ("stage", pa.string()), ("reason", pa.string()), ("origin", pa.string()), ("attempt", pa.int32()),
                     ("sealed", pa.binary())])


class Private(NamedTuple):
    """What opens failures, by its name: a key version of Cloud KMS; endpoint: "" for Google's."""

    key: str
    endpoint: str = ""


class Read(NamedTuple):
    """Outputs as graph.Parts wants them of a job's Read; the tally holds the marks of late rows too."""

    blocks: beam.PCollection[Block]
    refused: beam.PCollection[pa.RecordBatch]
    tally: beam.PCollection[Staged | Tally]


class ReadFailures(beam.PTransform):
    """The failures that are chosen and pending, opened, as Blocks."""

    def __init__(self, replaying: Replaying, choice: Choice, private: Private, stage: StageMarks, most_bytes: int = BYTES, most_rows: int = ROWS) -> None:
        super().__init__()
        self.replaying, self.choice, self.private, self.stage, self.most = replaying, choice, private, stage, (most_bytes, most_rows)

    @no_annotations  # Beam reads types off the DoFn; a transform with several outputs has none
    def expand(self, begin: beam.pvalue.PBegin) -> Read:
        once = begin | "Once" >> beam.Impulse()
        asked = once | "Ask" >> beam.ParDo(_AskFn(self.replaying, self.choice, *self.most)).with_outputs("marks", "tally", main="sealed")
        rows = asked.sealed | "Keep" >> beam.Reshuffle() | "Open" >> beam.ParDo(_OpenFn(self.private)).with_outputs("refused", "tally", main="blocks")
        told = (asked.tally, rows.tally, asked.marks | "Mark" >> self.stage) | "Told" >> beam.Flatten()
        return Read(rows.blocks, rows.refused, told)


class _AskFn(beam.DoFn):
    def __init__(self, replaying: Replaying, choice: Choice, most_bytes: int, most_rows: int) -> None:
        self.replaying, self.choice, self.most_bytes, self.most_rows = replaying, choice, most_bytes, most_rows

    def process(self, _: bytes) -> Iterator[
            tuple[int, pa.RecordBatch] | TaggedOutput[Literal["marks"], pa.RecordBatch] | TaggedOutput[Literal["tally"], Tally]]:
        replaying = self.replaying
        place = replaying.place()
        replaying.begin(place)
        pending = Pending(place, replaying.dataset, self.choice)
        left = left_alone(pending.groups())
        late = pending.late()  # in events already: they repeat, and need not be opened
        if late:
            for fate in (READ, REPEATED):
                count(fate, len(late))
                yield TaggedOutput("tally", Tally(fate, "", len(late)))
        for batch in marked(late, replaying.run, REPEATED):
            yield TaggedOutput("marks", batch)
        twice = _Once()
        yield from enumerate(batches(filter(twice.first, pending.rows()), self.most_bytes, self.most_rows))
        for why, rows in {**left, SAME_ORIGIN: twice.others}.items():
            if rows:
                count(LEFT, rows)
                yield TaggedOutput("tally", Tally(LEFT, why, rows))


class _Once:
    """Takes one failure of each origin, since a run refuses an origin once, for each key: one of them opens it. others: how many it did not take.

    Origins are known by 64 bits of their digest: of two that share them by accident one waits for the next replay.
    """

    def __init__(self) -> None:
        self._met, self.others = set[bytes](), 0

    def first(self, failure: Failure) -> bool:
        origin = hashlib.blake2b(f"{failure.key}:{failure.origin}".encode(), digest_size=8).digest()
        new = origin not in self._met
        self._met.add(origin)
        self.others += not new
        return new


def batches(failures: Iterable[Failure], most_bytes: int = BYTES, most_rows: int = ROWS) -> Iterator[pa.RecordBatch]:
    """The failures in their order, still sealed, some at a time."""
    some, size = list[Failure](), 0
    for failure in failures:
        assert failure.sealed is not None
        if some and (size + len(failure.sealed) > most_bytes or len(some) >= most_rows):
            yield _batch(some)
            some, size = [], 0
        some.append(failure)
        size += len(failure.sealed)
    if some:
        yield _batch(some)


def _batch(failures: list[Failure]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(column, field.type) for column, field in zip(zip(*failures), _SEALED)], schema=_SEALED)


class _OpenFn(beam.DoFn):
    def __init__(self, private: Private, clock: Callable[[], float] = time.time) -> None:
        self.private, self.clock = private, clock

    def setup(self) -> None:
        self.unwrap = opener(self.private.key, self.private.endpoint)

    def process(self, element: tuple[int, pa.RecordBatch]) -> Iterator[
            Block | TaggedOutput[Literal["refused"], pa.RecordBatch] | TaggedOutput[Literal["tally"], Tally]]:
        number, sealed = element
        now = int(self.clock() * 1_000_000)
        for start, part in enumerate(opened((Failure(*row) for row in zip(*(column.to_pylist() for column in sealed.columns))), self.unwrap)):
            for fate, why, rows in ((READ, "", len(part.rows)), (LEFT, OTHER_KEY, part.others)):
                if rows:
                    count(fate, rows)
                    yield TaggedOutput("tally", Tally(fate, why, rows))
            if part.rows:
                named = (message(packed(failure), failure, row, now) for failure, row in zip(part.failures, part.rows))
                yield Block("", OPENED, number, start, len(part.rows), b"", messages=tuple(named))
