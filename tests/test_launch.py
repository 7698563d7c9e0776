"""penstock launch against a strict fake of Dataflow: what is sent, what is refused, and by which exit code."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions
from google.cloud.dataflow_v1beta3 import LaunchFlexTemplateRequest

from pipelines.__main__ import main
from pipelines.launch import dataflow
from pipelines.launch import request as launching
from pipelines.launch.metadata import spec
from pipelines.launch.profile import read
from schemas.contract import load
from schemas.errors import Misconfigured, Transient
from tests.dataflow_server import Dataflow
from tests.discovery import faults as schema_faults
from tests.gcs_server import Storage
from tests.graphs import streaming

IMAGE = f"europe-west4-docker.pkg.dev/test-project/penstock/penstock@sha256:{'a' * 64}"
NAME, TEMPLATE = "census-stream", "gs://bucket/templates/stream.json"
PROFILE: dict[str, Any] = {
    "project": "test-project", "region": "europe-west4", "image": IMAGE, "staging": "gs://bucket/staging", "temp": "gs://bucket/temp",
    "subnetwork": "regions/europe-west4/subnetworks/penstock", "service_account": "worker@test-project.iam.gserviceaccount.com",
    "kms_key": "projects/test-project/locations/europe-west4/keyRings/penstock/cryptoKeys/dataflow", "labels": {"environment": "test"},
    "min_workers": 2, "max_workers": 8, "parameters": {"contract": "census", "output": "bq://test-project.tables", "keys": "projects/test-project/secrets/k/versions/1"},
    "jobs": {"stream": {"job_name": NAME, "template": TEMPLATE, "parameters": {"subscription": "projects/test-project/subscriptions/events"}},
             "batch": {"job_name": "census-batch", "template": "gs://bucket/templates/batch.json",
                       "parameters": {"input": "gs://raw/*", "partition": "2026-03-04", "staging": "gs://bucket/load"}}},
}


@pytest.fixture
def service() -> Iterator[Dataflow]:
    with Dataflow() as service:
        service.templates |= {f"gs://bucket/templates/{job}.json": spec(job, IMAGE) for job in ("stream", "batch")}
        yield service


@pytest.fixture
def profile(tmp_path) -> Path:
    path = tmp_path / "prod.yaml"
    path.write_text(yaml.safe_dump(PROFILE))
    return path


def launch(action: str, service: Dataflow, profile: Path, *more: str, job: str = "stream") -> int:
    return main(["launch", action, f"--job={job}", f"--profile={profile}", f"--dataflow_endpoint={service.url}", *more])


def changed(profile: Path, job: str = "stream", **values: Any) -> Path:
    """The profile with other values of the job; parameters are joined."""
    whole = json.loads(json.dumps(PROFILE))
    section = whole["jobs"][job]
    values["parameters"] = section["parameters"] | values.get("parameters", {})
    section |= values
    profile.write_text(yaml.safe_dump(whole))
    return profile


@pytest.mark.parametrize("job", ["stream", "batch"])
def test_what_is_sent_is_safe(service, profile, capsys, job) -> None:
    assert launch("run", service, profile, "--json", job=job) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    (sent,) = service.launches
    given = sent["launchParameter"]
    environment = given["environment"]
    assert (sent["project"], sent["region"], given["jobName"], sent.get("validateOnly", False)) == ("test-project", "europe-west4", f"census-{job}", False)
    assert environment["ipConfiguration"] == "WORKER_IP_PRIVATE" and environment["subnetwork"] == PROFILE["subnetwork"]
    assert (environment["kmsKeyName"], environment["serviceAccountEmail"]) == (PROFILE["kms_key"], PROFILE["service_account"])
    assert environment["sdkContainerImage"] == IMAGE and "disable_always_on_exception_sampling" in environment["additionalExperiments"]
    assert environment["additionalUserLabels"] == {"owner": "benefits-intake", "cost_center": "cc-1040", "data_class": "restricted", "contract": "census",
                                                   "contract_version": "1-0", "penstock": job, "image": "a" * 63, "environment": "test"}
    assert (environment["numWorkers"], environment["maxWorkers"], environment.get("streamingMode")) == (
        2, 8, "STREAMING_MODE_EXACTLY_ONCE" if job == "stream" else None)
    assert given["parameters"] == PROFILE["parameters"] | {k: str(v) for k, v in PROFILE["jobs"][job]["parameters"].items()}
    assert (told["id"], told["state"], told["name"]) == (next(iter(service.jobs)), "QUEUED", f"census-{job}")


def test_validate_asks_and_starts_nothing(service, profile, capsys) -> None:
    assert launch("validate", service, profile) == 0
    assert "valid: census-stream would run" in capsys.readouterr().out
    assert [sent["validateOnly"] for sent in service.launches] == [True] and not service.jobs


@pytest.mark.parametrize(("job", "values", "expected"), [
    ("stream", {"parameters": {"colour": "red"}}, "--colour: is not an option"),
    ("stream", {"parameters": {"runner": "DirectRunner"}}, "parameters.runner: is no parameter of the template; leave it out: the launcher gives it"),
    ("stream", {"parameters": {"allow_unwrapped_keys": True}}, "parameters.allow_unwrapped_keys: is no parameter"),
    ("stream", {"parameters": {"wait": "soon"}}, "--wait: is not a span of time"),
    ("stream", {"parameters": {"keys": "keys"}}, "--keys: is no version of a secret"),
    ("stream", {"parameters": {"output": "/tables"}}, "--output: is no BigQuery dataset"),
    ("stream", {"parameters": {"subscription": "projects/p/subscriptions/s"}}, "--subscription: is no name that Dataflow takes"),
    ("stream", {"parameters": {"contract": "sensus"}}, "--contract: sensus is neither"),
    ("stream", {"parameters": {"write": "exactly_once"}}, "--write=exactly_once: needs Java and a jar in the launcher"),
    ("batch", {"parameters": {"input": "a,gs://raw/*"}}, "--input: is on one machine"),
    ("batch", {"parameters": {"staging": "here"}}, "--staging: is not in Cloud Storage"),
    ("batch", {"parameters": {"partition": []}}, "--partition"),
    ("batch", {"parameters": {"contract": "gaming"}}, "--contract: gaming has windows"),
    ("stream", {"experiments": ["use_runner_v2", "enable_data_sampling"]}, "experiments: enable_data_sampling has events written into a bucket, in clear"),
    ("stream", {"parameters": {"id-attribute": "id"}}, "parameters.id-attribute: is no name of a parameter"),
    ("stream", {"parameters": {"allow-unwrapped-keys": True}}, "parameters.allow-unwrapped-keys: is no name of a parameter"),
    ("stream", {"parameters": {"": "id"}}, "parameters.: is no name of a parameter"),
    ("stream", {"image": "penstock:latest"}, "image: has not the form"),
    ("stream", {"colour": "red"}, "colour: is no key of a profile"),
])
def test_what_is_wrong_is_told_before_anybody_is_asked(service, profile, capsys, job, values, expected) -> None:
    assert launch("validate", service, changed(profile, job, **values), job=job) == 2
    assert expected in capsys.readouterr().err and not service.calls


def test_an_image_of_ones_own_may_hold_java(service, profile) -> None:
    assert launch("validate", service, changed(profile, parameters={"write": "exactly_once", "expansion_service": "/opt/expansion.jar"})) == 0


def test_all_faults_come_at_once(service, profile, capsys) -> None:
    assert launch("run", service, changed(profile, parameters={"colour": "red", "runner": "x", "wait": "soon"})) == 2
    assert len(capsys.readouterr().err.splitlines()) == 4


REPLAY = {"contract": "census", "failures": "bq://test-project.tables", "keys": "projects/test-project/secrets/k/versions/1", "staging": "gs://bucket/load",
          "private_key": "projects/test-project/locations/europe-west4/keyRings/penstock/cryptoKeys/failures/cryptoKeyVersions/1"}


def replaying(profile: Path, **parameters: str | None) -> Path:
    """A profile whose replay has these parameters, None for none."""
    given = {name: value for name, value in (REPLAY | parameters).items() if value is not None}
    whole = PROFILE | {"parameters": given, "jobs": {"replay": {"job_name": "census-replay", "template": "gs://bucket/templates/replay.json"}}}
    profile.write_text(yaml.safe_dump(whole))
    return profile


def test_a_replay_is_launched_as_others_are(service, profile, capsys) -> None:
    service.templates["gs://bucket/templates/replay.json"] = spec("replay", IMAGE)
    assert launch("validate", service, replaying(profile), job="replay") == launch("run", service, profile, job="replay") == 0
    given = service.launches[-1]["launchParameter"]
    assert (given["jobName"], given["parameters"], given["environment"]["ipConfiguration"]) == ("census-replay", REPLAY, "WORKER_IP_PRIVATE")
    assert given["environment"]["additionalUserLabels"]["penstock"] == "replay" and "launched: census-replay" in capsys.readouterr().out


@pytest.mark.parametrize(("parameters", "expected"), [
    ({"private_key": "failures.private.pem"}, "--private_key: is no key version of Cloud KMS"), ({"private_key": None}, "--private_key: is no key version"),
    ({"failures": "tables"}, "--failures: is no BigQuery dataset"), ({"staging": None}, "--staging: is not in Cloud Storage"),
    ({"keys": "keys"}, "--keys: is no version of a secret"), ({"contract": None}, "--contract: is missing"),
    ({"dry_run": "true"}, "parameters.dry_run: is no parameter of the template"), ({"stage": "cellar"}, "--stage")])
def test_what_is_wrong_with_a_replay_is_told_before_anybody_is_asked(service, profile, capsys, parameters, expected) -> None:
    assert launch("run", service, replaying(profile, **parameters), job="replay") == 2
    assert expected in capsys.readouterr().err and not service.calls


REIDENTIFY = {"contract": "census", "output": "bq://test-project.tables", "keys": "projects/test-project/secrets/k/versions/1", "sql": "select email from events",
              "columns": "email", "purpose": "fraud case 4711", "requested_by": "ann@bank", "destination": "bq://test-project.restricted.case"}


def reidentifying(profile: Path, **parameters: str | None) -> Path:
    """A profile whose reidentify has these parameters, None for none."""
    given = {name: value for name, value in (REIDENTIFY | parameters).items() if value is not None}
    whole = PROFILE | {"parameters": given, "jobs": {"reidentify": {"job_name": "census-reidentify", "template": "gs://bucket/templates/reidentify.json"}}}
    profile.write_text(yaml.safe_dump(whole))
    return profile


def test_a_reidentification_is_launched_as_others_are(service, profile, capsys) -> None:
    service.templates["gs://bucket/templates/reidentify.json"] = spec("reidentify", IMAGE)
    assert launch("validate", service, reidentifying(profile), job="reidentify") == launch("run", service, profile, job="reidentify") == 0
    given = service.launches[-1]["launchParameter"]
    assert (given["jobName"], given["parameters"], given["environment"]["ipConfiguration"]) == ("census-reidentify", REIDENTIFY, "WORKER_IP_PRIVATE")
    assert "launched: census-reidentify" in capsys.readouterr().out


@pytest.mark.parametrize(("parameters", "expected"), [
    ({"destination": "/private"}, "--destination: is on one machine"), ({"destination": "bq://test-project.tables.case"}, "--destination: lies in the dataset"),
    ({"destination": "bq://case"}, "--destination: is no table"), ({"output": "tables"}, "--output: is no BigQuery dataset"),
    ({"requested_by": None}, "--requested_by: is missing"), ({"purpose": " "}, "--purpose: is empty"), ({"purpose": None}, "--purpose: is missing"),
    ({"columns": "phone"}, "phone cannot be turned back: characterMaskConfig"), ({"sql": None}, "SQL: is missing"), ({"keys": "keys"}, "--keys: is no version")])
def test_what_is_wrong_with_a_reidentification_is_told_before_anybody_is_asked(service, profile, capsys, parameters, expected) -> None:
    assert launch("run", service, reidentifying(profile, **parameters), job="reidentify") == 2
    assert expected in capsys.readouterr().err and not service.calls


def test_what_the_service_refuses_is_told(service, profile, capsys) -> None:
    service.templates[TEMPLATE]["metadata"]["parameters"].append({"name": "colour", "label": "c", "helpText": "c", "isOptional": False})
    assert launch("validate", service, profile) == 2
    assert "refuses the request: " in (told := capsys.readouterr().err) and "colour is missing" in told


@pytest.mark.parametrize(("statuses", "code", "expected"), [([503, 503], 0, "valid"), ([403], 2, "roles/dataflow.developer"), ([404], 2, "no such project")])
def test_answers_that_are_none(service, profile, capsys, statuses, code, expected) -> None:
    service.faults += statuses
    assert launch("validate", service, profile) == code
    assert expected in "".join(capsys.readouterr())


def test_a_launch_is_never_sent_twice(service, profile, capsys) -> None:
    """Its answer may be lost when the job is there already."""
    service.faults += [0, 503]
    assert launch("run", service, profile) == 1
    assert "did not answer" in capsys.readouterr().err and len([call for call in service.calls if "launch" in call]) == 1


def test_nobody_listens() -> None:
    client = dataflow.Dataflow("test-project", "europe-west4", "http://localhost:1", patience=0.5)
    with pytest.raises(Transient, match="did not answer jobs.list"):
        client.jobs(NAME)


@pytest.mark.parametrize("endpoint", ["http://dataflow.example.com", "https://dataflow.example.com", "localhost:9070"])
def test_plain_http_stays_here(endpoint) -> None:
    with pytest.raises(Misconfigured, match="--dataflow_endpoint"):
        dataflow.Dataflow("test-project", "europe-west4", endpoint)


def test_one_job_of_a_name_runs(service, profile, capsys) -> None:
    service.start(NAME, "DRAINED")
    running = service.start(NAME)
    assert launch("run", service, profile) == 2 and f"{running} is RUNNING" in capsys.readouterr().err and not service.launches
    service.state(running, "CANCELLED")
    assert launch("run", service, profile) == 0


def test_the_running_one_is_found_among_many(service, profile, capsys) -> None:
    """Pages of two; others of a like name."""
    for number in range(5):
        service.start(NAME, "FAILED" if number != 1 else "RUNNING")
        service.start(f"{NAME}-2")
    assert launch("drain", service, profile) == 0
    assert [job["currentState"] for job in service.jobs.values() if job["name"] == NAME].count("JOB_STATE_DRAINING") == 1
    assert list(service.jobs.values())[2]["currentState"] == "JOB_STATE_DRAINING"


@pytest.mark.parametrize("action", ["update", "drain", "cancel", "status"])
def test_without_a_job_there_is_nothing_to_do(service, profile, capsys, action) -> None:
    assert launch(action, service, profile) == 2
    assert f"job {NAME}: " in capsys.readouterr().err and not service.launches and len(service.calls) == 1, "it is asked once"


@pytest.mark.parametrize(("action", "state"), [("drain", "DRAINING"), ("cancel", "CANCELLING")])
def test_the_end(service, profile, capsys, action, state) -> None:
    job = service.start(NAME)
    assert launch(action, service, profile, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "action": action, "job": "stream", "name": NAME, "id": job, "state": state, "project": "test-project", "region": "europe-west4", "image": IMAGE}


def test_a_batch_job_is_not_drained(service, profile, capsys) -> None:
    service.start("census-batch", streaming=False)
    assert launch("drain", service, profile, job="batch") == 2 and "cancel it" in capsys.readouterr().err
    assert launch("update", service, profile, job="batch") == 2 and "updates streams alone" in capsys.readouterr().err
    assert launch("cancel", service, profile, job="batch") == 0


@pytest.mark.parametrize(("action", "remedy"), [("update", "Dataflow updates streams alone"), ("drain", "drain ends a stream")])
def test_nor_is_one_that_has_a_streams_name(service, profile, capsys, action, remedy) -> None:
    job = service.start(NAME, streaming=False)
    assert launch(action, service, profile) == 2 and f"is a batch job: {job}; {remedy}" in capsys.readouterr().err
    assert not service.launches and not [call for call in service.calls if call.startswith("PUT")]


def test_what_is_refused_at_a_jobs_end_is_no_fault_of_the_profile(service, profile, capsys) -> None:
    service.start(NAME)
    service.faults = [0, 400]
    assert launch("cancel", service, profile) == 2
    assert "jobs.update: refuses the request" in (told := capsys.readouterr().err) and "look with `penstock launch status`" in told and "profile" not in told


@pytest.mark.parametrize(("state", "code"), [("RUNNING", 0), ("QUEUED", 0), ("DONE", 0), ("FAILED", 1), ("CANCELLED", 0)])
def test_status(service, profile, capsys, state, code) -> None:
    service.start(NAME, "FAILED")
    newest = service.start(NAME, state)
    assert launch("status", service, profile) == code and f"job {newest} is {state}" in capsys.readouterr().out


def test_actions_are_named(service, profile, capsys) -> None:
    assert launch("start", service, profile) == 2 and "ACTION: is none of its values" in capsys.readouterr().err
    assert main(["launch", "--job=stream"]) == 2 and len(capsys.readouterr().err.splitlines()) == 3


@pytest.fixture
def staged(tmp_path, key_folder, service) -> Iterator[Storage]:
    """A bucket with the template, and a job of NAME that runs the graph at staging/pipeline.pb of it."""
    with Storage(tmp_path / "gcs", "bucket") as storage:
        storage.put("bucket", "templates/stream.json", json.dumps(spec("stream", IMAGE)).encode())
        service.start(NAME, options={"pipelineUrl": "gs://bucket/staging/pipeline.pb"})
        yield storage


def test_an_update_of_the_same_graph(service, staged, profile, key_folder, capsys) -> None:
    staged.put("bucket", "staging/pipeline.pb", _staged("census", key_folder))
    assert launch("update", service, profile, f"--storage_endpoint={staged.url}") == 0
    told = capsys.readouterr().out
    assert "changes: nothing in the graph" in told and "in place of" in told
    (sent,) = service.launches
    assert sent["launchParameter"]["update"] is True and "transformNameMappings" not in sent["launchParameter"]


@pytest.mark.parametrize(("labels", "told"), [
    (["contract=census", "contract_version=0-9", "owner=x"], "changes: the contract, from census 0-9 to census 1-0"),
    (['{"penstock": "stream", "contract": "benefits", "contract_version": "1-0"}'], "changes: the contract, from benefits 1-0 to census 1-0"),
    (["contract=census", "contract_version=1-0"], ""), ([], ""), (None, ""), ("contract=census", "")])
def test_another_contract_is_told(service, staged, profile, key_folder, capsys, labels, told) -> None:
    """The graph of another version is the same graph: what differs is within what it carries."""
    staged.put("bucket", "staging/pipeline.pb", _staged("census", key_folder))
    (job,) = service.jobs.values()
    job["environment"]["sdkPipelineOptions"]["options"]["labels"] = labels
    assert launch("update", service, profile, f"--storage_endpoint={staged.url}") == 0
    seen = capsys.readouterr().out
    assert told in seen and ("the contract" in seen) == bool(told)


def test_an_update_to_another_graph_is_refused_and_told(service, staged, profile, key_folder, capsys) -> None:
    staged.put("bucket", "staging/pipeline.pb", _staged("telemetry", key_folder))
    assert launch("update", service, profile, f"--storage_endpoint={staged.url}") == 2
    seen = capsys.readouterr()
    assert "cannot be updated: Window/" in seen.out and "changes: " in seen.out and "cannot be updated to this graph" in seen.err and not service.launches
    assert launch("update", service, profile, f"--storage_endpoint={staged.url}", "--force") == 0 and len(service.launches) == 1


def test_names_that_have_changed_are_mapped(service, staged, profile, key_folder, capsys) -> None:
    whole = _staged("census", key_folder)
    old = whole.replace(b"Deduplicate/Shard", b"Deduplicate/Chart")
    assert old != whole
    staged.put("bucket", "staging/pipeline.pb", old)
    changed(profile, transform_names={"Deduplicate/Chart": "Deduplicate/Shard"})
    assert launch("update", service, profile, f"--storage_endpoint={staged.url}", '--transform_name_mapping={"a": ""}') == 0
    assert "changes: Deduplicate/Chart is gone" in capsys.readouterr().out
    assert service.launches[-1]["launchParameter"]["transformNameMappings"] == {"Deduplicate/Chart": "Deduplicate/Shard", "a": ""}


def test_an_update_that_nobody_can_judge_takes_a_word(service, staged, profile, capsys) -> None:
    assert launch("update", service, profile, f"--storage_endpoint={staged.url}") == 2
    told = capsys.readouterr().err
    assert "gs://bucket/staging/pipeline.pb" in told and "nobody knows what the update would lose" in told and "--force" in told and not service.launches
    assert launch("update", service, profile, f"--storage_endpoint={staged.url}", "--force") == 0
    assert "not checked, Dataflow's own check decides" in capsys.readouterr().err and service.launches[-1]["launchParameter"]["update"] is True


@pytest.mark.parametrize(("content", "expected"), [
    (spec("stream", IMAGE.replace("a" * 64, "b" * 64)), "names another image"), (spec("batch", IMAGE), "parameters.subscription: is no parameter"),
    ({"image": IMAGE}, "is no Flex Template"), (None, "is not there"),
])
def test_the_template_is_held_against_the_profile(service, staged, profile, capsys, content, expected) -> None:
    if content is None:
        (staged.folder / "bucket" / "templates" / "stream.json").unlink()
    else:
        staged.put("bucket", "templates/stream.json", json.dumps(content).encode())
    assert launch("validate", service, profile, f"--storage_endpoint={staged.url}") == 2
    assert expected in capsys.readouterr().err and not service.launches


def test_the_request_is_one_that_the_api_knows(profile) -> None:
    given = read(profile, "stream")
    contract = load("census")
    body = json.loads(LaunchFlexTemplateRequest.to_json(LaunchFlexTemplateRequest(launch_parameter=launching.parameter("stream", given, contract, True, {"a": "b"})),
                                                        use_integers_for_enums=False, including_default_value_fields=False))
    assert not schema_faults({k: v for k, v in body.items() if k in ("launchParameter", "validateOnly")}, "LaunchFlexTemplateRequest")
    assert body["launchParameter"]["update"] is True


@lru_cache
def _staged(contract: str, key_folder: Path) -> bytes:
    """A stream's graph as Dataflow's runner stages it: pipeline.pb."""
    given = PipelineOptions(["--runner=DataflowRunner", "--project=test-project", "--region=europe-west4", "--temp_location=gs://bucket/temp", "--dry_run=true",
                             "--streaming", "--no_save_main_session", "--experiments=disable_logging_submission_environment"])
    pipeline = streaming(contract, str(key_folder), given)
    pipeline.run()
    found: bytes = pipeline.runner.proto_pipeline.SerializeToString()
    return found


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not on this machine; the Python client reaches the same fake in the tests above")
def test_gcloud_reaches_the_fake(service, profile, tmp_path) -> None:
    """What gcloud sends of a template that `penstock spec` wrote is taken as ours is."""
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG")} | {
        "HOME": str(tmp_path), "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"), "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true", "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW": f"{service.url}/"}
    parameters = ",".join(f"{name}={value}" for name, value in (PROFILE["parameters"] | PROFILE["jobs"]["stream"]["parameters"]).items())
    done = subprocess.run(["gcloud", "dataflow", "flex-template", "run", NAME, f"--template-file-gcs-location={TEMPLATE}", "--region=europe-west4",
                           "--project=test-project", f"--parameters={parameters}", "--disable-public-ips", f"--subnetwork={PROFILE['subnetwork']}",
                           f"--dataflow-kms-key={PROFILE['kms_key']}", f"--service-account-email={PROFILE['service_account']}", "--format=json"],
                          env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (sent,) = service.launches
    assert sent["launchParameter"]["parameters"]["contract"] == "census" and sent["launchParameter"]["environment"]["ipConfiguration"] == "WORKER_IP_PRIVATE"
    assert launch("status", service, profile) == 0
