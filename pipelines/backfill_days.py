"""One day of a backfill: a batch run in a process of its own, and what becomes of it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any, NamedTuple

from pipelines.children import Ended
from pipelines.flags import written
from pipelines.options import BackfillOptions, BatchOptions

PLACE = "{partition}"
_NO_FILE = " matches no file; "  # what batch says of a pattern (pipelines/sources/listing.py)
_BY_CHANCE = "at the same moment"  # what batch says where the tables changed under its commit, and not these days (lake_commit.py)
_FAILED = "penstock batch failed; "
_CANNOT = "penstock batch cannot run:"
_TERMINATED = -15


class Outcome(NamedTuple):
    """How a day ended. row: its ledger row, {} where it was skipped, None where it is not done; reason: why not, "" where it was told to end."""

    day: date
    row: dict[str, Any] | None
    reason: str = ""

    def words(self) -> str:
        if self.row:
            return f"{self.row['read']:,} read, {self.row['stored']:,} stored, {self.row['refused']:,} refused"
        return "skipped: no files" if self.row == {} else self.reason or "ended before it was done"


@dataclass(frozen=True)
class Days:
    """Runs a day. start: runs `penstock ARGUMENTS` and answers how it ended; busy: the run that is writing this day, or None;
    name: an id for the run of a day and an attempt, the same where an attempt was cut short; nothing: a file without rows, for --empty=replace.
    """

    options: BackfillOptions
    beam: Sequence[str]
    start: Callable[[list[str]], Ended]
    busy: Callable[[date], str | None]
    name: Callable[[date, str], str]
    nothing: str

    def run(self, day: date) -> Outcome:
        """One day, once; a second time where chance was against its commit."""
        writer = self.busy(day)
        if writer:
            return Outcome(day, None, f"run {writer} is writing this day")
        given = self.options
        ended = self._batch(given, day)
        if _no_files(ended, self.options.input) and self.options.empty != "fail":
            if self.options.empty == "skip":
                return Outcome(day, {})
            given = replace(given, input=self.nothing, manifest="")
            ended = self._batch(given, day)
        if ended.code == 1 and _BY_CHANCE in ended.err:
            ended = self._batch(given, day, "again")
        if ended.code == 0:
            return Outcome(day, json.loads(ended.out.splitlines()[-1]))
        return Outcome(day, None, "" if ended.code == _TERMINATED else _reason(ended))

    def _batch(self, given: BackfillOptions, day: date, again: str = "") -> Ended:
        return self.start(arguments(replace(given, run=self.name(day, again)), day, self.beam))


def arguments(options: BackfillOptions, day: date | None, beam: Sequence[str] = ()) -> list[str]:
    """The command line of a day; without one, what all have in common."""
    values = {f.name: getattr(options, f.name) for f in fields(BatchOptions)}
    if day:
        values = {name: value.replace(PLACE, day.isoformat()) if isinstance(value, str) else value for name, value in values.items()}
    return ["batch", *written(BatchOptions(**values | {"partition": (day,) if day else (), "json": bool(day)})), *beam]


def _no_files(ended: Ended, patterns: str) -> bool:
    """Whether the run could not begin because none of its patterns names a file, and for no other reason."""
    faults = _faults(ended.err)
    return ended.code == 2 and all(_NO_FILE in fault for fault in faults) and len(faults) == len(list(filter(None, map(str.strip, patterns.split(",")))))


def _reason(ended: Ended) -> str:
    """What the run said of its end. Only what is written to be read is passed on: any other text may hold a row."""
    if ended.code == 2 and _CANNOT in ended.err:
        return "; ".join(_faults(ended.err))
    said = [line.removeprefix(_FAILED) for line in ended.err.splitlines() if line.startswith(_FAILED)]
    if said:
        return said[-1]
    return f"its process was killed by signal {-ended.code}" if ended.code < 0 else f"its process ended with exit code {ended.code}"


def _faults(err: str) -> list[str]:
    return [line.strip() for line in err.partition(_CANNOT)[2].splitlines() if line.strip()]
