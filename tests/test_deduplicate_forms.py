"""Three forms, one answer: bounded, stateful, and runs repeated, on the same events in any order inside the horizon.

The bounded form runs on FnApiRunner, the stateful one on TestStream, the repeated runs on a kept graph as `stream` has them.
The oracle looks at one event at a time and knows none of them.
"""

from datetime import timedelta
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipelines.hand import Hand, ReadHand, Run
from pipelines.kept_graph import KeptGraph
from tests import gathering
from tests.contracts import plain_contract
from tests.gathering import SECOND, START, SUBSCRIPTION, gathered, make_decoder, message
from transforms.deduplicate import Deduplicate, Sift, marks_of
from transforms.formats.block import Block, Message
from transforms.marks import Marks
from transforms.park import Park
from transforms.seen import Failed, Seen

UNIT = 600 * SECOND  # of the events' times
HORIZON = 6  # units: an hour
CONTRACT = plain_contract(horizon=timedelta(hours=1))


class Event(NamedTuple):
    ident: int
    content: int
    time: int  # units


class Fates(NamedTuple):
    """Which events, by their number, were stored and which were refused as conflicts; how many repeat."""

    stored: list[int]
    conflicts: list[int]
    repeated: int


def oracle(events: list[Event]) -> Fates:
    kept: list[Event] = []
    fates = Fates([], [], 0)
    for number, event in enumerate(events):
        near = [k for k in kept if k.ident == event.ident and abs(k.time - event.time) <= HORIZON]
        if not near:
            kept.append(event)
            fates.stored.append(number)
        elif event in near:
            fates = fates._replace(repeated=fates.repeated + 1)
        else:
            fates.conflicts.append(number)  # the time is content too
    return fates


def messages(events: list[Event]) -> list[Message]:
    """In this order, published a second apart, long after the events."""
    return [message(i, f"r{e.ident}", START + e.time * UNIT, str(e.content), START + 10_000 * UNIT + i * SECOND) for i, e in enumerate(events)]


def cut(given: list[Message], cuts: list[int]) -> list[list[Message]]:
    """Into pieces, at these places."""
    places = sorted({0, len(given), *(c % (len(given) + 1) for c in cuts)})
    return [given[a:b] for a, b in zip(places, places[1:])]


def fates(out: gathering.Out) -> Fates:
    def numbers(rows: list[dict[str, object]]) -> list[int]:
        return sorted(int(str(row["origin"]).removeprefix(SUBSCRIPTION + ":")) for row in rows)
    assert {row["reason"] for row in out.refusals()} <= {"conflict"}
    return Fates(numbers(out.rows()), numbers(out.refusals()), out.sum("repeated"))


def bounded(pieces: list[list[Message]], shards: int) -> Fates:
    """Deduplicate, on blocks that Decode has read."""
    decode = make_decoder(CONTRACT)
    blocks = [Block(SUBSCRIPTION, "messages", i, 0, len(piece), b"", messages=tuple(piece)) for i, piece in enumerate(pieces)]
    keyed = [(block.key, decode(block)[0]) for block in reversed(blocks)]
    run = gathering.Kept()
    with beam.Pipeline("FnApiRunner", options=PipelineOptions([])) as pipeline:
        made = pipeline | beam.Create(keyed, reshuffle=False) | Deduplicate(CONTRACT, Park(None), shards=shards)
        run.take(made, "events", "refused", "tally")
    return fates(run.out)


