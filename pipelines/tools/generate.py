"""penstock generate: events of the census contract as JSON lines, and the books that must come out of them.

The stream is a pure function of (rows, seed, start, days): the same bytes on every machine and version of Python. It
holds exactly `rows` lines, about 590 bytes each: first copies; 3 % repeats of a row at most RECENT first copies back, one in
eight written by another hand; conflicts (the id of such a row, other content); and about 1 % broken lines. A broken line
is a damaged copy of a row seen before, of the next row to come, or of one that never comes.
"""

import itertools
import json
import random
import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

from pipelines.options import GenerateOptions
from pipelines.progress import Watch
from pipelines.tools.applications import Application, application, attributes, conflicting, reordered
from pipelines.tools.damage import DAMAGES, broken, oversized
from pipelines.tools.people import Random
from schemas import contract as contracts
from schemas.errors import Fault, Misconfigured, Reason
from transforms.fates import PROGRESS

START = date(2026, 3, 2)
DAYS = 4
ROWS_A_FILE = 250_000
RECENT = 5_000
MAX_ROW_BYTES = 64_000
WRITTEN = "written"
STORED, REPEATED = "stored", "repeated"
RATES = {REPEATED: 0.03, str(Reason.CONFLICT): 0.0009, str(Reason.MALFORMED): 0.0072, str(Reason.WRONG_TYPE): 0.0016,
         str(Reason.UNKNOWN_FIELD): 0.0010, str(Reason.MISSING_FIELD): 0.0003, str(Reason.OUT_OF_RANGE): 0.0003}
_DAMAGES = {str(reason): ways for reason, ways in DAMAGES.items()}
_WAYS = {**{fate: len(ways) for fate, ways in _DAMAGES.items()}, REPEATED: 8, str(Reason.CONFLICT): 1}
_JITTER = 7_200.0  # seconds that a row may come before or after its turn


class Event(NamedTuple):
    """One line without its end, what must become of it (stored, repeated or a reason), and its day in UTC if it is stored."""

    line: bytes
    fate: str
    day: date | None = None


@dataclass(frozen=True)
class Truth:
    """The books of a generated stream: read = stored + repeated + refused; `reasons` sums to refused."""

    read: int
    stored: int
    repeated: int
    refused: int
    reasons: dict[str, int]
    stored_by_day: dict[str, int]
    rows: int
    seed: int
    contract: str
    version: str


def census(rows: int, seed: int, start: date = START, days: int = DAYS) -> Iterator[bytes]:
    """The lines of `events`, without what must become of them."""
    return (event.line for event in events(rows, seed, start, days))


def events(rows: int, seed: int, start: date = START, days: int = DAYS, max_row_bytes: int = MAX_ROW_BYTES) -> Iterator[Event]:
    """Exactly `rows` events whose times run over `days` days from `start`, in UTC.

    From 1,000 rows on one line is longer than max_row_bytes; from 2,000 on every way to break a line occurs.
    """
    draw = random.Random(seed).random
    columns = attributes()
    dates = [start + timedelta(days=d) for d in range(-1, days + 1)]
    planned = _planned(rows)
    fates, bounds = _chances(rows, planned)
    recent: list[Application] = []
    awaited: list[Application] = []  # the row whose broken copy came first
    stored = 0

    def new(position: int) -> Application:
        second = (position + 0.5) / rows * days * 86_400 + (draw() * 2 - 1) * _JITTER
        return application(position, min(max(second, 0.0), days * 86_400 - 1.0), dates, columns, draw)

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


def run(options: GenerateOptions) -> int:
    """Writes the files and prints what must come out of them."""
    with Watch(counted=WRITTEN):
        truth = write(options.contract, options.rows, options.seed, Path(options.output))
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(truth.reasons.items(), key=lambda each: -each[1]))
    print(f"{truth.read:,} lines in {options.output}; truth.json: {truth.stored:,} stored + {truth.repeated:,} repeated + "
          f"{truth.refused:,} refused{f' ({reasons})' if reasons else ''}")
    return 0


def write(contract: str, rows: int, seed: int, output: Path, rows_a_file: int = ROWS_A_FILE) -> Truth:
    """Writes OUTPUT/events-NNNNN-of-NNNNN.ndjson, then OUTPUT/truth.json; earlier files of these names are removed first.

    Raises Misconfigured where the contract has no generator or the number of rows is not between 1 and 100 million.
    """
    faults = []
    if contract != "census":
        faults.append(Fault("--contract", f"{contract} has no generator", "give census"))
    if not 1 <= rows <= 100_000_000:
        faults.append(Fault("--rows", "is not between 1 and 100,000,000", "give the number of lines to write"))
    if faults:
        raise Misconfigured(faults)
    checked = contracts.load(contract)
    output.mkdir(parents=True, exist_ok=True)
    for old in output.iterdir():
        if re.fullmatch(r"events-\d{5}-of-\d{5}\.ndjson|truth\.json", old.name):
            old.unlink()
    stream = events(rows, seed, max_row_bytes=checked.max_row_bytes)
    fates: Counter[str] = Counter()
    days: Counter[date] = Counter()
    files = -(-rows // rows_a_file)
    written = 0
    for number in range(files):
        with open(output / f"events-{number:05d}-of-{files:05d}.ndjson", "wb", buffering=1 << 20) as file:
            for line, fate, day in itertools.islice(stream, rows_a_file):
                file.write(line + b"\n")
                fates[fate] += 1
                written += 1
                if written % 5_000 == 0:
                    PROGRESS.add(WRITTEN, 5_000)
                if day is not None:
                    days[day] += 1
    reasons = {fate: n for fate, n in sorted(fates.items()) if fate not in (STORED, REPEATED)}
    truth = Truth(fates.total(), fates[STORED], fates[REPEATED], sum(reasons.values()), reasons,
                  {str(day): n for day, n in sorted(days.items())}, rows, seed, checked.name, checked.version)
    (output / "truth.json").write_text(json.dumps(asdict(truth), indent=2) + "\n", "utf-8")
    return truth


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
