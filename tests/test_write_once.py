"""The sink that is Java: its graph, made without Java, dry-run for Dataflow; and what is said where it cannot be made. It is not run here."""

from datetime import date, datetime, timezone
from typing import Any

import apache_beam as beam
import orjson
import pyarrow as pa
import pytest
from apache_beam.coders.row_coder import RowCoder
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2, external_transforms_pb2
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.utils.timestamp import Timestamp

from pipelines.__main__ import main
from pipelines.sinks import write_once
from pipelines.sinks.write_once import beam_rows, expansion_service
from schemas.arrow import arrow_schema, stored_columns, window_columns
from schemas.contract import load
from schemas.errors import Misconfigured
from schemas.tables import FAILURES, RUNS, Column
from tests.expansion_server import IMAGE, expansion_server
from tests.test_append_rows import batch
from tests.test_stream_graph import SUBSCRIPTION

COLUMNS = (Column("id", "string", False, ""), Column("n", "int", True, ""), Column("d", "date", False, ""), Column("watermark", "timestamp-micros", True, ""))


def arguments(key_folder: Any, *more: str) -> list[str]:
    return ["stream", "--contract=telemetry", f"--subscription={SUBSCRIPTION}", "--output=bq://test-project.tables", "--runner=DataflowRunner",
            "--project=test-project", "--region=europe-west1", "--temp_location=gs://test-bucket/tmp", f"--keys={key_folder}", "--dry_run=true",
            "--write=exactly_once", *more]


def test_the_graph_dry_runs_with_the_java_sink_for_each_table(capsys, key_folder) -> None:
    with expansion_server() as (host, service):
        assert main(arguments(key_folder, f"--expansion_service={host}")) == 0
    assert "dry-run for Dataflow" in capsys.readouterr().out
    told = {}
    for request in service.asked:
        payload = external_transforms_pb2.SchemaTransformPayload.FromString(request.transform.spec.payload)
        config = RowCoder(payload.configuration_schema).decode(payload.configuration_row)
        told[config.table.rpartition(".")[2]] = config
    assert told.keys() == {"events", "failures", "windows", "runs"}
    for name, config in told.items():
        assert config.table == f"test-project:tables.{name}" and config.create_disposition == "CREATE_NEVER" and config.triggering_frequency_seconds == 10
        assert config.auto_sharding and not config.use_at_least_once_semantics, "exactly once"


def test_the_graph_holds_the_step_that_is_java(key_folder) -> None:
    with expansion_server() as (host, _):
        pipeline = beam.Pipeline("FnApiRunner", options=PipelineOptions(["--streaming"]))
        pipeline | beam.Create([batch(1)]) | write_once.WriteOnce("test-project:d.t", COLUMNS, "", host)
        components = pipeline.to_runner_api().components
    images = {beam_runner_api_pb2.DockerPayload.FromString(e.payload).container_image for e in components.environments.values() if e.urn.endswith("docker:v1")}
    assert IMAGE in images
    assert any("Rejected" in t.unique_name for t in components.transforms.values())


@pytest.mark.parametrize("columns", [stored_columns(load("census")), window_columns(load("telemetry")), FAILURES, RUNS], ids=["events", "windows", "failures", "runs"])
def test_every_table_has_types_that_the_java_side_knows(columns) -> None:
    kinds = [(c.name, write_once._TYPES[c.type]) for c in columns]
    RowCoder.from_type_hint(RowTypeConstraint.from_fields(kinds), None)


def test_rows_as_the_java_side_takes_them() -> None:
    (row,) = beam_rows(batch(7), COLUMNS)
    assert row == beam.Row(id="i7", n=7, d=date(2026, 3, 4), watermark=Timestamp.of(datetime(2026, 3, 4, tzinfo=timezone.utc).timestamp()))
    nulls = pa.RecordBatch.from_pylist([{"id": "x", "d": date(2026, 3, 4)}], arrow_schema(COLUMNS))
    assert next(beam_rows(nulls, COLUMNS)).watermark is None
    failed = beam.Row(failed_row=row, error_message="quotes the row")
    with beam.Pipeline("FnApiRunner") as pipeline:
        found = pipeline | beam.Create([None]) | beam.Map(lambda _: orjson.loads(write_once._rejected(_Failed(failed))["row"][0].as_py()))
        assert_that(found, equal_to([{"id": "i7", "n": 7, "d": "2026-03-04", "watermark": "2026-03-04T00:00:00Z"}]))


class _Failed:
    """As named rows come back from another language: with _asdict."""

    def __init__(self, row: beam.Row) -> None:
        self.failed_row = type("Named", (), {"_asdict": lambda _: row.failed_row.as_dict()})()


def test_what_is_said_where_it_cannot_be_made(capsys, key_folder, tmp_path) -> None:
    assert main(arguments(key_folder, f"--expansion_service={tmp_path}/no.jar")) == 2
    told = capsys.readouterr().err
    assert f"--expansion_service: there is no jar {tmp_path}/no.jar" in told and "beam-sdks-java-io-google-cloud-platform-expansion-service-" in told
    (tmp_path / "some.jar").write_bytes(b"")
    with pytest.raises(Misconfigured, match="--write=exactly_once: there is no Java"):
        expansion_service(f"{tmp_path}/some.jar", {"PATH": str(tmp_path)})
    with pytest.raises(Misconfigured, match="there is no Java"):
        expansion_service(f"{tmp_path}/some.jar", {"JAVA_HOME": str(tmp_path), "PATH": "/usr/bin"})
    with pytest.raises(Misconfigured, match="neither a jar nor on this machine"):
        expansion_service("elsewhere.example:8097")


def test_on_one_machine_a_stream_has_one_way(capsys, key_folder) -> None:
    given = [a for a in arguments(key_folder) if not a.startswith(("--runner", "--region", "--temp", "--dry"))]
    assert main(given) == 2 and "exactly_once is a way of the streaming graph" in capsys.readouterr().err
