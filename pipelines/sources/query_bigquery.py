"""The answer of a query to a dataset of BigQuery, as batches of a bounded size."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
from google.cloud.bigquery import SchemaField

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_ask import default, look
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_jobs import Failed, Place
from pipelines.sinks.bigquery_read import batches
from pipelines.sinks.bigquery_sending import wide
from pipelines.sources.verdict import VERDICT
from schemas.errors import Fault, Misconfigured, Transient

_TYPES = {"STRING": pa.string(), "INTEGER": pa.int64(), "INT64": pa.int64(), "FLOAT": pa.float64(), "FLOAT64": pa.float64(), "BOOLEAN": pa.bool_(),
          "BOOL": pa.bool_(), "TIMESTAMP": pa.timestamp("us", "UTC"), "DATE": pa.date32(), "BYTES": pa.binary()}


@dataclass(frozen=True)
class Question:
    """One SELECT in GoogleSQL; tables without a dataset's name are the dataset's. location: the dataset's; most: rows a batch."""

    dataset: Dataset
    location: str
    sql: str
    endpoint: str = ""
    patience: Patience = Patience()
    most: int = 10_000

    def place(self) -> Place:
        return Place(connect(self.dataset.project, self.endpoint), self.location, self.patience)


def columns_of(question: Question, as_read: pa.Schema) -> pa.Schema:
    """The columns of the answer, which is not worked out for it (a dry run).

    as_read: fields whose numbers are to be as they were read, where BigQuery has but the wider type. Raises Misconfigured where this
    is not one SELECT that can be run, or answers types that are not read here.
    """
    place = question.place()
    looked = look(place.client, question.dataset, place.location, question.sql, place.patience)
    fields: list[SchemaField] = looked.schema or []
    names = [field.name.lower() for field in fields]
    faults = [Fault("SQL", f"answers {f.name} as {f.mode} {f.field_type}".replace("NULLABLE ", ""), "CAST it to STRING, or leave it out")
              for f in fields if f.field_type not in _TYPES or f.mode == "REPEATED"]
    alike = sorted({name for name in names if names.count(name) > 1})
    if alike:
        faults.append(Fault("SQL", f"answers two columns named {', '.join(alike)}", "name each column apart"))
    if faults or not fields:
        raise Misconfigured(faults or [Fault("SQL", "answers no columns", "ask for some")])
    found = wide(as_read)
    types = {f.name: _TYPES[f.field_type] for f in fields}
    return pa.schema([(name, as_read.field(name).type if name in found.names and found.field(name).type == kind else kind) for name, kind in types.items()])


class Ask(beam.PTransform):
    """For each element the answer of the question, as batches of this schema: at least one, if an empty one."""

    def __init__(self, question: Question, schema: pa.Schema) -> None:
        super().__init__()
        self.question, self.schema = question, schema

    def expand(self, begun: beam.PCollection[Any]) -> beam.PCollection[pa.RecordBatch]:
        return begun | "Ask" >> beam.ParDo(_AskFn(self.question, self.schema)).with_output_types(pa.RecordBatch)


class ReadQuery(beam.PTransform):
    """The answer of the question, once."""

    def __init__(self, question: Question, schema: pa.Schema) -> None:
        super().__init__()
        self.ask = Ask(question, schema)

    def expand(self, pipeline: beam.pvalue.PBegin) -> beam.PCollection[pa.RecordBatch]:
        return pipeline | "Once" >> beam.Impulse() | "Query" >> self.ask


class _AskFn(beam.DoFn):
    def __init__(self, question: Question, schema: pa.Schema) -> None:
        self.question, self.schema = question, schema

    def process(self, _: Any) -> Iterator[pa.RecordBatch]:
        q = self.question
        yield pa.RecordBatch.from_arrays([pa.array([], field.type) for field in self.schema], schema=self.schema)
        try:
            yield from batches(q.place(), q.sql, self.schema, page=q.most, default=default(q.dataset))
        except (Failed, Transient) as error:
            VERDICT.tell(str(error))
            raise
        except pa.ArrowInvalid:  # its text holds the number
            VERDICT.tell("the answer holds numbers that their fields in the contract cannot")
            raise Failed("the answer holds numbers that their fields in the contract cannot") from None
