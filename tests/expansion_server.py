"""What answers as Beam's Java expansion service does for its BigQuery sink, without Java: a graph with one foreign step, for tests of graphs."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc
import numpy as np
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_artifact_api_pb2_grpc, beam_expansion_api_pb2, beam_expansion_api_pb2_grpc, beam_runner_api_pb2, schema_pb2
from apache_beam.typehints.schemas import named_tuple_to_schema

SINK = "beam:schematransform:org.apache.beam:bigquery_storage_write:v2"
IMAGE = "apache/beam_java17_sdk:2.77.0"
_FAILED = "FailedRowsWithErrors"


class _Handling(NamedTuple):
    output: str


class _Config(NamedTuple):
    table: str
    create_disposition: str | None
    write_disposition: str | None
    triggering_frequency_seconds: np.int64 | None
    auto_sharding: bool | None
    num_streams: np.int32 | None
    use_at_least_once_semantics: bool | None
    use_cdc_writes: bool | None
    primary_key: Sequence[str] | None
    clustering_fields: Sequence[str] | None
    big_lake_configuration: Mapping[str, str] | None
    error_handling: _Handling | None


class Service(beam_expansion_api_pb2_grpc.ExpansionServiceServicer):
    """asked: the configurations that were expanded."""

    def __init__(self) -> None:
        self.asked: list[beam_expansion_api_pb2.ExpansionRequest] = []

    def DiscoverSchemaTransform(self, request: Any, context: Any) -> Any:
        config = beam_expansion_api_pb2.SchemaTransformConfig(config_schema=named_tuple_to_schema(_Config), input_pcollection_names=["input"],
                                                              output_pcollection_names=[_FAILED])
        return beam_expansion_api_pb2.DiscoverSchemaTransformResponse(schema_transform_configs={SINK: config})

    def Expand(self, request: beam_expansion_api_pb2.ExpansionRequest, context: Any) -> Any:
        self.asked.append(request)
        components, space = request.components, request.namespace
        given = components.pcollections[next(iter(request.transform.inputs.values()))]
        row = schema_pb2.Schema.FromString(components.coders[given.coder_id].spec.payload)
        failed = schema_pb2.Schema(id=str(uuid.uuid4()), fields=[
            schema_pb2.Field(name="failed_row", type=schema_pb2.FieldType(row_type=schema_pb2.RowType(schema=row))),
            schema_pb2.Field(name="error_message", type=schema_pb2.FieldType(atomic_type=schema_pb2.STRING))])
        coder, out, written, java = (space + name for name in ("coder", "failed", "written", "java"))
        components.coders[coder].spec.urn, components.coders[coder].spec.payload = "beam:coder:row:v1", failed.SerializeToString()
        for found in (out, written):  # of several outputs Beam makes a dict
            components.pcollections[found].CopyFrom(beam_runner_api_pb2.PCollection(
                unique_name=found, coder_id=coder, is_bounded=given.is_bounded, windowing_strategy_id=given.windowing_strategy_id))
        components.environments[java].CopyFrom(beam_runner_api_pb2.Environment(
            urn=common_urns.environments.DOCKER.urn, payload=beam_runner_api_pb2.DockerPayload(container_image=IMAGE).SerializeToString()))
        transform = beam_runner_api_pb2.PTransform(
            unique_name=request.transform.unique_name, spec=beam_runner_api_pb2.FunctionSpec(urn=common_urns.primitives.PAR_DO.urn), environment_id=java,
            inputs=request.transform.inputs, outputs={_FAILED: out, "post_write": written})
        return beam_expansion_api_pb2.ExpansionResponse(components=components, transform=transform)


@contextmanager
def expansion_server() -> Iterator[tuple[str, Service]]:
    """(HOST:PORT, what was asked)."""
    service, server = Service(), grpc.server(futures.ThreadPoolExecutor(4))
    beam_expansion_api_pb2_grpc.add_ExpansionServiceServicer_to_server(service, server)
    beam_artifact_api_pb2_grpc.add_ArtifactRetrievalServiceServicer_to_server(beam_artifact_api_pb2_grpc.ArtifactRetrievalServiceServicer(), server)
    port = server.add_secure_port("127.0.0.1:0", grpc.local_server_credentials())
    server.start()
    try:
        yield f"127.0.0.1:{port}", service
    finally:
        server.stop(0).wait()
