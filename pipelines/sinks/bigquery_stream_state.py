"""What a stream on BigQuery starts from, asked of the tables: where it stood, what is stored, what was refused."""

from collections.abc import Iterator
from datetime import date

import pyarrow as pa
from google.cloud.bigquery import ScalarQueryParameter
from pyarrow import csv

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_jobs import Place, query
from pipelines.sinks.bigquery_ledger import named
from pipelines.sinks.bigquery_read import batches
from pipelines.sinks.bigquery_windows import WINDOWS_TABLE
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE
from pipelines.sinks.streamed import State, micros
from schemas.errors import Stage
from transforms.marks import Marks

_MARKS = pa.schema([(name, pa.int64()) for name in Marks._fields])
_LINES = pa.schema([("lines", pa.string())])
_PARTS = 1_000  # and as many of negative ones: a day of 100 million rows comes in values of 3 MB
_ORIGIN = pa.schema([("origin", pa.string())])


def state(place: Place, dataset: Dataset) -> State:
    """After the stream's last run in the ledger. Raises Failed or Transient, as all here."""
    found = query(place, f"SELECT number, watermark, greatest FROM {named(dataset, 'runs')} WHERE number IS NOT NULL ORDER BY number DESC LIMIT 1")
    return State(int(found[0]["number"]), micros(found[0]["watermark"]), micros(found[0]["greatest"])) if found else State(0, None, None)


def days(place: Place, dataset: Dataset) -> list[date]:
    """The days on which events are stored."""
    return [row["d"] for row in query(place, f"SELECT DISTINCT d FROM {named(dataset, EVENTS_TABLE)}")]


def marks(place: Place, dataset: Dataset, time: str, day: date) -> Marks:
    """The marks of the events of a day, sorted by id. time: the column of the event time.

    They come as text, thousands of rows in one value: as rows of their own they would take the client ten times as long.
    """
    line = f"CONCAT(CAST(id_hash AS STRING), ',', CAST(content_hash AS STRING), ',', CAST(UNIX_MICROS(`{time}`) AS STRING))"
    sql = f"SELECT STRING_AGG({line}, CHR(10)) AS lines FROM {named(dataset, EVENTS_TABLE)} WHERE d = @day GROUP BY MOD(id_hash, {_PARTS})"
    answer = batches(place, sql, _LINES, [ScalarQueryParameter("day", "DATE", day.isoformat())])  # BigQuery ends a page at some 10 MB
    read = pa.concat_tables([_MARKS.empty_table(), *(_parsed(batch) for batch in answer)])
    return Marks(*(column.to_numpy() for column in read.columns)).by_id()


def _parsed(batch: pa.RecordBatch) -> pa.Table:
    lines = "\n".join(batch["lines"].to_pylist()).encode()
    return csv.read_csv(pa.py_buffer(lines), csv.ReadOptions(column_names=_MARKS.names),
                        convert_options=csv.ConvertOptions(column_types=_MARKS)) if lines else _MARKS.empty_table()


def failed(place: Place, dataset: Dataset, subscription: str) -> Iterator[str]:
    """The origins of the failures that came from a subscription."""
    for batch in batches(place, f"SELECT origin FROM {named(dataset, FAILURES_TABLE)} WHERE STARTS_WITH(origin, @prefix)", _ORIGIN,
                         [ScalarQueryParameter("prefix", "STRING", f"{subscription}:")]):
        yield from batch["origin"].to_pylist()


def kept(place: Place, dataset: Dataset, run: str, windowed: bool) -> tuple[int, dict[str, int], int, int]:
    """What the tables hold of a run: (events, refused rows by reason, late rows, and windows where they are asked for)."""
    given = [ScalarQueryParameter("run", "STRING", run)]
    events = query(place, f"SELECT COUNT(*) AS n FROM {named(dataset, EVENTS_TABLE)} WHERE run = @run", given)[0]["n"]
    found = query(place, f"SELECT stage, reason, COUNT(*) AS n FROM {named(dataset, FAILURES_TABLE)} WHERE run = @run GROUP BY stage, reason", given)
    reasons = {str(row["reason"]): int(row["n"]) for row in found if row["stage"] != str(Stage.WINDOW)}
    late = sum(int(row["n"]) for row in found if row["stage"] == str(Stage.WINDOW))
    windows = query(place, f"SELECT COUNT(*) AS n FROM {named(dataset, WINDOWS_TABLE)} WHERE run = @run", given)[0]["n"] if windowed else 0
    return int(events), dict(sorted(reasons.items())), late, int(windows)
