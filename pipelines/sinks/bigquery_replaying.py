"""A replay that is several processes, as on Dataflow: what each of them knows of it, its first step and its last.

The first takes the turn (bigquery_turn), ends what a replay that died had begun, and says which run is in hand; the last commits
that run (bigquery_parts). Both may be tried again: the turn's holder and the run's id are the same each time, so that the second
try finds what the first one did.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_failures import Copies
from pipelines.sinks.bigquery_files import Staged
from pipelines.sinks.bigquery_jobs import Failed, Place
from pipelines.sinks.bigquery_ledger import ledger
from pipelines.sinks.bigquery_parts import Part, finish
from pipelines.sinks.bigquery_turn import TAKEN, InHand, Turn
from pipelines.sinks.lake_commit import NOTHING, Lost, Unbalanced, ignore, utc_now
from pipelines.sinks.replays import REPLAYS_TABLE
from schemas.contract import Contract
from transforms.fates import READ, REFUSED, REPEATED, STORED
from transforms.ledger import LedgerRow, Tally, sums
from transforms.marks import Marks

LEFT = "left"
"""The fate of failures that are not tried; a Tally's reason says why."""
OTHER_KEY = "sealed with another key"
SAME_ORIGIN = "of a place that another failure in this run is of: the next replay tries them"
_log = logging.getLogger("penstock")


@dataclass(frozen=True)
class Replaying:
    """One replay, which is one run. location: the dataset's; holder: of the turn, a random name; at: told each step."""

    dataset: Dataset
    endpoint: str
    location: str
    contract: Contract
    hand: InHand
    holder: str
    patience: Patience = Patience()
    at: Callable[[str], None] = ignore

    @property
    def run(self) -> str:
        return self.hand.run

    def place(self) -> Place:
        """Raises Misconfigured where there are no credentials."""
        return Place(connect(self.dataset.project, self.endpoint), self.location, self.patience)

    def begin(self, place: Place) -> None:
        """Takes the turn, ends the run that another replay had in hand, and sets this one in its place. Raises Lost, Failed or Transient."""
        turn = Turn(place, self.dataset, self.holder)
        there = turn.take()
        ended = None if there.run == self.run else finish(place, self.dataset, self.contract, turn, there, self.at)
        if ended:
            _log.warning("run %s of a replay that died is finished: %s", ended.run, ended.sentence())
        turn.begin(self.hand)
        self.at("begun")

    def nothing(self) -> LedgerRow:
        """The books of a run that has tried no row; no ledger has them."""
        return LedgerRow(self.run, "replay", self.hand.contract, 0, 0, 0, 0, 0, {}, NOTHING, datetime.fromisoformat(self.hand.started), utc_now(), (),
                         self.hand.engine)

    def copies(self, rows: Marks) -> Marks | None:
        """The marks of stored rows that have the ids of these. Raises Failed or Transient."""
        return Copies(self.place(), self.dataset, self.contract.time, self.contract.horizon).copies(rows)

    def commit(self, outcome: list[Any]) -> LedgerRow:
        """Commits the run: Staged files of events, failures and marks, Tallies, and the Marks of the events. Of no rows it commits nothing.

        Raises Unbalanced, Lost, Failed (also where the key opens nothing) or Transient.
        """
        staged, tallies = [o for o in outcome if isinstance(o, Staged)], [o for o in outcome if isinstance(o, Tally)]
        marked = [file for file in staged if file.table == REPLAYS_TABLE]
        fates, _ = sums(tallies)
        alone = Counter[str]()
        for tally in tallies:
            alone.update({tally.reason: tally.rows} if tally.fate == LEFT else {})
        for why, rows in sorted(alone.items()):
            _log.warning("%s failures left alone: %s", f"{rows:,}", why)
        if not fates[READ] and not marked:
            if alone[OTHER_KEY]:
                raise Failed(f"the key opens none of {alone[OTHER_KEY]:,} failures: they are {OTHER_KEY}")
            return self.nothing()
        place = self.place()
        done = ledger(place, self.dataset, self.run)
        if done is not None and done[0].read != fates[READ]:
            raise Lost(TAKEN)  # it has ended this run by what was loaded
        if done is not None:
            return _balanced(*done)
        met = sum((Counter(dict(file.reasons)) for file in marked), Counter[str]())
        if met.total() != fates[READ] or met[REPEATED] != fates[REPEATED]:
            raise Unbalanced(f"the marks do not balance: {fates[READ]:,} rows tried, {met.total():,} marked "
                             f"({met[STORED]:,} stored, {met[REPEATED]:,} repeated, {met[REFUSED]:,} refused)")
        found = [o for o in outcome if isinstance(o, Marks)]
        own = Marks(*(np.concatenate(column) for column in zip(*found))) if found else None
        part = Part(place, self.dataset, self.contract, Turn(place, self.dataset, self.holder), self.hand, "", self.at)
        return part.commit(sorted(file.path for file in marked), [file for file in staged if file.table != REPLAYS_TABLE], tallies, own=own)


def _balanced(row: LedgerRow, balanced: bool) -> LedgerRow:
    if not balanced:
        raise Unbalanced("the books of this run did not balance")
    return row
