"""The graph of reidentify, on one machine and on Dataflow, and its last step.

    Read -> Reidentify -> Write, hidden -> audit row, committed -> shown
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa

from pipelines.sinks.audit import Audit, Reidentification
from pipelines.sinks.bigquery_jobs import Failed
from pipelines.sinks.restricted import Destination, Part
from pipelines.sources.verdict import VERDICT
from schemas.errors import Misconfigured, Transient
from transforms.reidentify import Reidentify, ReverserConfig, Turned
from transforms.unquoted import unquote


class Parts(NamedTuple):
    """read: PBegin to batches of the answer, tokens in them; schema: of the result; row: the audit row, without its counts."""

    read: beam.PTransform
    reverser: ReverserConfig
    destination: Destination
    schema: pa.Schema
    audit: Audit
    row: Reidentification


def build(pipeline: beam.Pipeline, parts: Parts) -> None:
    """Adds the job to a pipeline. Values go from Reidentify to Write within one bundle: nothing that would shuffle them stands between."""
    answer = pipeline | "Read" >> parts.read
    turned = answer | "Reidentify" >> Reidentify(parts.reverser)
    written = turned.rows | "Write" >> parts.destination.writer(parts.schema)
    (written, turned.turned) | "Outcome" >> beam.Flatten() | "Publish" >> Publish(parts.audit, parts.destination, parts.row)
    unquote(pipeline)


def publish(audit: Audit, destination: Destination, row: Reidentification, outcome: list[Part | Turned],
            clock: Callable[[], datetime]) -> Reidentification:
    """Commits the audit row with its counts, then shows the result; each once, also where it is called again.

    Raises what audit and destination raise: before the row is committed nothing is shown, after it the row stands.
    """
    parts = [o for o in outcome if isinstance(o, Part)]
    turned = [o for o in outcome if isinstance(o, Turned)]
    counted = replace(row, rows=sum(p.rows for p in parts), turned_back=sum(t.values for t in turned), no_token=sum(t.no_token for t in turned),
                      ended=clock())
    if audit.find(row.run) is None:
        destination.check()
        audit.append(counted)
    destination.show(parts)
    return counted


class Publish(beam.PTransform):
    """Gathers the Parts and every Turned of a run, commits its audit row and shows the result; answers the row."""

    def __init__(self, audit: Audit, destination: Destination, row: Reidentification) -> None:
        super().__init__()
        self.audit, self.destination, self.row = audit, destination, row

    def expand(self, outcome: beam.PCollection[Part | Turned]) -> beam.PCollection[Reidentification]:
        return (outcome.pipeline | "Once" >> beam.Impulse()
                | "AuditFirst" >> beam.ParDo(_PublishFn(self.audit, self.destination, self.row), beam.pvalue.AsList(outcome))
                .with_output_types(Reidentification))


class _PublishFn(beam.DoFn):
    def __init__(self, audit: Audit, destination: Destination, row: Reidentification) -> None:
        self.audit, self.destination, self.row = audit, destination, row

    def process(self, _: bytes, outcome: list[Part | Turned]) -> Iterator[Reidentification]:
        try:
            yield publish(self.audit, self.destination, self.row, outcome, lambda: datetime.now(timezone.utc))
        except (Failed, Transient) as error:
            VERDICT.tell(str(error))
            raise
        except Misconfigured as error:
            VERDICT.tell(told := "; ".join(map(str, error.faults)))
            raise Failed(told) from None


def tell(done: Reidentification, where: str, json: bool) -> int:
    """Tells what was done; exit code 1 where there were tokens and none opened. where: the result."""
    print(done.sentence())
    print(f"result: {where}")
    if json:
        print(done.to_json())
    if done.turned_back or not done.no_token:
        return 0
    print("penstock reidentify: not one token opened; other keys, or the other engine, made them", file=sys.stderr)
    return 1
