"""Load for BigQuery, second half: one step loads a run's days, then its failures, then its row of `runs`.

    for each day   one load job into events$YYYYMMDD that replaces it, whole or not at all; a day without rows gets an empty file
    failures       one load job that appends
    compared       what BigQuery counts and sums of those days with what the workers wrote
    runs           one row, last: a run without it is not done

Every job's id says the run and what is loaded, so a second try of this step finds what the first one did. Days become
visible one by one: between the first and the last load job readers see some days replaced and others not yet, and a run
that dies there leaves them so until it is tried again.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.typehints.decorators import no_annotations
from google.cloud.bigquery import ScalarQueryParameter

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_files import Staged, as_parquet, joined
from pipelines.sinks.bigquery_jobs import Failed, Load, Place, lines, load, query
from pipelines.sinks.bigquery_lease import Lease
from pipelines.sinks.lake_commit import NOTHING, Unbalanced, utc_now
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE
from schemas.errors import Misconfigured, Transient
from schemas.tables import FAILURES, RUNS, Column
from transforms.fates import READ, REPEATED
from transforms.ledger import LedgerRow, Tally, sums


@dataclass(frozen=True)
class Request:
    """What is to be committed. days: those that the run replaces (ISO); folder: of this machine, for what is uploaded and
    for the verdict; printed: the columns that the fingerprint covers; engine: what de-identified, as JSON; holder: of the lease on the days, "" without one.
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


class _Day(NamedTuple):
    """What a day's rows come to."""

    rows: int = 0
    ids: int = 0
    contents: int = 0
    cells: int = 0


def verdict(folder: str) -> Path:
    """Where the commit of a run says why it failed."""
    return Path(folder) / "verdict"


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
        verdict(request.folder).write_text(f"{error}{left}")
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
    fates, told = sums(tallies)
    reasons: Counter[str] = Counter()
    for file in failures:
        reasons.update(dict(file.reasons))
    row = LedgerRow(request.run, request.job, request.contract, fates[READ], sum(f.rows for f in events), fates[REPEATED], sum(f.rows for f in failures),
                    0, dict(reasons), NOTHING, request.started, clock(), request.days, request.engine)
    if not row.balanced or (told and told != reasons):
        _record(place, request, replace(row, stored=0, refused=0, reasons={}), False)
        raise Unbalanced(f"the books do not balance: {row.read:,} rows at the source, {row.stored + row.repeated + row.refused:,} ended ({row.stored:,} "
                         f"stored, {row.repeated:,} repeated, {row.refused:,} refused{f', {sum(told.values()):,} told by the stages' if told else ''})")
    for day in request.days:
        at(f"events {day}")
        files = sorted(f for f in events if f.day == day)
        digest = hashlib.sha256(repr([Path(f.path).name for f in files]).encode()).hexdigest()[:16]
        _load(place, request, f"{EVENTS_TABLE}${day.replace('-', '')}", f"{EVENTS_TABLE}-{day}-{digest}", files, request.columns)
        loaded.append(day)
    if failures:
        at("failures")  # sealed anew by each try: the id says nothing of their bytes, or a second try would append them again
        _load(place, request, FAILURES_TABLE, FAILURES_TABLE, failures, FAILURES)
    at("compare")
    there, prints = _days(place, request)
    refused = _refused(place, request)
    row = replace(row, stored=sum(d.rows for d in there.values()), refused=sum(refused.values()), reasons=refused,
                  fingerprint=f"{prints % (1 << 128):032x}", ended=clock())
    problems = [f"events of {day}" for day in request.days if there.get(day, _Day()) != _expected(events, day)]
    problems += ["failures"] if (row.refused, refused) != (sum(f.rows for f in failures), dict(reasons)) else []
    at("runs")
    _record(place, request, row, balanced=not problems)
    if problems:
        raise Unbalanced(f"BigQuery holds other rows than were written: {', '.join(problems)}; another run may have replaced them meanwhile")
    at("done")
    return row


def _load(place: Place, request: Request, table: str, name: str, files: Sequence[Staged], columns: tuple[Column, ...]) -> None:
    """Loads files as one job: by their URIs from Cloud Storage, else by an upload."""
    source: Path | bytes | list[str] = as_parquet([], columns)
    if files and "://" in files[0].path:
        source = [f.path for f in files]
    elif files:
        source = Path(files[0].path) if len(files) == 1 else joined(files, columns, Path(request.folder) / f"{name}.upload")
    load(place, Load(f"penstock-{request.run}-{name}", f"{request.dataset.name}.{table}", source, replace="$" in table,
                     labels={"penstock_run": request.run.lower()[:63]}))


