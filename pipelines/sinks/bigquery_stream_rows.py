"""What a run of the stream lays down for BigQuery: batches as the tables have them, in the memory of its process until they are written."""

from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa

from pipelines.sinks.lake_files import as_stored
from schemas.tables import Column
from transforms.run_id import RunId, told


class Laid(NamedTuple):
    """Rows of a table, with its columns."""

    table: str
    rows: pa.RecordBatch


class LayRows(beam.PTransform):
    """Batches of events, or sealed failures, to Laid. run: of events."""

    def __init__(self, table: str, columns: tuple[Column, ...], run: RunId) -> None:
        super().__init__()
        self.table, self.columns, self.run = table, columns, run

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[Laid]:
        return batches | "Lay" >> beam.ParDo(_LayFn(self.table, self.columns, self.run)).with_output_types(Laid)


class _LayFn(beam.DoFn):
    def __init__(self, table: str, columns: tuple[Column, ...], run: RunId) -> None:
        self.table, self.columns, self.run = table, columns, run

    def process(self, batch: pa.RecordBatch) -> Iterator[Laid]:
        rows = as_stored(batch, self.table, told(self.run), self.columns)
        if rows.num_rows:
            yield Laid(self.table, rows)
