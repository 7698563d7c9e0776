"""Load for a stream into BigQuery, each row once: Beam's own sink for the Storage Write API, which is Java. For Dataflow alone.

Its graph is made by Beam's expansion service, a Java program whose jar must be at hand: nothing is downloaded here.
https://beam.apache.org/documentation/io/built-in/google-bigquery/#storage-write-api
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import apache_beam as beam
import grpc
import numpy as np
import pyarrow as pa
from apache_beam.io.gcp.bigquery import WriteToBigQuery
from apache_beam.transforms.external import JavaJarExpansionService
from apache_beam.typehints.decorators import no_annotations
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.utils.subprocess_server import JavaJarServer
from apache_beam.utils.timestamp import Timestamp

from pipelines.sinks.bigquery import refusal, taken_back, tallies_of
from pipelines.sinks.lake_files import conform, of_run
from pipelines.sinks.loaded import Loaded
from schemas.errors import Fault, Misconfigured
from schemas.tables import Column
from transforms.channel import is_loopback
from transforms.ledger import Tally

_TARGET = "sdks:java:io:google-cloud-platform:expansion-service:build"
_SECONDS = 10  # rows wait so long for their commit
_TYPES = {"string": str, "int": np.int32, "long": np.int64, "float": np.float32, "double": np.float64, "boolean": bool, "timestamp-micros": Timestamp,
          "date": date, "bytes": bytes}


def expansion_service(given: str, environment: Mapping[str, str] = os.environ) -> "str | JavaJarExpansionService":
    """What makes the graph. given: a jar, HOST:PORT of a service that runs, or "" for the jar that Beam keeps. Raises Misconfigured."""
    where = "--expansion_service"
    if given and ":" in given and not Path(given).exists():
        if not is_loopback(given):
            raise Misconfigured([Fault(where, "is neither a jar nor on this machine", "start the service here, and give localhost:PORT")])
        with grpc.secure_channel(given, grpc.local_channel_credentials()) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=20.0)
            except grpc.FutureTimeoutError:
                raise Misconfigured([Fault(where, f"nothing answers at {given}", "start the service, or give its jar")]) from None
        return given
    kept = JavaJarServer.path_to_beam_jar(_TARGET)
    jar = given or (kept if Path(kept).exists() else str(Path(JavaJarServer.JAR_CACHE) / Path(kept).name))
    faults = []
    if not Path(jar).is_file():
        faults.append(Fault(where, f"there is no jar {jar}, and --write=exactly_once is Beam's Java sink",
                            f"get {Path(kept).name} of org.apache.beam, and give it"))
    home = environment.get("JAVA_HOME")
    if not shutil.which(str(Path(home, "bin", "java")) if home else "java", path=environment.get("PATH")):
        faults.append(Fault("--write=exactly_once", "there is no Java to make its graph with", "install a JRE (17), or leave --write out"))
    if faults:
        raise Misconfigured(faults)
    return JavaJarExpansionService(jar)


class WriteOnce(beam.PTransform):
    """Batches to rows of a table that is there, each once; visible some seconds later. The books count rows when they are handed on."""

    def __init__(self, table: str, columns: tuple[Column, ...], run: str, service: "str | JavaJarExpansionService") -> None:
        super().__init__()
        self.table, self.columns, self.run, self.service = table, columns, run, service

    @no_annotations  # Beam cannot read those of several collections
    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> Loaded:
        kinds = [(c.name, _TYPES[c.type] | None if c.nullable else _TYPES[c.type]) for c in self.columns]
        rows = batches | "Rows" >> beam.FlatMap(beam_rows, self.columns, self.run).with_output_types(RowTypeConstraint.from_fields(kinds))
        written = rows | "Write" >> WriteToBigQuery(
            self.table, method=WriteToBigQuery.Method.STORAGE_WRITE_API, create_disposition="CREATE_NEVER", triggering_frequency=_SECONDS,
            with_auto_sharding=True, expansion_service=self.service)
        rejected = written.failed_rows_with_errors | "Rejected" >> beam.Map(_rejected).with_output_types(pa.RecordBatch)
        counted = batches | "Count" >> beam.FlatMap(tallies_of, bool(self.run)).with_output_types(Tally)
        back = rejected | "Uncount" >> beam.FlatMap(taken_back, bool(self.run)).with_output_types(Tally)
        return Loaded((counted, back) | "Tallies" >> beam.Flatten(), rejected)


def beam_rows(batch: pa.RecordBatch, columns: tuple[Column, ...], run: str = "") -> Iterator[beam.Row]:
    """The rows as Beam's Java side takes them."""
    for row in conform(of_run(batch, run) if run else batch, columns).to_pylist():
        yield beam.Row(**{name: Timestamp.from_utc_datetime(value.astimezone(timezone.utc)) if isinstance(value, datetime) else value
                          for name, value in row.items()})


def _rejected(failed: Any) -> pa.RecordBatch:
    """A row that BigQuery will never take; what it says of it may quote the row."""
    values = failed.failed_row._asdict()
    return refusal({name: value.to_rfc3339() if isinstance(value, Timestamp) else value.isoformat() if isinstance(value, date) else value
                    for name, value in values.items() if value is not None})
