"""The answer of a query to the tables, as batches."""

from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import duckdb
import pyarrow as pa

from pipelines.sinks.lake_catalog import Reader
from schemas.errors import Fault, Misconfigured

ROWS = 10_000  # a batch


def columns_of(reader: Reader, sql: str) -> pa.Schema:
    """The columns of the answer, which is not worked out for it. Raises Misconfigured where this is not one SELECT that
    can be run, or names two columns alike."""
    try:
        statements = reader.connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type.name != "SELECT":
            raise Misconfigured([Fault("SQL", "is not one SELECT", "ask one question")])
        schema: pa.Schema = reader.connection.sql(sql).limit(0).to_arrow_table().schema
    except duckdb.Error as error:
        raise Misconfigured([Fault("SQL", str(error).strip(), "`penstock query OUT \"describe events\"` shows the columns")]) from None
    alike = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if alike:
        raise Misconfigured([Fault("SQL", f"answers two columns named {', '.join(alike)}", "name each column apart")])
    return schema


class ReadQuery(beam.PTransform):
    """The answer of one SELECT over the lake in `folder`, in its order: one bundle, and at least one batch, if an empty one."""

    def __init__(self, folder: str, sql: str) -> None:
        super().__init__()
        self.folder, self.sql = folder, sql

    def expand(self, pipeline: beam.pvalue.PBegin) -> beam.PCollection[pa.RecordBatch]:
        return pipeline | "Once" >> beam.Impulse() | "Ask" >> beam.ParDo(_AskFn(self.folder, self.sql)).with_output_types(pa.RecordBatch)


class _AskFn(beam.DoFn):
    def __init__(self, folder: str, sql: str) -> None:
        self.folder, self.sql = folder, sql

    def process(self, _: bytes) -> Iterator[pa.RecordBatch]:
        reader = Reader(Path(self.folder))
        try:
            answer = reader.connection.sql(self.sql).to_arrow_reader(ROWS)
            yield pa.RecordBatch.from_arrays([pa.array([], field.type) for field in answer.schema], schema=answer.schema)
            yield from answer
        finally:
            reader.close()
