"""BigQuery as the sink of the streaming graph, by insertAll (tabledata.insertAll): at least once, rows that it rejects are refused.

Beam's default retries for ever, so that one row of the wrong form blocks its bundle: here only transient errors are tried
again. insertAll removes some repeats of a worker that tries again, none of a job that is started anew. What the sinks of a
stream share stands here too: where tables are, what the books hold, what becomes of a rejected row.
"""

import base64
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.gcp.bigquery import WriteToBigQuery
from apache_beam.io.gcp.bigquery_tools import RetryStrategy
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterWatermark
from apache_beam.transforms.window import FixedWindows, GlobalWindows
from apache_beam.typehints.decorators import no_annotations

from pipelines.sinks.lake_files import conform, of_run
from pipelines.sinks.loaded import Insist, Loaded
from schemas.arrow import arrow_schema
from schemas.errors import Fault, Misconfigured, Reason, Stage
from schemas.tables import RUNS, Column
from transforms.batch import refused_rows
from transforms.fates import LATE, READ, REFUSED, REPEATED, STORED
from transforms.ledger import LedgerRow, Tally, sums

_BEAMS = logging.getLogger("apache_beam.io.gcp.bigquery")
_OUTPUT = re.compile(r"bq://((?:[a-z0-9][a-z0-9.-]*:)?[a-z][a-z0-9-]{4,28}[a-z0-9])\.([A-Za-z0-9_]{1,1024})")  # example.com:project is one of old
_MINUTE = 60
_RETENTION = 31 * 86_400  # the longest that Pub/Sub keeps a message, in seconds


class Dataset(NamedTuple):
    """Where tables are."""

    project: str
    name: str

    def table(self, name: str) -> str:
        """As Beam names it."""
        return f"{self.project}:{self.name}.{name}"

    def path(self, name: str) -> str:
        """As the Storage Write API names it."""
        return f"projects/{self.project}/datasets/{self.name}/tables/{name}"


def dataset(output: str, where: str = "--output") -> Dataset:
    """The dataset of bq://PROJECT.DATASET; where: the option that names it. Raises Misconfigured."""
    match = _OUTPUT.fullmatch(output)
    if not match:
        folder = "" if output.startswith("bq://") else ": a folder is not within reach of Dataflow's workers"
        raise Misconfigured([Fault(where, "is no BigQuery dataset", f"give bq://PROJECT.DATASET{folder}")])
    return Dataset(match[1], match[2])


class InsertRows(beam.PTransform):
    """Batches to rows of a table that is there, under the table's columns."""

    def __init__(self, table: str, columns: tuple[Column, ...], run: str = "") -> None:
        """run: where given, the batches are events, and belong to it."""
        super().__init__()
        self.table, self.columns, self.run = table, columns, run

    @no_annotations  # Beam cannot read those of several collections
    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> Loaded:
        rows = batches | "Rows" >> beam.FlatMap(rows_of, self.columns, self.run).with_output_types(dict[str, Any])
        written = rows | "Insert" >> WriteToBigQuery(
            self.table, method=WriteToBigQuery.Method.STREAMING_INSERTS, insert_retry_strategy=RetryStrategy.RETRY_ON_TRANSIENT_ERROR,
            create_disposition="CREATE_NEVER", schema=in_silence)
        rejected = written.failed_rows_with_errors | "Rejected" >> beam.Map(lambda failed: refusal(failed[1])).with_output_types(pa.RecordBatch)
        counted = batches | "Count" >> beam.FlatMap(tallies_of, bool(self.run)).with_output_types(Tally)
        back = rejected | "Uncount" >> beam.FlatMap(taken_back, bool(self.run)).with_output_types(Tally)
        return Loaded((counted, back) | "Tallies" >> beam.Flatten(), rejected)


def in_silence(destination: Any) -> None:
    """The schema of a table that is there: none. Beam asks for it at each row, in the process where it then logs what BigQuery says of
    rejected rows, which may quote them: its logger is turned off before."""
    _BEAMS.disabled = True


def tallies_of(batch: pa.RecordBatch, events: bool) -> list[Tally]:
    """What the books hold of a batch of events, of failures by their reasons (late ones apart), or of windows: nothing."""
    if events:
        return [Tally(STORED, "", batch.num_rows)]
    if "reason" not in batch.schema.names:
        return []
    counts = Counter(zip(batch["stage"].to_pylist(), batch["reason"].to_pylist()))
    return [Tally(LATE, "", rows) if stage == str(Stage.WINDOW) else Tally(REFUSED, reason, rows) for (stage, reason), rows in sorted(counts.items())]