def stateful(pieces: list[list[Message]], shards: int, most: int, advance: int) -> Fates:
    """Gather; after each piece but every `advance`-th the watermark follows the last message."""
    steps: list[list[Message] | int] = []
    for i, piece in enumerate(pieces):
        steps.append(piece)
        if i % advance:
            steps.append(piece[-1].published + (i % 2) * SECOND // 2)
    return fates(gathered(CONTRACT, steps, shards=shards, most=most))


class Runs:
    """Sift in repeated runs of one kept graph: what is stored is added to what was seen when a run is over, and not before."""

    def __init__(self) -> None:
        self.hand, self.run = Hand(), gathering.Kept()
        self.graph = KeptGraph(self.add, PipelineOptions([]))

    def add(self, pipeline: beam.Pipeline) -> None:
        read = pipeline | ReadHand(self.hand)
        decoded = read.blocks | beam.ParDo(_Decode()).with_output_types(tuple[str, pa.RecordBatch])
        self.run.take(decoded | Sift(CONTRACT, self.hand.copies, self.hand.watermark), "events", "refused", "tally")

    def __call__(self, pieces: list[list[Message]]) -> Fates:
        seen = Seen(_none, [], CONTRACT.horizon)
        self.run.clear()
        for number, piece in enumerate(pieces):
            before = len(self.run.out.events)
            self.hand.take(Run("run", Block(SUBSCRIPTION, "messages", number, 0, len(piece), b"", messages=tuple(piece)), None, seen, Failed([])))
            self.graph.run()
            for batch in self.run.out.events[before:]:
                seen.add(marks_of(batch, CONTRACT))
        return fates(self.run.out)


def _none(_: object) -> Marks:
    return Marks(*np.zeros((3, 0), np.int64))


class _Decode(beam.DoFn):
    def setup(self) -> None:
        self.decode = make_decoder(CONTRACT)

    def process(self, block: Block):  # type: ignore[no-untyped-def]
        yield block.key, self.decode(block)[0]


@pytest.fixture(scope="module")
def repeated_runs() -> Runs:
    return Runs()


def disordered(steps: list[tuple[int, int, int, int, int]]) -> list[Event]:
    """Events whose times are never more than a horizon behind the greatest one so far; `copy` sends one of the last again."""
    events: list[Event] = []
    now = 8  # an hour before midnight: what was seen is kept by days
    for ahead, behind, ident, content, copy in steps:
        now += ahead
        again = events[-copy] if 0 < copy <= len(events) else None
        events.append(again if again and again.time >= now - HORIZON else Event(ident, content, now - behind))
    return events


a_step = st.tuples(st.sampled_from([0, 0, 0, 0, 1, 2, 7]), st.sampled_from([0, 0, 1, 3, HORIZON - 1, HORIZON]), st.integers(0, 9), st.integers(0, 1),
                   st.sampled_from([0, 0, 0, 1, 4, 15, 40]))


@settings(max_examples=12, deadline=None, derandomize=True, phases=[Phase.generate])
@given(steps=st.lists(a_step, min_size=40, max_size=120), cuts=st.lists(st.integers(0, 120), max_size=8), shards=st.integers(1, 5),
       most=st.sampled_from([1, 3, 10, 1000]), advance=st.integers(1, 4))
def test_one_answer(repeated_runs: Runs, steps: list[tuple[int, int, int, int, int]], cuts: list[int], shards: int, most: int, advance: int) -> None:
    events = disordered(steps)
    expected = oracle(events)
    pieces = cut(messages(events), cuts)
    assert bounded(pieces, shards) == expected, "bounded"
    assert stateful(pieces, shards, most, advance) == expected, "stateful"
    assert repeated_runs(pieces) == expected, "repeated runs"


@pytest.mark.parametrize(("events", "expected", "remark"), [
    ([(1, 0, 100), (1, 0, 100 + HORIZON), (1, 0, 100 - HORIZON), (1, 0, 100)], Fates([0], [1, 2], 1), "at the horizon's edge, to either side"),
    ([(1, 0, 100), (1, 0, 101 + HORIZON), (1, 1, 102 + 2 * HORIZON)], Fates([0, 1, 2], [], 0), "again and again beyond the horizon"),
    ([(1, 0, 100), (1, 0, 107), (2, 0, 112), (1, 0, 106), (1, 0, 107), (1, 0, 100)], Fates([0, 1, 2], [3], 2), "near both that are stored"),
    ([(1, 0, 100), (1, 1, 100), (1, 1, 100), (1, 0, 100)], Fates([0], [1, 2], 1), "what was refused is none to compare with"),
    ([(i, 0, 100 + i) for i in range(40)] + [(i, 0, 100 + i) for i in range(33, 40)], Fates(list(range(40)), [], 7), "a stream much longer than the horizon"),
])
def test_one_answer_on_edges(repeated_runs: Runs, events: list[tuple[int, int, int]], expected: Fates, remark: str) -> None:
    given = [Event(*e) for e in events]
    pieces = cut(messages(given), list(range(0, len(given), 1 + len(given) // 5)))
    assert oracle(given) == expected
    for form, answer in (("bounded", bounded(pieces, 2)), ("stateful", stateful(pieces, 2, 1000, 4)), ("runs", repeated_runs(pieces))):
        assert answer == expected, f"{remark}: {form}"
