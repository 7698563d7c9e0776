"""A run of a replay on BigQuery: a sequence of load jobs, each done once, that the next replay finishes where it was cut.

    in hand    which failures the run tries and what came of each, into penstock_replaying
    events     one job that appends: what is accepted now, whole or not at all
    failures   one job that appends: what is refused again
    windows    made right for the days of those events
    replays    the marks: from here on nobody tries these failures again
    runs       the row of the ledger, with what BigQuery counts; last: a run without it is not done

Each job's id says the run and the step, and its labels who asked for it. A replay whose job was asked for by another one has lost
its turn (bigquery_turn), and stops. `finish` does the rest of a run whose replay died: it asks for the job ids itself, so that what
was not loaded never will be, and marks what was.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from google.cloud.bigquery import LoadJob, ScalarQueryParameter

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_commit import Request, expected, rows_of
from pipelines.sinks.bigquery_failures import Copies
from pipelines.sinks.bigquery_files import Staged, as_parquet, loadable
from pipelines.sinks.bigquery_jobs import Load, Place, loaded
from pipelines.sinks.bigquery_lease import Lease
from pipelines.sinks.bigquery_ledger import Rows, counted, entry, ledger, named, refused
from pipelines.sinks.bigquery_read import batches
from pipelines.sinks.bigquery_turn import TABLE, TAKEN, InHand, Turn
from pipelines.sinks.bigquery_windows import alone, rewindow
from pipelines.sinks.lake import fingerprinted
from pipelines.sinks.lake_commit import NOTHING, Lost, Unbalanced, utc_now
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE
from pipelines.sinks.replays import REPLAYS_TABLE, SCHEMA
from schemas.arrow import stored_columns
from schemas.contract import Contract
from schemas.errors import Misconfigured
from schemas.tables import FAILURES, REPLAYS, Column
from transforms.deduplicate import deduplicate
from transforms.fates import REFUSED, REPEATED, STORED
from transforms.ledger import LedgerRow, Tally
from transforms.marks import Marks

_BY, _FENCE = "penstock_by", "penstock_fence"  # labels of jobs: the replay whose run it is, or one that finishes it
_FIRST, _LAST = "penstock_first", "penstock_last"  # the days of the events
_LEASED = "a replay"  # of all replays one name: their turns, not the leases, keep them apart; no run's id has a space


@dataclass(frozen=True)
class Part:
    """A run in hand: where it goes, whose turn it is, and a folder of this machine for what is uploaded. at: told each step."""

    place: Place
    dataset: Dataset
    contract: Contract
    turn: Turn
    hand: InHand
    folder: str
    at: Callable[[str], None]

    def commit(self, tried: "pa.Table | list[str]", staged: Sequence[Staged], tallies: Sequence[Tally], clock: Callable[[], datetime] = utc_now,
               own: Marks | None = None) -> LedgerRow:
        """Commits the run; again by the same holder, it finds what it has done. tried: rows of `replays`, or the gs:// URIs of files with
        them; own: the marks of the events, read from their files on this machine where they are not given. Raises Lost (another replay has
        the turn, another run writes a day or has stored the same ids), Unbalanced, Failed or Transient; what it loaded before that the next
        replay finishes."""
        columns, run = stored_columns(self.contract), self.hand.run
        events, failures = ([f for f in staged if f.table == table] for table in (EVENTS_TABLE, FAILURES_TABLE))
        request = Request(self.dataset, "", self.place.location, self.folder, run, "replay", self.hand.contract, datetime.fromisoformat(self.hand.started),
                          (), columns, fingerprinted(columns), self.hand.engine, self.place.patience)
        row, problem = expected(request, events, failures, tallies, clock)
        if problem:
            self._own(entry(self.dataset, replace(row, stored=0, refused=0, reasons={}), False))
            raise Unbalanced(problem)
        marks = as_parquet(tried.to_batches(), REPLAYS) if isinstance(tried, pa.Table) else tried
        self.at("in hand")
        self._load("intent", TABLE, marks, replace=True)
        days = sorted({date.fromisoformat(f.day) for f in events})
        with ExitStack() as held:
            if events:
                self._hold(days, held)
                self._unseen(own or self._marks(events), days)
                self.at("events")
                self._load("events", EVENTS_TABLE, loadable(sorted(events), columns, Path(self.folder) / f"{run}.events"),
                           {_FIRST: days[0].isoformat(), _LAST: days[-1].isoformat()})
            if failures:
                self.at("failures")
                self._load("failures", FAILURES_TABLE, loadable(sorted(failures), FAILURES, Path(self.folder) / f"{run}.failures"))
            if events and self.contract.windows is not None:
                _windows(self.place, self.dataset, self.contract, self.turn, days, run, self.at)
            self.at("compare")
            there, fingerprint = _stored(self.place, self.dataset, columns, run, days[0], days[-1]) if events else ({}, NOTHING)
        reasons = refused(self.place, self.dataset, run)
        wanted, row = row, replace(row, stored=sum(d.rows for d in there.values()), refused=sum(reasons.values()), reasons=reasons,
                                   fingerprint=fingerprint, ended=clock())
        balanced = there == {day.isoformat(): rows_of([f for f in events if f.day == day.isoformat()]) for day in days} and row.reasons == wanted.reasons
        if balanced:
            self.at("replays")
            self._load("replays", REPLAYS_TABLE, marks)
        self.at("runs")
        self._own(entry(self.dataset, row, balanced))
        if not balanced:
            raise Unbalanced("BigQuery holds other rows of this run than were written")
        self.at("done")
        return row

    def _load(self, step: str, table: str, source: "Path | bytes | list[str]", told: dict[str, str] = {}, replace: bool = False) -> None:  # noqa: B006
        self._own(Load(f"penstock-{self.hand.run}-{step}", f"{self.dataset.name}.{table}", source, replace=replace, labels=told))

    def _own(self, what: Load) -> None:
        labels = {"penstock_run": self.hand.run.lower()[:63], _BY: self.turn.holder, **what.labels}
        if loaded(self.place, what._replace(labels=labels)).labels.get(_BY) != self.turn.holder:
            raise Lost(TAKEN)

    def _hold(self, days: list[date], held: ExitStack) -> None:
        lease = Lease(self.place, self.dataset, _LEASED, days)
        try:
            lease.take()
        except Misconfigured as error:
            raise Lost("; ".join(map(str, error.faults))) from None
        held.enter_context(lease.renewed())

    def _marks(self, events: Sequence[Staged]) -> Marks:
        names = ["id_hash", "content_hash", self.contract.time]
        rows = pa.concat_tables([pq.read_table(f.path, columns=names, partitioning=None) for f in events])
        return Marks(rows["id_hash"].to_numpy(), rows["content_hash"].to_numpy(), rows[self.contract.time].cast(pa.int64()).to_numpy())

    def _unseen(self, own: Marks, days: list[date]) -> None:
        """Raises Lost where rows with these ids were stored since the graph asked, but for those that an earlier try of this commit has loaded."""
        there = Copies(self.place, self.dataset, self.contract.time, self.contract.horizon).copies(own)
        if np.any(deduplicate(own, self.contract.horizon, there)) and not _stored(
                self.place, self.dataset, stored_columns(self.contract), self.hand.run, days[0], days[-1])[0]:
            raise Lost("rows with the same ids were stored while this run was working; run it again")


def finish(place: Place, dataset: Dataset, contract: Contract, turn: Turn, hand: InHand, at: Callable[[str], None],
           clock: Callable[[], datetime] = utc_now) -> LedgerRow | None:
    """Ends a run that another replay had in hand, by what it has loaded; None where that is nothing, or all. Raises Failed or Transient.

    What of it was not loaded is not marked: those failures are tried again.
    """
    if not hand.run or ledger(place, dataset, hand.run) is not None:
        return None
    labels = {"penstock_run": hand.run.lower()[:63], _FENCE: turn.holder}

    def step(name: str, table: str, source: bytes, replace: bool = False) -> LoadJob:
        at(f"finish {name}")
        return loaded(place, Load(f"penstock-{hand.run}-{name}", f"{dataset.name}.{table}", source, replace=replace, labels=labels))

    def claimed(name: str, table: str, columns: tuple[Column, ...], replace: bool = False) -> LoadJob | None:
        """The job of that replay; None where there was none, and now there will never be."""
        job = step(name, table, as_parquet([], columns), replace)
        return None if _FENCE in job.labels else job

    if claimed("intent", TABLE, REPLAYS, True) is None:
        return None
    events, failures = claimed("events", EVENTS_TABLE, stored_columns(contract)), claimed("failures", FAILURES_TABLE, FAILURES)
    tried = pa.Table.from_batches(batches(place, f"SELECT * FROM {named(dataset, TABLE)} WHERE replayed_by = @run", SCHEMA,
                                          [ScalarQueryParameter("run", "STRING", hand.run)]), SCHEMA)
    met = Counter(tried["outcome"].to_pylist())
    came = [STORED, REPEATED] if events or not met[STORED] else []
    came += [REFUSED] if failures or not met[REFUSED] else []
    tried = tried.filter(pc.is_in(tried["outcome"], pa.array(came, pa.string())))
    if not tried.num_rows:
        return None
    there, fingerprint = _stored(place, dataset, stored_columns(contract), hand.run, *(date.fromisoformat(events.labels[name]) for name in (_FIRST, _LAST))
                                 ) if events else ({}, NOTHING)
    if there and contract.windows is not None:
        _windows(place, dataset, contract, turn, map(date.fromisoformat, there), hand.run, at)
    step("replays", REPLAYS_TABLE, as_parquet(tried.combine_chunks().to_batches(), REPLAYS))
    reasons = refused(place, dataset, hand.run)
    ends = Counter(tried["outcome"].to_pylist())
    row = LedgerRow(hand.run, "replay", hand.contract, tried.num_rows, sum(d.rows for d in there.values()), ends[REPEATED], sum(reasons.values()), 0, reasons,
                    fingerprint, datetime.fromisoformat(hand.started), clock(), (), hand.engine)
    at("finish runs")
    loaded(place, entry(dataset, row, row.balanced)._replace(labels=labels))
    return row


def _windows(place: Place, dataset: Dataset, contract: Contract, turn: Turn, days: Iterable[date], run: str, at: Callable[[str], None]) -> None:
    """Makes the windows of these days right. Raises Lost before it would load what another replay may know better."""
    def still(step: str) -> None:
        at(step)
        turn.still()

    with alone(place, dataset, _LEASED):
        rewindow(place, dataset, contract, days, run, still)


def _stored(place: Place, dataset: Dataset, columns: tuple[Column, ...], run: str, first: date, last: date) -> tuple[dict[str, Rows], str]:
    """(the events of a run, by day; their fingerprint)."""
    return counted(place, dataset, columns, fingerprinted(columns), "run = @run AND d BETWEEN @first AND @last", [
        ScalarQueryParameter("run", "STRING", run), ScalarQueryParameter("first", "DATE", first), ScalarQueryParameter("last", "DATE", last)])
