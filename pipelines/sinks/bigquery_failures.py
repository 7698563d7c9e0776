"""The failures of a dataset that are to be replayed, and what is stored already: questions to BigQuery, and nothing else."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_jobs import Place, query
from pipelines.sinks.bigquery_ledger import named
from pipelines.sinks.bigquery_read import batches, rows
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE
from pipelines.sinks.replays import KEY, NEVER, REPLAYS_TABLE, Choice, Failure, Group, left
from schemas.errors import Reason, Stage
from transforms.marks import Marks

_IDS = 50_000  # asked for at once: some 2 MB of a request that may have 10
_MARKS = pa.schema([("id_hash", pa.int64()), ("content_hash", pa.int64()), ("time", pa.timestamp("us", "UTC"))])


class Pending:
    """The failures of a dataset that are chosen and were not replayed yet. Each question is asked when its answer is wanted.

    A run without a row in `runs` is not done: what it refused is left alone until it is. marked: whether there is a table `replays`.
    """

    def __init__(self, place: Place, dataset: Dataset, choice: Choice, marked: bool = True) -> None:
        self._place, self._dataset, self._choice = place, dataset, choice
        wanted = {"f.stage = @stage": ScalarQueryParameter("stage", "STRING", choice.stage or None),
                  "f.reason = @reason": ScalarQueryParameter("reason", "STRING", choice.reason or None),
                  "f.run = @run": ScalarQueryParameter("run", "STRING", choice.run or None),
                  "b.started >= @since": ScalarQueryParameter("since", "TIMESTAMP", choice.since),
                  "b.started < @until": ScalarQueryParameter("until", "TIMESTAMP", choice.until)}
        chosen = {clause: value for clause, value in wanted.items() if value.value}
        self._values: list[Any] = list(chosen.values())
        clauses = [*chosen, *([f"NOT EXISTS (SELECT 1 FROM {named(dataset, REPLAYS_TABLE)} p WHERE "
                               f"{' AND '.join(f'p.{name} = f.{name}' for name in KEY)})"] if marked else [])]
        # the streaming graph keeps its books by the minute: several rows of one run
        self._began = ("WITH began AS (SELECT run, MIN(started) AS started, MAX(job) AS job, MAX(contract) AS contract "
                       f"FROM {named(dataset, 'runs')} GROUP BY run)")
        self._from = f"{named(dataset, FAILURES_TABLE)} f LEFT JOIN began b ON b.run = f.run WHERE {' AND '.join(clauses) or 'TRUE'}"
        self._settled = "COALESCE(b.job = 'replay' AND b.contract = @settled, FALSE)"
        self._by = ScalarQueryParameter("settled", "STRING", choice.settled)

    def groups(self) -> list[Group]:
        """Their numbers, by stage, reason and whether they are replayed. Raises Failed or Transient, as all of these."""
        found = query(self._place, f"""{self._began}
            SELECT f.stage AS stage, f.reason AS reason, f.sealed IS NULL AS empty, {self._settled} AS settled, b.run IS NULL AS undone, COUNT(*) AS n
            FROM {self._from} GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5""", [*self._values, self._by])
        return [Group(r["stage"], r["reason"], int(r["n"]), left(self._choice, r["stage"], r["reason"], r["empty"], r["settled"], r["undone"])) for r in found]

    def rows(self) -> Iterator[Failure]:
        """Those that hold a row, sealed: run after run as they began, in each as the input had them."""
        never = ", ".join(f"'{stage}'" for stage in NEVER)
        tried = "" if self._choice.crashes else f" AND f.reason <> '{Reason.CRASHES}'"
        number = "REGEXP_EXTRACT(f.origin, '[0-9]*$')"
        found = rows(self._place, f"""{self._began}
            SELECT f.run AS run, f.stage AS stage, f.reason AS reason, f.origin AS origin, f.attempt AS attempt, f.sealed AS sealed, f.key AS key
            FROM {self._from} AND f.stage NOT IN ({never}) AND f.sealed IS NOT NULL AND b.run IS NOT NULL AND NOT {self._settled}{tried}
            ORDER BY b.started, f.run, REGEXP_REPLACE(f.origin, '[0-9]*$', ''), SAFE_CAST({number} AS BIGNUMERIC), f.origin, f.stage, f.reason, f.attempt""",
                     [*self._values, self._by])
        for row in found:
            yield Failure(row["run"], row["stage"], row["reason"], row["origin"], int(row["attempt"]), row["sealed"], row["key"])

    def late(self) -> list[Failure]:
        """Late rows whose event is stored."""
        if not self._choice.late:
            return []
        found = query(self._place, f"""{self._began}
            SELECT f.run AS run, f.stage AS stage, f.reason AS reason, f.origin AS origin, f.attempt AS attempt FROM {self._from}
            AND f.stage = '{Stage.WINDOW}' AND b.run IS NOT NULL AND f.origin IN (SELECT origin FROM {named(self._dataset, EVENTS_TABLE)})""", self._values)
        return [Failure(*(row[name] for name in KEY)) for row in found]


@dataclass(frozen=True)
class Copies:
    """Answers the marks of stored rows that have the ids of these, sorted by id. Raises Failed or Transient."""

    place: Place
    dataset: Dataset
    time: str
    horizon: timedelta

    def copies(self, rows: Marks) -> Marks | None:
        """Reads three columns of the days that rows can be copies on."""
        if not len(rows.ids):
            return None
        low, high = map(_day, rows.around(self.horizon))
        wanted, found = np.unique(rows.ids).tolist(), list[pa.RecordBatch]()
        for first in range(0, len(wanted), _IDS):
            given = [ScalarQueryParameter("low", "DATE", low), ScalarQueryParameter("high", "DATE", high),
                     ArrayQueryParameter("ids", "INT64", wanted[first:first + _IDS])]
            found += batches(self.place, f"""SELECT id_hash, content_hash, `{self.time}` AS time FROM {named(self.dataset, EVENTS_TABLE)}
                                             WHERE d BETWEEN @low AND @high AND id_hash IN UNNEST(@ids)""", _MARKS, given)
        table = pa.Table.from_batches(found, _MARKS)
        return Marks(*(column.cast(pa.int64()).to_numpy() for column in table.columns)).by_id()


def sealed(place: Place, dataset: Dataset, columns: tuple[str, ...], reason: str = "", run: str = "") -> Iterator[dict[str, Any]]:
    """These columns of the failures, those of a reason and of a run where they are given, by run and origin. Raises Failed or Transient."""
    chosen = {name: value for name, value in (("reason", reason), ("run", run)) if value}
    where = " AND ".join(f"{name} = @{name}" for name in chosen) or "TRUE"
    return rows(place, f"SELECT {', '.join(f'`{name}`' for name in columns)} FROM {named(dataset, FAILURES_TABLE)} WHERE {where} ORDER BY run, origin",
                [ScalarQueryParameter(name, "STRING", value) for name, value in chosen.items()])


def contract_of(description: str | None) -> str:
    """The name of the contract that the description of a table `events` says, "" where it says none."""
    found = re.match(r"(\S+) \S+: events as stored", description or "")
    return found[1] if found else ""


def _day(micros: int) -> date:
    """The day of a time, or the first or last that there is."""
    try:
        return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=micros)).date()
    except OverflowError:
        return date.min if micros < 0 else date.max
