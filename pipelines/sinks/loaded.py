"""What a sink answers that may reject a row."""

from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa

from pipelines.sinks.bigquery_jobs import Failed
from transforms.ledger import Tally


class Loaded(NamedTuple):
    """What became of rows: tallies of those that are stored, and REFUSED batches of those that the table rejected."""

    tally: beam.PCollection[Tally]
    refused: beam.PCollection[pa.RecordBatch]


class Insist(beam.PTransform):
    """Fails the bundle for rows that their table rejected and that have no other place to go: nothing is dropped."""

    def __init__(self, table: str) -> None:
        super().__init__()
        self.table = table

    def expand(self, refused: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[None]:
        return refused | "Fail" >> beam.ParDo(_FailFn(self.table)).with_output_types(None)


class _FailFn(beam.DoFn):
    def __init__(self, table: str) -> None:
        self.table = table

    def process(self, refused: pa.RecordBatch) -> None:
        if refused.num_rows:
            raise Failed(f"the table {self.table} rejects {refused.num_rows:,} rows, which may not be lost: has it the columns of `penstock tables`?")
