"""The order in which a contract's events are written or published: late, out of order, more than once, and broken ones between them.

Everything is drawn from the seed; the events themselves stay as the sample has them, and each stands in the sequence once as a
first copy, before its repeat or its conflict. An event has one of these at most, so that its books do not depend on the order in
which the copies arrive.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from heapq import heappop, heappush
from importlib import import_module
from typing import NamedTuple

import orjson

from pipelines.tools.flaws import Flaws
from pipelines.tools.people import Random
from pipelines.tools.samples.sample import Sample
from pipelines.tools.truth import REPEATED, STORED
from schemas import contract as contracts
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured, Reason

MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
Stream = Callable[[], Iterator[Sample]]
"""Answers the same events each time, from the first on, in the order of event time."""


class Line(NamedTuple):
    """A row as it is sent, what must become of it (stored, repeated or a reason), and the event that it was made of.

    held: it is a first copy that was held back far beyond the disorder.
    """

    body: bytes
    fate: str
    sample: Sample
    held: bool = False


@dataclass(frozen=True)
class Mix:
    """What happens to events on their way.

    repeats, conflicts, broken: shares of the events that are followed by a second copy, by other content under their id, by a
    broken copy, at most `near` first copies later. disorder: no event stands behind one whose time is more than this later. late: share
    of the events that are held back until one has passed whose time is `hold` later.
    """

    repeats: float = 0.0
    conflicts: float = 0.0
    broken: float = 0.0
    near: int = 1_000
    disorder: timedelta = timedelta()
    late: float = 0.0
    hold: timedelta = timedelta()


def unknown(contract: str) -> list[Fault]:
    """The fault of a name that is no shipped contract's."""
    names = contracts.shipped()
    return [] if contract in names else [Fault("CONTRACT", f"{contract} is no shipped contract: there are no events of it", f"give one of {', '.join(names)}")]


def stream_of(contract: str, rows: int, seed: int) -> Stream:
    """The events of a shipped contract. Raises Misconfigured where it is none."""
    if faults := unknown(contract):
        raise Misconfigured(faults)
    events = import_module(f"pipelines.tools.samples.{contract}").events
    return lambda: events(rows, seed)


def live(stream: Stream, field: str, start: int, spacing: float) -> Stream:
    """The same events at other times: the first at `start` (microseconds since 1970), the others so many microseconds apart."""
    def moved() -> Iterator[Sample]:
        for number, sample in enumerate(stream()):
            time = start + int(number * spacing)
            yield Sample(sample.id, time, {**sample.row, field: written(time)})
    return moved


def written(time: int) -> str:
    """Microseconds since 1970 as RFC 3339, in UTC."""
    return f"{EPOCH + time * MICROSECOND:%Y-%m-%dT%H:%M:%S.%fZ}"


def day(time: int) -> date:
    """The day in UTC of microseconds since 1970."""
    return (EPOCH + time * MICROSECOND).date()


def sequence(stream: Stream, contract: Contract, mix: Mix, seed: int) -> Iterator[Line]:
    """All that is sent, in its order."""
    draw = random.Random(seed).random
    flaws = Flaws(contract)
    after: list[tuple[int, int, Line]] = []  # by the position of the first copy that they come after
    bounds = mix.repeats, mix.repeats + mix.conflicts, mix.repeats + mix.conflicts + mix.broken
    for position, (sample, held) in enumerate(_shuffled(stream, mix, draw)):
        body = orjson.dumps(sample.row)
        yield Line(body, STORED, sample, held)
        told = draw()
        if told < bounds[2]:
            if told < bounds[0]:
                line = Line(body, REPEATED, sample)
            elif told < bounds[1]:
                line = Line(flaws.conflicting(sample.row, draw), str(Reason.CONFLICT), sample)
            else:
                spoilt, reason = flaws.broken(sample.row, draw)
                line = Line(spoilt, str(reason), sample)
            heappush(after, (position + int(draw() * mix.near), position, line))
        while after and after[0][0] <= position:
            yield heappop(after)[2]
    while after:
        yield heappop(after)[2]


def _shuffled(stream: Stream, mix: Mix, draw: Random) -> Iterator[tuple[Sample, bool]]:
    """The events by their time plus up to `disorder`, those apart that are held back; and whether they are."""
    disorder, hold = mix.disorder // MICROSECOND, mix.hold // MICROSECOND
    reaches = _reach(stream)
    waiting: list[tuple[int, int, Sample]] = []
    held: deque[Sample] = deque()
    greatest = 0

    def passed(until: int | None) -> Iterator[tuple[Sample, bool]]:
        nonlocal greatest
        while waiting and (until is None or waiting[0][0] <= until):
            sample = heappop(waiting)[2]
            greatest = max(greatest, sample.time)
            yield sample, False
            while held and held[0].time + hold <= greatest:
                yield held.popleft(), True

    for position, sample in enumerate(stream()):
        yield from passed(sample.time)
        if mix.late and draw() < mix.late and reaches(sample.time + hold):
            held.append(sample)
        else:
            heappush(waiting, (sample.time + int(draw() * disorder), position, sample))
    yield from passed(None)


def _reach(stream: Stream) -> Callable[[int], bool]:
    """Tells of times, later and later ones, whether the stream has an event then or after."""
    ahead = stream()
    latest = 0

    def reaches(time: int) -> bool:
        nonlocal latest
        while latest < time:
            sample = next(ahead, None)
            if sample is None:
                return False
            latest = sample.time
        return True
    return reaches
