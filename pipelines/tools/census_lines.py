"""Lines of the census contract, and what must become of each: a pure function of (rows, seed, start, days), the same bytes on
every machine and version of Python.

The stream holds exactly `rows` lines, about 590 bytes each: first copies; 3 % repeats of a row at most RECENT first copies back,
one in eight written by another hand; conflicts (the id of such a row, other content); and about 1 % broken lines. A broken line
is a damaged copy of a row seen before, of the next row to come, or of one that never comes.
"""

import itertools
import random
from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta

from pipelines.tools.applications import Application, application, attributes, conflicting, reordered
from pipelines.tools.damage import DAMAGES, broken, oversized
from pipelines.tools.people import Random
from pipelines.tools.truth import REPEATED, STORED, Event
from schemas.errors import Reason

START = date(2026, 3, 2)
DAYS = 4
RECENT = 5_000
MAX_ROW_BYTES = 64_000
JITTER = 7_200.0
"""Seconds that a row may come before or after its turn."""
RATES = {REPEATED: 0.03, str(Reason.CONFLICT): 0.0009, str(Reason.MALFORMED): 0.0072, str(Reason.WRONG_TYPE): 0.0016,
         str(Reason.UNKNOWN_FIELD): 0.0010, str(Reason.MISSING_FIELD): 0.0003, str(Reason.OUT_OF_RANGE): 0.0003}
_DAMAGES = {str(reason): ways for reason, ways in DAMAGES.items()}
_WAYS = {**{fate: len(ways) for fate, ways in _DAMAGES.items()}, REPEATED: 8, str(Reason.CONFLICT): 1}


def census(rows: int, seed: int, start: date = START, days: int = DAYS) -> Iterator[bytes]:
    """The lines of `events`, without what must become of them."""
    return (event.line for event in events(rows, seed, start, days))


def events(rows: int, seed: int, start: date = START, days: int = DAYS, max_row_bytes: int = MAX_ROW_BYTES) -> Iterator[Event]:
    """Exactly `rows` events whose times run over `days` days from `start`, in UTC.

    From 1,000 rows on one line is longer than max_row_bytes; from 2,000 on every way to break a line occurs.
    """
    draw = random.Random(seed).random
    columns = attributes()
    dates = calendar(start, days)
    planned = _planned(rows)
    fates, bounds = _chances(rows, planned)
    recent: list[Application] = []
    awaited: list[Application] = []  # the row whose broken copy came first
    stored = 0

    def new(position: int) -> Application:
        return application(position, second(position, rows, days, draw), dates, columns, draw)

    for position in range(rows):
        if position in planned:
            fate, way = planned[position]
        else:
            fate = fates[bisect(bounds, draw())]
            way = -1 if fate == STORED else int(draw() * _WAYS[fate])
        if fate == STORED or not recent:
            row = awaited.pop() if awaited else new(position)
            if stored < RECENT:
                recent.append(row)
            else:
                recent[stored % RECENT] = row
            stored += 1
            yield Event(row.line.encode(), STORED, row.day)
        elif fate == REPEATED:
            again = _one_of(recent, draw).line
            yield Event((reordered(again, draw) if way == 0 else again).encode(), REPEATED)
        elif fate == Reason.CONFLICT:
            yield Event(conflicting(_one_of(recent, draw).line, draw).encode(), fate)
        else:
            origin = draw()
            row = _one_of(recent, draw) if origin < 0.3 else new(position)
            if origin > 0.7:
                awaited.append(row)
            line = oversized(row.line, max_row_bytes) if fate == Reason.TOO_LARGE else broken(row.line, _DAMAGES[fate][way], draw)
            yield Event(line, fate)


def calendar(start: date, days: int) -> list[date]:
    """The days that times are written with, whatever their zone: the one before `start`, `days` days, and the one after."""
    return [start + timedelta(days=d) for d in range(-1, days + 1)]


def second(position: int, rows: int, days: int, draw: Random) -> float:
    """When the row of this position comes, in seconds after the start."""
    turn = (position + 0.5) / rows * days * 86_400 + (draw() * 2 - 1) * JITTER
    return min(max(turn, 0.0), days * 86_400 - 1.0)


def _one_of(rows: list[Application], draw: Random) -> Application:
    return rows[int(draw() * len(rows))]


def _planned(rows: int) -> dict[int, tuple[str, int]]:
    """What must occur at least once, (fate, way) by position, spread evenly over the stream."""
    wanted: list[tuple[str, int]] = []
    if rows >= 2_000:
        wanted = [(fate, way) for fate, ways in _DAMAGES.items() for way in range(len(ways))]
        wanted += [(REPEATED, 0), (REPEATED, 1), (str(Reason.CONFLICT), 0)]
    if rows >= 1_000:
        wanted.append((str(Reason.TOO_LARGE), 0))
    return {(i + 1) * rows // (len(wanted) + 1): each for i, each in enumerate(wanted)}


def _chances(rows: int, planned: dict[int, tuple[str, int]]) -> tuple[list[str], list[float]]:
    """The fates and the upper bounds of a draw for each: what is planned is taken off, so that RATES hold on the whole."""
    already = Counter(fate for fate, _ in planned.values())
    chances = {fate: max(0.0, rate - already[fate] / rows) if rows else 0.0 for fate, rate in RATES.items()}
    return [*chances, STORED], list(itertools.accumulate(chances.values()))
