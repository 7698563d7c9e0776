"""Load for a stream into BigQuery by its Storage Write API: at least once, rows that a table rejects are refused.

Batches of a bundle go out together, on the default stream, which all threads of a worker process share. A bundle that is tried
again stores its rows again: the view events_once shows each once.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import WindowedValue
from apache_beam.typehints.decorators import no_annotations
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient

from pipelines.sinks.bigquery import refusal, taken_back, tallies_of
from pipelines.sinks.bigquery_client import Patience
from pipelines.sinks.bigquery_write import Rows, connect
from pipelines.sinks.lake_files import conform, of_run
from pipelines.sinks.loaded import Loaded
from schemas.arrow import arrow_schema
from schemas.tables import Column
from transforms.fates import STORED
from transforms.ledger import Tally, count

_BUNDLE_BYTES = 8 << 20
Appended: TypeAlias = Tally | TaggedOutput[Literal["refused"], pa.RecordBatch]


def rejected_rows(rows: pa.RecordBatch, places: list[int]) -> list[dict[str, Any]]:
    """Rows as InsertRows sends them, nulls left out; a time that Python has no word for as its number."""
    chosen = rows.take(pa.array(places, pa.int64()))
    return [{name: _plain(chosen.column(name)[n]) for name in chosen.schema.names if chosen.column(name)[n].is_valid} for n in range(len(places))]


def _plain(value: pa.Scalar) -> Any:
    try:
        plain = value.as_py()
    except (ValueError, OverflowError):
        return value.cast(pa.int32() if pa.types.is_date(value.type) else pa.int64()).as_py()
    return plain.isoformat() if hasattr(plain, "isoformat") else plain


class AppendRows(beam.PTransform):
    """Batches to rows of a table that is there, under the table's columns. Bundles fail where the service stays away or the table has changed."""

    def __init__(self, table: str, columns: tuple[Column, ...], run: str = "", endpoint: str = "", patience: Patience = Patience(first=0.1)) -> None:
        """table: projects/P/datasets/D/tables/T; run: where given, the batches are events, and belong to it; endpoint: as connect takes it."""
        super().__init__()
        self._fn = _AppendFn(table, columns, run, endpoint, patience)

    @no_annotations  # Beam cannot read those of several collections
    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> Loaded:
        told = batches | "Append" >> beam.ParDo(self._fn).with_outputs("refused", main="tally")
        return Loaded(told.tally, told.refused)


class _AppendFn(beam.DoFn):
    def __init__(self, table: str, columns: tuple[Column, ...], run: str, endpoint: str, patience: Patience) -> None:
        self.table, self.columns, self.run, self.endpoint, self.patience = table, columns, run, endpoint, patience

    def setup(self) -> None:
        self._rows = _rows(self.table, self.columns, self.endpoint, self.patience)

    def start_bundle(self) -> None:
        self._waiting: list[tuple[pa.RecordBatch, Any, Any]] = []
        self._bytes = 0

    def process(self, batch: pa.RecordBatch, at: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam) -> Iterator[Appended]:
        rows = conform(of_run(batch, self.run) if self.run else batch, self.columns)
        self._waiting.append((rows, at, window))
        self._bytes += rows.nbytes
        if self._bytes >= _BUNDLE_BYTES:
            yield from self._append()

    def finish_bundle(self) -> Iterator[Any]:
        yield from self._append()

    def _append(self) -> Iterator[Any]:
        """Stores what waits; tells what became of each batch under its own time and window."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if not waiting:
            return
        rejected = self._rows.append(pa.concat_batches([rows for rows, _, _ in waiting]))
        begin = 0
        for rows, at, window in waiting:
            end = begin + rows.num_rows
            places = [place - begin for place in rejected if begin <= place < end]
            begin = end
            tallies = tallies_of(rows, bool(self.run))
            if places:
                refused = refusal(*rejected_rows(rows, places))
                tallies += taken_back(refused, bool(self.run))
                yield TaggedOutput("refused", WindowedValue(refused, at, (window,)))
            if self.run:
                count(STORED, rows.num_rows - len(places))
            for tally in tallies:
                yield WindowedValue(tally, at, (window,))


@lru_cache(maxsize=32)
def _rows(table: str, columns: tuple[Column, ...], endpoint: str, patience: Patience) -> Rows:
    """One open call to a table in each worker process, for as long as it lives: a DoFn's own would be one for each of its threads."""
    return Rows(_client(endpoint), table, arrow_schema(columns), patience)


@lru_cache(maxsize=4)
def _client(endpoint: str) -> BigQueryWriteClient:
    """One client in each worker process."""
    return connect(endpoint)