def taken_back(rejected: pa.RecordBatch, events: bool) -> list[Tally]:
    """What tallies_of said, or will say of the failures that these rows become, and is not so: a window was not read, so it is no refused row."""
    return [Tally(STORED, "", -rejected.num_rows) if events else Tally(REFUSED, Reason.REJECTED_BY_SINK.value, -rejected.num_rows)]


def rows_of(batch: pa.RecordBatch, columns: tuple[Column, ...], run: str = "") -> Iterator[dict[str, Any]]:
    """The rows as BigQuery's JSON takes them: times as RFC 3339, bytes as base64, nulls left out."""
    for row in conform(of_run(batch, run) if run else batch, columns).to_pylist():
        yield {name: _plain(value) for name, value in row.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):  # Beam would take it for base64 already
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, date) else value  # a datetime is a date


def refusal(*rows: dict[str, Any]) -> pa.RecordBatch:
    """Rows, as rows_of has them, that BigQuery will never take. Its errors are not looked at: they may quote the row."""
    return refused_rows(Stage.LOAD, [(Reason.REJECTED_BY_SINK, None, str(row.get("origin", "")), _day(row.get("d")), json.dumps(row, default=str).encode())
                                     for row in rows])


def _day(told: Any) -> date | None:
    return date.fromisoformat(told) if isinstance(told, str) else None  # a number is a day after the year 9999


class KeepBooks(beam.PTransform):
    """Tallies to the ledger: one row for each minute of publishing and pane. insert: what writes rows of `runs`."""

    def __init__(self, insert: beam.PTransform, run: str, contract: str, engine: str) -> None:
        super().__init__()
        self.insert, self.run, self.contract, self.engine = insert, run, contract, engine

    @no_annotations  # Beam cannot read those of several collections
    def expand(self, told: tuple[beam.PCollection[Tally], ...]) -> beam.PCollection[pa.RecordBatch]:
        # A message may be older than what was read before it: its tally is a row more, and not dropped.
        minutes = beam.WindowInto(FixedWindows(_MINUTE), trigger=AfterWatermark(late=AfterCount(1)), accumulation_mode=AccumulationMode.DISCARDING,
                                  allowed_lateness=_RETENTION)
        rows = (told | "Tallies" >> beam.Flatten() | "Minutes" >> minutes
                | "Sum" >> beam.CombineGlobally(_Sum()).without_defaults()
                | "Row" >> beam.Map(ledger_row, self.run, self.contract, self.engine).with_output_types(pa.RecordBatch)
                | "Global" >> beam.WindowInto(GlobalWindows()))
        written: Loaded = rows | "Insert" >> self.insert
        written.refused | "Insist" >> Insist("runs")
        return rows


class _Sum(beam.CombineFn):
    """Rows by (fate, reason)."""

    def create_accumulator(self) -> dict[tuple[str, str], int]:
        return {}

    def add_input(self, sum_: dict[tuple[str, str], int], tally: Tally) -> dict[tuple[str, str], int]:
        sum_[tally.fate, tally.reason] = sum_.get((tally.fate, tally.reason), 0) + tally.rows
        return sum_

    def merge_accumulators(self, parts: Any) -> dict[tuple[str, str], int]:
        merged: dict[tuple[str, str], int] = {}
        for part in parts:
            for key, rows in part.items():
                merged[key] = merged.get(key, 0) + rows
        return merged

    def extract_output(self, sum_: dict[tuple[str, str], int]) -> list[Tally]:
        return [Tally(fate, reason, rows) for (fate, reason), rows in sorted(sum_.items())]


def ledger_row(tallies: list[Tally], run: str, contract: str, engine: str, window: Any = beam.DoFn.WindowParam,
               pane: Any = beam.DoFn.PaneInfoParam) -> pa.RecordBatch:
    """A row of `runs`, which ends a microsecond later for each pane of its minute: two alike are one, stored twice.

    Minutes do not balance by themselves: a row may be read in one and stored in the next.
    """
    fates, reasons = sums(tallies)
    start, end = (datetime.fromtimestamp(at.micros / 1e6, timezone.utc) for at in (window.start, window.end))
    end += timedelta(microseconds=pane.index)
    row = LedgerRow(run, "stream", contract, fates[READ], fates[STORED], fates[REPEATED], fates[REFUSED], fates[LATE], dict(reasons), "", start, end,
                    engine=engine)
    return pa.RecordBatch.from_pylist([row.values()], arrow_schema(RUNS))
