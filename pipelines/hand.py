"""What a graph that is kept for many runs takes from its process: the run in hand, and where its outcome is laid down.

A graph is translated once, and its parts are pickled into it; a Hand is a name that survives this, so that the parts find
the run in hand again. It works where the graph runs in the process that made it: on one machine.
"""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations

from schemas.contract import Contract
from transforms.batch import ORIGIN, keep
from transforms.deduplicate import marks_of
from transforms.fates import READ, REFUSED, REPEATED
from transforms.formats.block import Block
from transforms.ledger import Tally, count
from transforms.marks import Marks
from transforms.seen import Failed


class Remembers(Protocol):
    """Knows what is stored."""

    def copies(self, rows: Marks) -> Marks | None:
        """The marks of stored rows with the ids of these, sorted by id; None where there are none."""
        ...


@dataclass
class Run:
    """A run in hand. watermark: as it stood when it began, microseconds since 1970; outcome: what the graph laid down; failing:
    the origins of the rows that it refused; aside: REFUSED rows of messages that are not in the block, for they kill."""

    id: str
    block: Block
    watermark: int | None
    seen: Remembers
    failed: Failed
    outcome: list[Any] = field(default_factory=list)
    failing: list[str] = field(default_factory=list)
    aside: list[pa.RecordBatch] = field(default_factory=list)


_RUNS: dict[str, Run] = {}


@dataclass(frozen=True)
class Hand:
    """Names the run in hand of this process. Its methods can be pickled and passed to the parts of a graph."""

    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def take(self, run: Run) -> None:
        _RUNS[self.name] = run

    def empty(self) -> None:
        _RUNS.pop(self.name, None)

    def run(self) -> Run:
        return _RUNS[self.name]

    def id(self) -> str:
        return self.run().id

    def watermark(self) -> int | None:
        return self.run().watermark

    def copies(self, rows: Marks) -> Marks | None:
        return self.run().seen.copies(rows)


class ReadHand(beam.PTransform):
    """The messages of the run in hand, as one Block; outputs as ReadFiles has them: `refused` is what is set aside."""

    def __init__(self, hand: Hand) -> None:
        super().__init__()
        self.hand = hand

    @no_annotations  # Beam reads types off the DoFn; a transform with several outputs has none
    def expand(self, begin: beam.pvalue.PBegin) -> beam.pvalue.DoOutputsTuple:
        once = begin | "Once" >> beam.Impulse()
        return once | "Take" >> beam.ParDo(_TakeFn(self.hand)).with_outputs("refused", "tally", main="blocks")


class _TakeFn(beam.DoFn):
    def __init__(self, hand: Hand) -> None:
        self.hand = hand

    def process(self, _: bytes) -> Iterator[Block | TaggedOutput[Literal["refused"], pa.RecordBatch] | TaggedOutput[Literal["tally"], Tally]]:
        block, aside = self.hand.run().block, self.hand.run().aside
        count(READ, block.rows + len(aside))
        yield TaggedOutput("tally", Tally(READ, "", block.rows + len(aside)))
        for row in aside:
            count(REFUSED, 1)
            yield TaggedOutput("refused", row)
        if block.rows:
            yield block


class LookAgain(beam.PTransform):
    """REFUSED batches as a function makes them, which is told the run in hand and answers how many rows it took out: these are repeats. Output `tally`."""

    def __init__(self, hand: Hand, step: str, look: Callable[[Run, pa.RecordBatch], tuple[pa.RecordBatch, int]]) -> None:
        super().__init__()
        self.hand, self.step, self.look = hand, step, look

    @no_annotations  # Beam reads types off the DoFn; a transform with several outputs has none
    def expand(self, refused: beam.PCollection[pa.RecordBatch]) -> beam.pvalue.DoOutputsTuple:
        return refused | self.step >> beam.ParDo(_LookAgainFn(self.hand, self.look)).with_outputs("tally", main="refused")


class _LookAgainFn(beam.DoFn):
    def __init__(self, hand: Hand, look: Callable[[Run, pa.RecordBatch], tuple[pa.RecordBatch, int]]) -> None:
        self.hand, self.look = hand, look

    def process(self, refused: pa.RecordBatch) -> Iterator[pa.RecordBatch | TaggedOutput[Literal["tally"], Tally]]:
        seen, repeated = self.look(self.hand.run(), refused)
        if repeated:
            yield TaggedOutput("tally", Tally(REPEATED, "", repeated))
        if seen.num_rows:
            yield seen


def not_again(run: Run, refused: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
    """Without the messages that are in the failures already: these came again, and are repeats."""
    again = list[int]()
    met = set(run.failing)  # a message may come twice in one run
    for i, (origin, there) in enumerate(zip(refused[ORIGIN].to_pylist(), run.failed.among(refused[ORIGIN].to_pylist()))):
        if there or origin in met:
            again.append(i)
        met.add(origin)
    first = keep(refused, again)
    run.failing += first[ORIGIN].to_pylist()
    return first, len(again)


class Kept(beam.PTransform):
    """Batches as stored to their Marks: what was seen, once the run is committed."""

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        self.contract = contract

    def expand(self, stored: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[Marks]:
        return stored | "Marks" >> beam.Map(marks_of, self.contract).with_output_types(Marks)


class LayDown(beam.PTransform):
    """Whatever comes is laid down in the run's outcome, for the process to commit. Nothing is gathered first: a stage less."""

    def __init__(self, hand: Hand) -> None:
        super().__init__()
        self.hand = hand

    @no_annotations  # Beam cannot read those of several collections
    def expand(self, outcome: tuple[beam.PCollection[Any], ...]) -> list[beam.PCollection[None]]:
        return [part | f"Lay{i}" >> beam.ParDo(_LayDownFn(self.hand)).with_output_types(type(None)) for i, part in enumerate(outcome)]


class _LayDownFn(beam.DoFn):
    def __init__(self, hand: Hand) -> None:
        self.hand = hand

    def process(self, element: Any) -> None:
        self.hand.run().outcome.append(element)
