"""Load for BigQuery, second half: one step loads a run's days, then its failures, then its row of `runs`.

    for each day   one load job into events$YYYYMMDD that replaces it, whole or not at all; a day without rows gets an empty file
    failures       one load job that appends
    windows        of those days, made right (bigquery_windows)
    compared       what BigQuery counts and sums of those days with what the workers wrote
    runs           one row, last: a run without it is not done

Every job's id says the run and what is loaded, so a second try of this step finds what the first one did. Days become
visible one by one: between the first and the last load job readers see some days replaced and others not yet, and a run
that dies there leaves them so until it is tried again.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from pathlib import Path

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_files import Staged, loadable
from pipelines.sinks.bigquery_jobs import Failed, Load, Place, load
from pipelines.sinks.bigquery_lease import Lease
from pipelines.sinks.bigquery_ledger import Rows, counted, entry, ledger, refused
from pipelines.sinks.bigquery_windows import alone, rewindow
from pipelines.sinks.lake_commit import NOTHING, Unbalanced, utc_now
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE
from pipelines.sinks.once import Once
from schemas.contract import Contract
from schemas.errors import Misconfigured, Transient
from schemas.tables import FAILURES, Column
from transforms.fates import READ, REPEATED
from transforms.ledger import LedgerRow, Tally, sums


@dataclass(frozen=True)
class Request:
    """What is to be committed. days: those that the run replaces (ISO); folder: of this machine, for what is uploaded and for the
    verdict ("" for workers, who upload nothing); printed: the columns that the fingerprint covers; engine: what de-identified, as
    JSON; holder: of the lease on the days, "" without one; windowed: the contract, where it has windows.
    """

    dataset: Dataset
    endpoint: str
    location: str
    folder: str
    run: str
    job: str
    contract: str
    started: datetime
    days: tuple[str, ...]
    columns: tuple[Column, ...]
    printed: tuple[str, ...]
    engine: str = "{}"
    patience: Patience = Patience()
    holder: str = ""
    windowed: Contract | None = None


def verdict(folder: str) -> Path:
    """Where the commit of a run says why it failed."""
    return Path(folder) / "verdict"


def unbalanced(folder: str) -> Path:
    """What is there where the run is in the ledger, out of balance."""
    return Path(folder) / "unbalanced"


def commit(place: Place, request: Request, staged: Iterable[Staged], tallies: Iterable[Tally], clock: Callable[[], datetime] = utc_now,
           at: Callable[[str], None] = lambda step: None) -> LedgerRow:
    """Commits a run once: a second try finds it in the ledger and answers that row.

    at is told each step as it is reached. Raises Unbalanced, Failed (BigQuery refuses) or Transient (it is out of reach:
    try again under the same run id), whose text is left in `verdict` as well.
    """
    loaded: list[str] = []
    try:
        done = ledger(place, request.dataset, request.run)
        if done is not None and done[1]:
            return done[0]
        if done is not None:
            raise Unbalanced("the books of this run did not balance")
        with _held(place, request):
            return _commit(place, request, list(staged), list(tallies), clock, at, loaded)
    except (Unbalanced, Failed, Transient) as error:
        left = f"; {', '.join(loaded)} of {len(request.days)} days had been replaced" if loaded and not isinstance(error, Unbalanced) else ""
        if request.folder:
            verdict(request.folder).write_text(f"{error}{left}")
            if isinstance(error, Unbalanced):
                unbalanced(request.folder).touch()
        raise


@contextmanager
def _held(place: Place, request: Request) -> Iterator[None]:
    """Holds the days while they are loaded: workers may load them long after the process that held them has ended. Raises Failed."""
    if not request.holder:
        yield
        return
    lease = Lease(place, request.dataset, request.run, map(date.fromisoformat, request.days), request.holder, over=False)
    try:
        lease.take()
    except Misconfigured as error:
        raise Failed("; ".join(map(str, error.faults))) from None
    with lease.renewed():
        yield


def _commit(place: Place, request: Request, staged: list[Staged], tallies: list[Tally], clock: Callable[[], datetime], at: Callable[[str], None],
            loaded: list[str]) -> LedgerRow:
    events = [f for f in staged if f.table == EVENTS_TABLE]
    failures = sorted(f for f in staged if f.table == FAILURES_TABLE)
    if not {f.day for f in events} <= set(request.days):
        raise ValueError("a run that replaces days wrote rows of another day")
    row, problem = expected(request, events, failures, tallies, clock)
    if problem:
        _record(place, request, replace(row, stored=0, refused=0, reasons={}), False)
        raise Unbalanced(problem)
    for day in request.days:
        at(f"events {day}")
        files = sorted(f for f in events if f.day == day)
        digest = hashlib.sha256(repr([Path(f.path).name for f in files]).encode()).hexdigest()[:16]
        _load(place, request, f"{EVENTS_TABLE}${day.replace('-', '')}", f"{EVENTS_TABLE}-{day}-{digest}", files, request.columns)
        loaded.append(day)
    if failures:
        at("failures")  # sealed anew by each try: the id says nothing of their bytes, or a second try would append them again
        _load(place, request, FAILURES_TABLE, FAILURES_TABLE, failures, FAILURES)
    if request.windowed is not None:
        with alone(place, request.dataset, request.run):
            rewindow(place, request.dataset, request.windowed, map(date.fromisoformat, request.days), request.run, at)
    at("compare")
    days = ", ".join(f"DATE '{day}'" for day in request.days)
    there, fingerprint = counted(place, request.dataset, request.columns, request.printed, f"d IN ({days})")
    wanted, reasons = row, refused(place, request.dataset, request.run)
    row = replace(row, stored=sum(d.rows for d in there.values()), refused=sum(reasons.values()), reasons=reasons, fingerprint=fingerprint, ended=clock())
    problems = [f"events of {day}" for day in request.days if there.get(day, Rows()) != rows_of([f for f in events if f.day == day])]
    problems += ["failures"] if (row.refused, row.reasons) != (wanted.refused, wanted.reasons) else []
    at("runs")
    _record(place, request, row, balanced=not problems)
    if problems:
        raise Unbalanced(f"BigQuery holds other rows than were written: {', '.join(problems)}; another run may have replaced them meanwhile; "
                         "start a run under an id of its own")
    at("done")
    return row


def expected(request: Request, events: Sequence[Staged], failures: Sequence[Staged], tallies: Iterable[Tally],
             clock: Callable[[], datetime]) -> tuple[LedgerRow, str | None]:
    """(the books as the workers wrote and told them; how they do not balance, None where they do)."""
    fates, told = sums(tallies)
    reasons: Counter[str] = Counter()
    for file in failures:
        reasons.update(dict(file.reasons))
    row = LedgerRow(request.run, request.job, request.contract, fates[READ], sum(f.rows for f in events), fates[REPEATED], sum(f.rows for f in failures),
                    0, dict(reasons), NOTHING, request.started, clock(), request.days, request.engine)
    if row.balanced and (not told or told == reasons):
        return row, None
    return row, f"the books do not balance: {row.ways()}{f', {sum(told.values()):,} refused told by the stages' if told else ''}"


def rows_of(files: Sequence[Staged]) -> Rows:
    """What the rows of these files come to."""
    return Rows(*(sum(getattr(f, name) for f in files) for name in Rows._fields))


def _load(place: Place, request: Request, table: str, name: str, files: Sequence[Staged], columns: tuple[Column, ...]) -> None:
    source = loadable(files, columns, Path(request.folder) / f"{name}.upload")
    load(place, Load(f"penstock-{request.run}-{name}", f"{request.dataset.name}.{table}", source, replace="$" in table, labels=_labels(request)))


def _labels(request: Request) -> dict[str, str]:
    return {"penstock_run": request.run.lower()[:63]}


def _record(place: Place, request: Request, row: LedgerRow, balanced: bool) -> None:
    load(place, entry(request.dataset, row, balanced, _labels(request)))


class Commit(Once):
    """Commits every Staged and every Tally of a run."""

    def __init__(self, request: Request) -> None:
        super().__init__(partial(_committed, request), "LoadJobs")
        self.request = request


def _committed(request: Request, outcome: list[Staged | Tally]) -> LedgerRow:
    place = Place(connect(request.dataset.project, request.endpoint), request.location, request.patience)
    return commit(place, request, [o for o in outcome if isinstance(o, Staged)], [o for o in outcome if isinstance(o, Tally)])
