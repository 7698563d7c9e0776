"""What replays say of failures: which are chosen, which are left alone and why, and the rows of the table `replays`."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa

from schemas.arrow import arrow_schema
from schemas.errors import Reason, Stage
from schemas.tables import REPLAYS

REPLAYS_TABLE = "replays"
SCHEMA = arrow_schema(REPLAYS)
KEY = ("run", "stage", "reason", "origin", "attempt")
"""What names a failure."""
_NO_ROWS = {str(Stage.READ): "pieces of files that hold no whole row (stage read)",
            str(Stage.LOAD): "refused by the sink, sealed as stored (stage load)"}
NEVER = (*_NO_ROWS, str(Stage.WINDOW))
"""Stages whose failures are not opened."""
_LATE, _NOTHING = "late, in events already (stage window)", "without a sealed row"
_SETTLED = "refused in a replay by this contract's version already (--again tries them once more)"
_CRASHES = "kill what reads them (reason crashes): replay them on one machine, which tries them in a process of its own"
_UNDONE = "of runs that are not done: they have no row in runs yet"


class Failure(NamedTuple):
    """A row of the failures table; sealed is None where the row was not asked for. key: the public one that seals it, "" where not asked for."""

    run: str
    stage: str
    reason: str
    origin: str
    attempt: int
    sealed: bytes | None = None
    key: str = ""


@dataclass(frozen=True)
class Choice:
    """Which failures: "" and None leave a side open. since and until: of the start of the run that refused them, the second
    not included. settled: name and version of a contract; what a replay by it has refused is not tried by it again. crashes:
    whether rows that kill are tried.
    """

    stage: str = ""
    reason: str = ""
    run: str = ""
    since: datetime | None = None
    until: datetime | None = None
    settled: str = ""
    crashes: bool = True

    @property
    def late(self) -> bool:
        """Whether late rows are asked for by name."""
        return self.reason == str(Reason.LATE) or self.stage == str(Stage.WINDOW)


class Group(NamedTuple):
    """So many failures; left: why they are left alone, "" where they are replayed."""

    stage: str
    reason: str
    rows: int
    left: str


def left(choice: Choice, stage: str, reason: str, empty: bool, settled: bool, undone: bool = False) -> str:
    """Why such failures are left alone, "" where they are replayed. empty: no row is sealed; settled: a replay by this version
    has refused them; undone: the run that refused them has not ended."""
    if undone:
        return _UNDONE
    if stage == str(Stage.WINDOW):
        return "" if choice.late else _LATE
    if reason == str(Reason.CRASHES) and not choice.crashes:
        return _CRASHES
    return _NO_ROWS.get(stage, _NOTHING if empty else _SETTLED if settled else "")


def marks(failures: list[Failure], run: str, outcomes: list[str]) -> pa.Table:
    """Rows of `replays`: these failures, replayed by this run, each with what came of it."""
    columns = [list(column) for column in zip(*(f[:5] for f in failures))] or [[]] * 5
    return pa.table([*columns, [run] * len(failures), outcomes], schema=SCHEMA)
