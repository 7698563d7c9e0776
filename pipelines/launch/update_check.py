"""Whether a job that runs can be updated to today's graph: the graph that it was started with, out of its staging, beside the one that is built here."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage.retry import DEFAULT_RETRY
from google.protobuf.message import DecodeError
from requests import RequestException

from pipelines import graph, stream_graph
from pipelines.launch.graph_shape import Graph, changed, incompatible, normal
from pipelines.launch.submitting import RUNNER, contract_labels
from pipelines.options import StreamOptions
from pipelines.sinks.bigquery import dataset
from pipelines.sources import gcs
from pipelines.sources.subscription import ReadSubscription
from pipelines.starting import Faults, means_of
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured
from transforms import keys

_LARGEST = 100 << 20  # bytes of a graph
_SECONDS = 20.0


class Difference(NamedTuple):
    """Sentences: why the update would fail, and what is not as it was."""

    why: list[str]
    what: list[str]


def difference(running: Graph, new: Graph, transform_names: Mapping[str, str]) -> Difference:
    """What an update changes. transform_names: {old: new}."""
    return Difference(list(incompatible(running, new, transform_names)), list(changed(running, new)))


def running_graph(options: Mapping[str, Any], endpoint: str = "") -> Graph:
    """The graph of a job, by the pipeline options that it was started with. Raises Misconfigured where it cannot be read.

    endpoint: of Cloud Storage, where it is not the usual one.
    """
    path = str(options.get("pipelineUrl", ""))
    bucket, _, name = path.removeprefix(gcs.SCHEME).partition("/")
    problem, remedy = "is not told by Dataflow", "look whether the job was started by Beam's runner for Python"
    if path.startswith(gcs.SCHEME) and name:
        try:
            blob = gcs.client(endpoint).bucket(bucket).blob(name)
            content = blob.download_as_bytes(timeout=_SECONDS, end=_LARGEST, retry=DEFAULT_RETRY.with_timeout(_SECONDS))
            found = normal(beam_runner_api_pb2.Pipeline.FromString(content))
            if found["transforms"]:
                return found
            problem, remedy = f"holds nothing: {path}", "look who writes into the staging bucket"
        except NotFound:
            problem, remedy = f"is not there any more: {path}", "drain the job and run it anew; keep what is staged as long as jobs run"
        except (GoogleAPIError, GoogleAuthError, RequestException) as error:
            problem, remedy = f"cannot be read from {path}: {type(error).__name__}", "let the account read the staging bucket; else check network and endpoint"
        except (DecodeError, KeyError, TypeError, ValueError, RecursionError):  # another Beam's graph may hold what this one has no name for
            problem, remedy = f"is no graph that this Beam can read: {path}", "look who writes into the staging bucket, and which Beam started the job"
    raise Misconfigured([Fault("the running job's graph", problem, remedy)])


def todays_graph(options: StreamOptions, contract: Contract) -> Graph:
    """The graph that Dataflow would be given today, built with throw-away keys: a graph holds none."""
    with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        keys.make(Path(folder) / "keys")
        faults, ring = Faults(), keys.Keys(str(Path(folder) / "keys"))
        means = means_of(replace(options, keys=ring.folder), contract, faults, lambda: ring)
        faults.stop()
        assert means is not None
        given = PipelineOptions([f"--runner={RUNNER}", f"--project={options.project}", "--region=us-central1", "--temp_location=gs://penstock/temp",
                                 "--dry_run=true", "--streaming", "--no_save_main_session", "--experiments=disable_logging_submission_environment"])
        pipeline = beam.Pipeline(options=given)
        graph.build(pipeline, stream_graph.parts(options, contract, means, dataset(options.output), ReadSubscription(options.subscription)))
        pipeline.run()
        return normal(pipeline.runner.proto_pipeline)


def sentences(found: Difference, told: Mapping[str, Any], image: str, contract: Contract) -> Iterator[str]:
    """What is told of a difference, line by line. told: the running job's pipeline options; image, contract: today's."""
    yield from (f"cannot be updated: {line}" for line in found.why)
    yield from (f"changes: {line}" for line in found.what)
    if not found.what:
        yield "changes: nothing in the graph"
    if (was := str(told.get("sdk_container_image", ""))) not in ("", image):
        yield f"changes: the image, from {was} to {image}"
    # A graph holds its contract pickled, which is not read; the labels tell which one it was. Each is NAME=VALUE, or JSON of several.
    labels = dict(re.findall(r"\b(contract|contract_version)[\"']?[=:] *[\"']?([a-z0-9_-]+)", " ".join(map(str, told.get("labels") or ()))))
    now = {name: value for name, value in contract_labels(contract).items() if name in labels}
    if now != labels:
        yield f"changes: the contract, from {' '.join(labels[name] for name in sorted(labels))} to {' '.join(now[name] for name in sorted(labels))}"
