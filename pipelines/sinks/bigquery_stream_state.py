"""What a stream on BigQuery starts from, asked of the tables: where it stood, what is stored, what was refused."""

from collections.abc import Iterator
from datetime import date

import numpy as np
import pyarrow as pa
from google.cloud.bigquery import ScalarQueryParameter

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_jobs import Place, query
from pipelines.sinks.bigquery_ledger import named
from pipelines.sinks.bigquery_read import batches
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE
from pipelines.sinks.streamed import State, micros
from schemas.errors import Stage
from transforms.deduplicate import Marks

_MARKS = pa.schema([("id_hash", pa.int64()), ("content_hash", pa.int64()), ("at", pa.timestamp("us", "UTC"))])
_ORIGIN = pa.schema([("origin", pa.string())])


def state(place: Place, dataset: Dataset) -> State:
    """After the stream's last run in the ledger. Raises Failed or Transient, as all here."""
    found = query(place, f"SELECT number, watermark, greatest FROM {named(dataset, 'runs')} WHERE number IS NOT NULL ORDER BY number DESC LIMIT 1")
    return State(int(found[0]["number"]), micros(found[0]["watermark"]), micros(found[0]["greatest"])) if found else State(0, None, None)


def days(place: Place, dataset: Dataset) -> list[date]:
    """The days on which events are stored."""
    return [row["d"] for row in query(place, f"SELECT DISTINCT d FROM {named(dataset, EVENTS_TABLE)}")]


def marks(place: Place, dataset: Dataset, time: str, day: date) -> Marks:
    """The marks of the events of a day, sorted by id. time: the column of the event time."""
    found = list(batches(place, f"SELECT id_hash, content_hash, `{time}` AS at FROM {named(dataset, EVENTS_TABLE)} WHERE d = @day", _MARKS,
                         [ScalarQueryParameter("day", "DATE", day.isoformat())]))
    columns = [np.concatenate([batch[name].cast(pa.int64()).to_numpy() for batch in found]) if found else np.zeros(0, np.int64) for name in _MARKS.names]
    order = np.argsort(columns[0], kind="stable")
    return Marks(*(column[order] for column in columns))


def failed(place: Place, dataset: Dataset, subscription: str) -> Iterator[str]:
    """The origins of the failures that came from a subscription."""
    for batch in batches(place, f"SELECT origin FROM {named(dataset, FAILURES_TABLE)} WHERE STARTS_WITH(origin, @prefix)", _ORIGIN,
                         [ScalarQueryParameter("prefix", "STRING", f"{subscription}:")]):
        yield from batch["origin"].to_pylist()


def kept(place: Place, dataset: Dataset, run: str) -> tuple[int, dict[str, int], int]:
    """What the tables hold of a run: (events, refused rows by reason, late rows)."""
    given = [ScalarQueryParameter("run", "STRING", run)]
    events = query(place, f"SELECT COUNT(*) AS n FROM {named(dataset, EVENTS_TABLE)} WHERE run = @run", given)[0]["n"]
    found = query(place, f"SELECT stage, reason, COUNT(*) AS n FROM {named(dataset, FAILURES_TABLE)} WHERE run = @run GROUP BY stage, reason", given)
    reasons = {str(row["reason"]): int(row["n"]) for row in found if row["stage"] != str(Stage.WINDOW)}
    return int(events), dict(sorted(reasons.items())), sum(int(row["n"]) for row in found if row["stage"] == str(Stage.WINDOW))