def _expected(events: Sequence[Staged], day: str) -> _Day:
    own = [f for f in events if f.day == day]
    return _Day(*(sum(getattr(f, name) for f in own) for name in _Day._fields))


def _days(place: Place, request: Request) -> tuple[dict[str, _Day], int]:
    """(what BigQuery holds, by day; the sum of the fingerprints of its rows)."""
    def whole(what: str) -> str:
        return f"SUM(CAST({what} AS BIGNUMERIC))"

    covered = ", ".join(f"`{name}`" for name in request.printed)
    cells = " + ".join(f"COUNT(`{column.name}`)" for column in request.columns)
    found = query(place, f"""
        SELECT d, COUNT(*) AS n, {whole('id_hash')} AS ids, {whole('content_hash')} AS contents, {cells} AS cells,
               {whole(f'FARM_FINGERPRINT(TO_JSON_STRING(STRUCT({covered})))')} AS prints
        FROM `{_named(request.dataset, EVENTS_TABLE)}` WHERE d IN ({', '.join(f"DATE '{day}'" for day in request.days)}) GROUP BY d""")
    days = {r["d"].isoformat(): _Day(int(r["n"]), int(r["ids"]), int(r["contents"]), int(r["cells"])) for r in found}
    return days, sum(int(r["prints"]) for r in found)


def _refused(place: Place, request: Request) -> dict[str, int]:
    found = query(place, f"SELECT reason, COUNT(*) AS n FROM `{_named(request.dataset, FAILURES_TABLE)}` WHERE run = @run GROUP BY reason",
                  [ScalarQueryParameter("run", "STRING", request.run)])
    return {str(r["reason"]): int(r["n"]) for r in sorted(found, key=lambda r: str(r["reason"]))}


def _record(place: Place, request: Request, row: LedgerRow, balanced: bool) -> None:
    """Puts the row into `runs`, once."""
    values: dict[str, Any] = {c.name: getattr(row, c.name) for c in RUNS if c.name != "balanced"}
    values |= {"reasons": json.dumps(row.reasons), "partitions": json.dumps(row.partitions), "balanced": balanced}
    written = {name: value.isoformat() if isinstance(value, date) else value for name, value in values.items() if value is not None}
    load(place, Load(f"penstock-{request.run}-runs", f"{request.dataset.name}.runs", lines([written]), "NEWLINE_DELIMITED_JSON"))


def ledger(place: Place, dataset: Dataset, run: str) -> tuple[LedgerRow, bool] | None:
    """The run's row and whether it balanced, or None where it has none. Raises Failed or Transient."""
    names = [c.name for c in RUNS]
    found = query(place, f"SELECT {', '.join(names)} FROM `{_named(dataset, 'runs')}` WHERE run = @run", [ScalarQueryParameter("run", "STRING", run)])
    if not found:
        return None
    row = dict(found[0])
    balanced = bool(row.pop("balanced"))
    row |= {"reasons": json.loads(row["reasons"]), "partitions": tuple(json.loads(row["partitions"]))}
    row |= {name: value.astimezone(timezone.utc) for name, value in row.items() if isinstance(value, datetime)}
    return LedgerRow(**row), balanced


def _named(dataset: Dataset, table: str) -> str:
    return f"{dataset.project}.{dataset.name}.{table}"


class Commit(beam.PTransform):
    """Gathers every Staged and every Tally of a run and commits it, even where there are none; answers its LedgerRow."""

    def __init__(self, request: Request) -> None:
        super().__init__()
        self.request = request

    @no_annotations  # Beam cannot read those of several collections
    def expand(self, outcome: tuple[beam.PCollection[Staged | Tally], ...]) -> beam.PCollection[LedgerRow]:
        gathered = outcome | "Gather" >> beam.Flatten()
        return (gathered.pipeline | "Once" >> beam.Impulse()
                | "LoadJobs" >> beam.ParDo(_CommitFn(self.request), beam.pvalue.AsList(gathered)).with_output_types(LedgerRow))


class _CommitFn(beam.DoFn):
    def __init__(self, request: Request) -> None:
        self.request = request

    def process(self, _: bytes, outcome: list[Staged | Tally]) -> Iterable[LedgerRow]:
        request = self.request
        place = Place(connect(request.dataset.project, request.endpoint), request.location, request.patience)
        yield commit(place, request, [o for o in outcome if isinstance(o, Staged)], [o for o in outcome if isinstance(o, Tally)])


