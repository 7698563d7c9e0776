"""The reidentify job as a graph for Dataflow: tables of BigQuery to a table of BigQuery, no value in any file or shuffle.

    Prepare -> Ask -> (tokens are spread over the workers) -> Reidentify, Write into pending streams -> audit row -> commit

The last step is done once under the run's id, however often its bundle is tried again.
"""

import sys
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import GoogleCloudOptions

from pipelines.launch.submitting import dataflow_options, label, submit, waited
from pipelines.options import ReidentifyOptions
from pipelines.reidentify_checks import Checked, check
from pipelines.reidentify_parts import Parts, build, tell
from pipelines.reidentify_tables import DatasetTables
from pipelines.sinks.audit import Audit, Reidentification
from pipelines.sinks.bigquery_jobs import Failed
from pipelines.sinks.restricted import Destination
from pipelines.sources.query_bigquery import Ask, Question
from pipelines.starting import Faults
from schemas.errors import Fault, Misconfigured, Transient


def run(options: ReidentifyOptions, beam_arguments: list[str]) -> int:
    """Builds the graph, and dry-runs it, writes it as a job file or submits it and waits for its end; exit code 1 where that failed.

    Raises Misconfigured, with every fault, where it cannot.
    """
    given = dataflow_options(options, beam_arguments)  # before anybody is asked
    account = given.view_as(GoogleCloudOptions).service_account_email or ""
    checked = check(options, Faults(), options.requested_by.strip(), account)
    label(given, checked.contract)
    pipeline = beam.Pipeline(options=given)
    build(pipeline, parts(checked))
    result = submit(pipeline, given, checked.contract)
    return 0 if result is None else ended(result, checked, options.json)


def parts(checked: Checked) -> Parts:
    """The parts of the graph, for workers that share nothing but Google Cloud."""
    tables, destination = checked.tables, checked.destination
    assert isinstance(tables, DatasetTables)  # the checks have seen to it
    read = AskPrepared(tables.audit, destination, checked.result, tables.question, checked.answer)
    return Parts(read, checked.reverser, destination, checked.result, tables.audit, checked.row)


class AskPrepared(beam.PTransform):
    """Makes the audit table and the destination; then the answer, its batches spread over all workers: they hold tokens still."""

    def __init__(self, audit: Audit, destination: Destination, result: pa.Schema, question: Question, answer: pa.Schema) -> None:
        super().__init__()
        self.audit, self.destination, self.result, self.question, self.answer = audit, destination, result, question, answer

    def expand(self, pipeline: beam.pvalue.PBegin) -> beam.PCollection[pa.RecordBatch]:
        begun = pipeline | "Once" >> beam.Impulse() | "Prepare" >> beam.ParDo(_PrepareFn(self.audit, self.destination, self.result)).with_output_types(bytes)
        return begun | "Query" >> Ask(self.question, self.answer) | "Spread" >> beam.Reshuffle()


class _PrepareFn(beam.DoFn):
    def __init__(self, audit: Audit, destination: Destination, result: pa.Schema) -> None:
        self.audit, self.destination, self.result = audit, destination, result

    def process(self, begun: bytes) -> Any:
        try:
            self.audit.prepare()
            self.destination.prepare(self.result)
        except Misconfigured as error:
            raise Failed("; ".join(map(str, error.faults))) from None
        yield begun


def ended(result: Any, checked: Checked, json: bool) -> int:
    """Waits for a submitted job's end and tells its audit row; exit code 0 where it is done, 1 where not. result: Beam's."""
    def found() -> Reidentification | None:
        try:
            return checked.tables.audit.find(checked.row.run)
        except (Failed, Transient) as error:
            raise Misconfigured([Fault("reidentifications", str(error), "ask for the run's row there")]) from None

    done, problem = waited(result, found, "it has no audit row")
    if done is None:
        print(f"penstock reidentify failed; run {checked.row.run} is not done: {problem}; {checked.destination.left()}", file=sys.stderr)
        return 1
    return tell(done, checked.destination.told(), json)
