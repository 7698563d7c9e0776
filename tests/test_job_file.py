"""A simulated launch: main.py run as the launcher of a Flex Template runs it; the job file that it leaves is what Dataflow would run."""

import base64
import bz2
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from pipelines.__main__ import main
from pipelines.flags import parse
from pipelines.launch.graph_shape import normal
from pipelines.launch.metadata import LAUNCHERS
from pipelines.launch.update_check import difference, todays_graph
from pipelines.options import StreamOptions
from pipelines.secret_keys import payload
from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_tables import apply, compare, wanted_tables
from schemas.contract import load
from schemas.errors import Reason, Stage
from tests import kms_server
from tests.bigquery_server import BigQuery
from tests.dataflow_server import Dataflow
from tests.gcs_server import Storage
from tests.lakes import STARTED
from tests.launcher import ACCOUNT, BUCKET, IMAGE, JOB_FILE, KEY, PROJECT, REGION, SUBNETWORK, Launched, flags, launch
from tests.scan import Scan
from tests.secret_server import VERSION, Service, serve
from tests.secrets import files, planted
from transforms.batch import refused_rows
from transforms.keys import PRIVATE, PUBLIC, Keys
from transforms.seal import seal

STREAM = {"contract": "census", "subscription": f"projects/{PROJECT}/subscriptions/census", "output": f"bq://{PROJECT}.penstock", "keys": VERSION}
BATCH = {"contract": "census", "input": "gs://raw/census/*", "output": f"bq://{PROJECT}.penstock", "keys": VERSION, "partition": "2026-03-04",
         "staging": f"gs://{BUCKET}/load"}
REPLAY = {"failures": f"bq://{PROJECT}.penstock", "private_key": kms_server.VERSION, "keys": VERSION, "staging": f"gs://{BUCKET}/load"}
REIDENTIFY = {"contract": "census", "output": f"bq://{PROJECT}.penstock", "sql": "select email, ssn from events", "columns": "email,ssn", "keys": VERSION,
              "purpose": "fraud case 4711", "destination": f"bq://{PROJECT}.restricted.case", "requested_by": "ann@bank"}


class Ground(NamedTuple):
    """What jobs are launched on; environment: that of a launcher that shall find it."""

    folder: Path
    storage: Storage
    bigquery: BigQuery
    secrets: Service
    environment: dict[str, str]

    def launch(self, job: str, parameters: dict[str, str], *more: str) -> Launched:
        """storage holds one bucket a launch."""
        home = self.folder / f"{job}{len(list(self.folder.iterdir()))}"
        home.mkdir()
        with Storage(home / "gcs", BUCKET) as storage:
            (home / "gcs" / "raw").symlink_to(self.storage.folder / "raw")
            storage.generations.update(self.storage.generations)
            found = launch(job, storage, home, parameters, self.environment, *more)
            return found._replace(job=found.job and found.job | {"staged": {name: storage.read(BUCKET, name) for name in storage.names(BUCKET)}})


@pytest.fixture(scope="module")
def ground(tmp_path_factory, key_folder) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("ground")
    secrets = Service(payload(key_folder))
    server, address = serve(secrets)
    with Storage(folder / "gcs", "raw") as storage, BigQuery(PROJECT, gcs=str(folder / "gcs")) as bigquery:
        bigquery.store.make_dataset("penstock", {})
        bigquery.store.make_dataset("restricted", {})
        for table in compare(client := connect(PROJECT, bigquery.url), here := Dataset(PROJECT, "penstock"), wanted_tables(load("census"), ""), Patience()):
            apply(client, here, table, Patience())
        for name, content in files(planted()).items():
            storage.put("raw", f"census/{name}", content)
        refuse(bigquery, key_folder)
        yield Ground(folder, storage, bigquery, secrets, {"SECRET_MANAGER_EMULATOR_HOST": address, "BIGQUERY_EMULATOR_HOST": bigquery.url})
    server.stop(0)


def refuse(bigquery: BigQuery, key_folder: Path, dataset: str = "penstock") -> None:
    """Failures of a run that is done: each line that holds a secret, sealed."""
    lines = refused_rows(Stage.DECODE, [(Reason.UNKNOWN_FIELD, None, f"gs://raw/a:{at}", None, p.line) for at, p in enumerate(planted())])
    for table, rows in (("failures", pa.Table.from_batches([seal(lines, "before", (key_folder / PUBLIC).read_bytes())])), ("runs", pa.table({
            "run": ["before"], "job": ["batch"], "contract": ["census 1.0"], "reasons": ["{}"], "fingerprint": ["0"], "balanced": [True], "partitions": ["[]"],
            "engine": ["{}"], "started": [STARTED], "ended": [STARTED], **{name: [0] for name in ("read", "stored", "repeated", "refused", "late")}}))):
        bigquery.store.db.register("incoming", rows)
        bigquery.store.db.execute(f"INSERT INTO {dataset}.{table} BY NAME SELECT * FROM incoming")
        bigquery.store.db.unregister("incoming")


@pytest.fixture(scope="module")
def launched(ground) -> dict[str, Launched]:
    with ThreadPoolExecutor(2) as two:
        jobs = {"stream": STREAM, "batch": BATCH, "replay": REPLAY, "reidentify": REIDENTIFY}
        return dict(zip(jobs, two.map(lambda job: ground.launch(job, jobs[job]), jobs), strict=True))


def job_of(launched: dict[str, Launched], name: str) -> dict[str, Any]:
    assert launched[name].code == 0 and launched[name].job, launched[name].text
    return launched[name].job  # type: ignore[return-value]


@pytest.mark.parametrize(("name", "kind"), [("stream", "JOB_TYPE_STREAMING"), ("batch", "JOB_TYPE_BATCH"), ("replay", "JOB_TYPE_BATCH"), ("reidentify", "JOB_TYPE_BATCH")])
def test_the_job_is_what_was_asked_for_and_safe(launched, name: str, kind: str) -> None:
    job = job_of(launched, name)
    environment = job["environment"]
    (pool,) = environment["workerPools"]
    (container,) = pool["sdkHarnessContainerImages"]
    assert (job["name"], job["type"]) == (f"census-{name}", kind)
    assert pool["workerHarnessContainerImage"] == container["containerImage"] == IMAGE
    assert (pool["ipConfiguration"], pool["subnetwork"], pool["machineType"]) == ("WORKER_IP_PRIVATE", SUBNETWORK, "n2-standard-2")
    assert (environment["serviceKmsKeyName"], environment["serviceAccountEmail"]) == (KEY, ACCOUNT)
    assert job["labels"] == {"environment": "test", "owner": "benefits-intake", "cost_center": "cc-1040", "data_class": "restricted", "contract": "census",
                             "contract_version": "1-0", "image": "a" * 63}
    assert {"disable_always_on_exception_sampling", "min_num_workers=2", "use_runner_v2"} <= set(environment["experiments"])
    assert ("enable_streaming_engine" in environment["experiments"]) == (name == "stream")


@pytest.mark.parametrize("name", ["stream", "batch", "replay", "reidentify"])
def test_what_the_launcher_says_stands(launched, name: str) -> None:
    options = job_of(launched, name)["environment"]["sdkPipelineOptions"]["options"]
    assert {key: options[key] for key in LAUNCHERS} == {"runner": "DataflowRunner", "project": PROJECT, "region": REGION, "job_name": f"census-{name}",
                                                        "template_location": f"gs://{BUCKET}/{JOB_FILE}"}
    assert options["save_main_session"] is False and "setup_file" not in options and "requirements_file" not in options


@pytest.mark.parametrize("name", ["stream", "batch", "replay", "reidentify"])
def test_no_secret_and_no_content_is_in_what_is_staged(launched, key_folder, name: str) -> None:
    job = job_of(launched, name)
    keys = {"master key": Keys(str(key_folder)).master(), "derived": Keys(str(key_folder)).derive("row digests"),
            "private key": (key_folder / PRIVATE).read_bytes()[60:140]}
    rows = {p.label: p.secret for p in planted()}
    outputs = {**job["staged"], "log": launched[name].text.encode()}
    assert JOB_FILE in outputs and len(outputs) >= 3
    functions = pickled(next(content for path, content in outputs.items() if path.endswith("/pipeline.pb")))
    assert VERSION.encode() in b"".join(functions.values()), "it is the name of the keys that is pickled"
    assert Scan({**keys, **rows}).of(outputs | functions) == set()


def pickled(graph: bytes) -> dict[str, bytes]:
    """What the graph's functions hold, by the names of their transforms: unpacked, not unpickled."""
    transforms = beam_runner_api_pb2.Pipeline.FromString(graph).components.transforms.values()
    payloads = {t.unique_name: beam_runner_api_pb2.ParDoPayload.FromString(t.spec.payload).do_fn.payload
                for t in transforms if t.spec.urn == "beam:transform:pardo:v1"}
    return {name: bz2.decompress(base64.b64decode(payload)) for name, payload in payloads.items() if payload}


def test_nothing_is_done_but_the_job_file(launched, ground) -> None:
    """Neither a wait, nor a load, nor a hold on the days, nor a turn to replay: those are the workers'."""
    assert "its job file is gs://" in launched["batch"].text and "submitted" not in launched["batch"].text
    assert "failures are pending" in launched["replay"].text and "its job file is gs://" in launched["replay"].text
    assert ground.bigquery.ask("select count(*) as n from penstock.runs")[0]["n"] == 1
    assert not [call for call in ground.bigquery.calls if call.startswith("POST") and call.endswith("/jobs") and "load" in call]
    assert not [table for table in ground.bigquery.store.tables if "penstock_writing" in str(table) or "penstock_replaying" in str(table)]
    assert not [call for call in ground.bigquery.calls if call.startswith(("PATCH", "PUT", "DELETE"))], "no turn is taken"
    assert ("restricted", "case") not in ground.bigquery.store.tables and ("penstock", "reidentifications") not in ground.bigquery.store.tables
    assert not [job for job in ground.bigquery.jobs.values() if "f.sealed AS sealed" in str(job)], "no failure is read"


@pytest.mark.parametrize(("parameters", "expected"), [
    ({"keys": "keys", "output": "tables", "input": "*.ndjson", "staging": "here"},
     ["--keys: is no version of a secret", "--output: is no BigQuery dataset", "--input: is on one machine", "--staging: is not in Cloud Storage"]),
    ({"partition": "today", "stagin": "red"}, ["--partition: is not a list of days", "--stagin: is not an option"]),
])
def test_a_launch_that_cannot_run_says_so(capsys, parameters, expected) -> None:
    assert main(["batch", *flags("batch", BATCH | parameters)]) == 2
    told = capsys.readouterr().err
    assert all(e in told for e in expected) and len(told.splitlines()) == 1 + len(expected), told


@pytest.mark.parametrize(("more", "expected"), [
    ("--sdk_container_image=europe-west4-docker.pkg.dev/p/r/penstock:latest", "--sdk_container_image: is missing, or not by its digest"),
    ("--service_account_email=", "--service_account_email: is missing"), ("--region=", "--region: is missing"),
    ("--experiments=enable_data_sampling", "--experiments: enable_data_sampling has events written into a bucket, in clear"),
    ("--dlp_endpoint=localhost:8085", "--dlp_endpoint: leads to this machine"), ("--secrets_endpoint=127.0.0.1:1", "--secrets_endpoint: leads to this machine"),
])
def test_what_a_launch_must_say(capsys, more, expected) -> None:
    assert main(["stream", *flags("stream", STREAM, more)]) == 2
    told = capsys.readouterr().err
    assert expected in told and len(told.splitlines()) == 2, told


@pytest.mark.parametrize(("parameters", "expected"), [
    ({"kms_endpoint": "localhost:8087"}, "--kms_endpoint: leads to this machine"), ({"private_key": "failures.private.pem"}, "--private_key: is no key version"),
    ({"staging": "here"}, "--staging: is not in Cloud Storage"), ({"keys": "keys"}, "--keys: is no version of a secret"),
    ({"failures": "tables"}, "--failures: is no BigQuery dataset"), ({"until": "2026-03-01", "since": "2026-03-02"}, "--until: is not after --since")])
def test_a_replay_that_cannot_be_launched_says_so(capsys, parameters, expected) -> None:
    """Before anybody is asked: there is no BigQuery here."""
    assert main(["replay", *flags("replay", REPLAY | parameters)]) == 2
    told = capsys.readouterr().err
    assert expected in told and len(told.splitlines()) == 2, told


def test_a_stream_without_a_template_takes_the_place_of_the_running_one(ground) -> None:
    with Dataflow() as service:
        service.start("census-stream", "DRAINED")
        running = service.start("census-stream")
        done = ground.launch("stream", STREAM, "--template_location=", "--update", '--transform_name_mapping={"a": "b"}', f"--dataflow_endpoint={service.url}")
        assert done.code == 0 and "was submitted to Dataflow as job" in done.text, done.text
        (job,) = service.submitted
        assert (job["replaceJobId"], job["transformNameMapping"]) == (running, {"a": "b"})


def test_an_update_without_a_running_job_ends(capsys) -> None:
    """Beam would ask for the pages of an empty list for ever."""
    with Dataflow() as service:
        service.start("census-stream", "FAILED")
        assert main(["stream", *flags("stream", STREAM, "--update", f"--dataflow_endpoint={service.url}")]) == 2
        assert "finds no running job census-stream" in capsys.readouterr().err and len(service.calls) == 1


def test_the_graph_is_the_one_that_an_update_is_held_against(launched) -> None:
    """What the launcher stages and what `penstock launch update` builds of the same options do not differ."""
    staged = job_of(launched, "stream")["staged"]
    running = normal(beam_runner_api_pb2.Pipeline.FromString(next(content for path, content in staged.items() if path.endswith("/pipeline.pb"))))
    options, _ = parse(StreamOptions, [f"--{name}={value}" for name, value in STREAM.items()] + [f"--project={PROJECT}"])
    assert difference(running, todays_graph(options, load("census")), {}) == ([], [])
    assert len(running["transforms"]) > 20
