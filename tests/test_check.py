"""penstock check: each thing that can be wrong is told with what to do, and what cannot be looked at is told too, never passed over."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.__main__ import main
from pipelines.launch.checks import every, here
from pipelines.launch.checks.clients import Clients, NotChecked
from pipelines.launch.checks.permissions import PROCESSES, RUNS_AS
from pipelines.launch.checks.places import LOCK_LABEL, together
from pipelines.launch.checks.setting import NOT_CHECKED, OK, Result
from pipelines.launch.metadata import spec
from pipelines.launch.profile import JOBS, read
from pipelines.tools import check
from pipelines.tools.options import CheckOptions
from schemas import bigquery
from schemas.contract import Contract, load
from schemas.errors import Misconfigured
from tests.google_server import served
from tests.launches import LOCK, Launch

ROOT = Path(__file__).parent.parent
KEY = "projects/my-project/locations/europe-west4/keyRings/r/cryptoKeys/failures"


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load("census")


@pytest.fixture
def launch(tmp_path, contract) -> Launch:
    return Launch(tmp_path, contract)


def wrong(results: dict[str, Result]) -> dict[str, str]:
    """What is at fault, in words."""
    return {name: " ".join(map(str, r.faults)) for name, r in results.items() if r.faults}


def unknown(results: dict[str, Result]) -> dict[str, str]:
    return {name: r.reason for name, r in results.items() if r.state == NOT_CHECKED}


@pytest.mark.parametrize("job", ["stream", "batch"])
def test_a_launch_where_nothing_is_wrong(launch, job) -> None:
    code, results = launch.checked(job)
    assert (code, wrong(results)) == (0, {})
    assert set(unknown(results)) == {"quotas"}  # no rate was given
    asked = set(launch.world.asked)
    assert {"POST /v3/projects/my-project:testIamPermissions", "GET /storage/v1/b/my-staging/iam/testPermissions",
            "POST /bigquery/v2/projects/my-project/datasets/penstock/tables/events:testIamPermissions",
            "POST /v1/projects/my-project/secrets/penstock-keys:testIamPermissions",
            "POST /v1/projects/my-project/locations/europe-west4/repositories/penstock:testIamPermissions",
            "POST /v1/projects/-/serviceAccounts/penstock-worker@my-project.iam.gserviceaccount.com:testIamPermissions"} <= asked
    assert ("POST /v1/projects/my-project/subscriptions/census:testIamPermissions" in asked) == (job == "stream")
    assert ("GET /storage/v1/b/my-raw/iam/testPermissions" in asked) == (job == "batch")


@pytest.mark.parametrize("job, resource, permission, check_name, role", [
    ("stream", "/v3/projects/my-project:", "dataflow.jobs.create", "launcher: project", "roles/dataflow.developer"),
    ("stream", "serviceAccounts", "iam.serviceAccounts.actAs", "launcher: service account", "roles/iam.serviceAccountUser"),
    ("stream", "/b/my-templates/", "storage.objects.get", "launcher: template", "roles/storage.objectViewer"),
    ("stream", "/v3/projects/my-project:", "dataflow.workItems.lease", "worker: project", "roles/dataflow.worker"),
    ("stream", "/b/my-staging/", "storage.buckets.get", "worker: staging", "legacyBucketReader"),
    ("stream", "subscriptions/census", "pubsub.subscriptions.consume", "worker: subscription", "roles/pubsub.subscriber"),
    ("stream", "tables/failures:", "bigquery.tables.updateData", "worker: tables", "roles/bigquery.dataEditor"),
    ("stream", "secrets/penstock-keys", "secretmanager.versions.access", "worker: keys", "secretAccessor"),
    ("stream", "repositories/penstock", "artifactregistry.repositories.downloadArtifacts", "worker: repository", "artifactregistry.reader"),
    ("batch", "/v3/projects/my-project:", "bigquery.jobs.create", "worker: project", "roles/bigquery.jobUser"),
    ("batch", "/b/my-raw/", "storage.objects.list", "worker: input", "objectViewer"),
])
def test_a_permission_that_is_missing(launch, job, resource, permission, check_name, role) -> None:
    launch.world.withheld[resource] = {permission}
    code, results = launch.checked(job)
    assert code == 2 and permission in wrong(results)[check_name] and role in wrong(results)[check_name]
    assert len(wrong(results)) == (2 if resource == "/b/my-staging/" else 1) or job == "batch"


@pytest.mark.parametrize("change, check_name, words", [
    ({"places": {"my-staging": "us-east1"}}, "locations of buckets", "lies in us-east1, the job runs in europe-west4"),
    ({"places": {"penstock": "us"}}, "location of the dataset", "lies in us, the job runs in europe-west4"),
    ({"status": {"/b/my-templates": 404}}, "template", "is not there"),
    ({"status": {"/datasets/penstock": 404}}, "location of the dataset", "is no dataset"),
    ({"status": {"/v2/my-project": 404}}, "image and lock file", "is not in its registry"),
    ({"status": {"/subnetworks/penstock": 404}}, "subnetwork", "is not there"),
    ({"status": {"/cryptoKeys/dataflow": 404}}, "who uses the job's key", "is not there"),
    ({"status": {"subscriptions/census": 404}}, "worker: subscription", "is not there"),
])
def test_what_is_somewhere_else_or_nowhere(launch, change, check_name, words) -> None:
    for name, value in change.items():
        getattr(launch.world, name).update(value)
    code, results = launch.checked()
    assert code == 2 and words in wrong(results)[check_name]


def test_workers_reach_google(launch) -> None:
    launch.world.private_access = False
    told = wrong(launch.checked()[1])
    assert set(told) == {"subnetwork"} and "--enable-private-ip-google-access" in told["subnetwork"]
    launch.profile["public_ips"] = True
    assert launch.checked()[0] == 0


def test_googles_accounts_use_the_jobs_key(launch) -> None:
    missing = launch.world.users.pop().removeprefix("serviceAccount:")
    _, results = launch.checked()
    assert f"{missing} lack roles/cloudkms.cryptoKeyEncrypterDecrypter on the key itself" in unknown(results)["who uses the job's key"]
    launch.profile["kms_key"] = "none"
    assert launch.checked()[1]["who uses the job's key"].state == OK


def test_a_multi_region_holds_its_regions(launch) -> None:
    launch.world.places |= {"my-staging": "EU", "penstock": "EU"}
    assert launch.checked()[0] == 0
    assert together("EU", "europe-west4") and together("us-east1", "US-EAST1") and not together("us", "europe-west1") and not together("europe-west4", "eu")


def test_load_files_lie_where_the_dataset_lies(launch) -> None:
    launch.profile["jobs"]["batch"]["parameters"]["staging"] = "gs://my-load/files"
    launch.world.places["my-load"] = "europe-west1"
    _, results = launch.checked("batch")
    assert "BigQuery loads from its own place" in wrong(results)["location of the dataset"]


def test_tables_that_differ(launch) -> None:
    del launch.world.tables["failures"]
    fields = launch.world.tables["events"]["schema"]["fields"]
    fields[0]["type"] = "INT64"
    _, results = launch.checked()
    assert "failures: is missing" in wrong(results)["tables"] and "penstock tables --apply" in wrong(results)["tables"]
    assert "has another form" in wrong(results)["tables"]
    launch.world.tables["events"]["schema"]["fields"].append({"name": "added", "type": "STRING"})
    assert "added is not declared" in wrong(launch.checked()[1])["tables"]


def test_another_image_in_the_template(launch) -> None:
    launch.world.objects["my-templates/stream.json"] = json.dumps(spec("stream", "x@sha256:" + "1" * 64)).encode()
    assert "another image" in wrong(launch.checked()[1])["template"]
    launch.world.objects["my-templates/stream.json"] = b"<html>"
    assert "is no Flex Template" in wrong(launch.checked()[1])["template"]


def test_an_image_of_another_lock_file(launch) -> None:
    launch.lock.write_bytes(LOCK + b"more\n")
    assert "another requirements.lock" in wrong(launch.checked()[1])["image and lock file"]
    launch.lock.unlink()
    assert "no requirements.lock here" in unknown(launch.checked()[1])["image and lock file"]


def test_an_image_for_several_platforms_or_without_a_label(launch) -> None:
    digest = launch.world.image({LOCK_LABEL: hashlib.sha256(LOCK).hexdigest()}, index=True)
    launch.profile["image"] = launch.profile["image"].split("@")[0] + "@" + digest
    assert "image and lock file" not in {*wrong(launch.checked()[1]), *unknown(launch.checked()[1])}
    launch.profile["image"] = launch.profile["image"].split("@")[0] + "@" + launch.world.image({"other": "label"})
    assert LOCK_LABEL in unknown(launch.checked()[1])["image and lock file"]


def test_an_image_of_another_job(launch) -> None:
    digest = launch.world.image({LOCK_LABEL: hashlib.sha256(LOCK).hexdigest()}, job="batch")
    launch.profile["image"] = launch.profile["image"].split("@")[0] + "@" + digest
    assert "is that of batch; give stream its own, under jobs: (make image JOB=stream)" in wrong(launch.checked()[1])["image and lock file"]
    assert "image and lock file" not in {*wrong(launch.checked("batch")[1]), *unknown(launch.checked("batch")[1])}


def test_a_registry_that_answers_something_else(launch) -> None:
    digest = launch.profile["image"].split("@")[1]
    launch.world.blobs[digest] += b" "
    assert "not what the digest names" in wrong(launch.checked()[1])["image and lock file"]


@pytest.mark.parametrize("variable", ["PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST", "PENSTOCK_KEYS"])
def test_an_emulator_would_ride_along(launch, variable) -> None:
    code, results = launch.checked(environment={variable: "localhost:9"})
    assert code == 2 and f"unset {variable}" in wrong(results)["emulators and local keys"]


def test_emulators_that_are_set_here_lead_no_question_astray(tmp_path, launch) -> None:
    launch.path.write_text(yaml.safe_dump(launch.profile))
    with served(launch.world) as url:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **{name: "localhost:9" for name in here.EMULATORS}}
        done = subprocess.run([sys.executable, "-m", "pipelines", "check", "--job=stream", f"--profile={launch.path}", f"--lock={launch.lock}", f"--endpoint={url}"],
                              cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "") and all(f"unset {name}" in done.stdout for name in here.EMULATORS)
    assert f"21 ok, {len(here.EMULATORS)} faults, 1 not checked" in done.stdout  # the quotas: no rate is given


@pytest.mark.parametrize("content", [b"<html>Log in to use this network</html>", b"[]"])
@pytest.mark.parametrize("part, check_name", [
    ("subscriptions/census", "worker: subscription"), ("serviceAccounts", "launcher: service account"), ("/b/my-staging", "locations of buckets"),
    ("/subnetworks/", "subnetwork"), ("/datasets/penstock", "location of the dataset"), ("/tables/events", "tables"), ("secrets/", "worker: keys"),
    ("cryptoKeys/dataflow", "who uses the job's key")])
def test_what_is_no_answer_of_googles_is_told_as_such(launch, part, check_name, content) -> None:
    launch.world.instead[part] = content
    results = launch.checked()[1]
    assert results[check_name].state != OK and not results[check_name].reason.startswith("Log in"), results[check_name]


@pytest.mark.parametrize("parameters, words", [
    ({"dlp_endpoint": "localhost:8085"}, "dlp_endpoint"), ({"bigquery_endpoint": "http://localhost:9050"}, "bigquery_endpoint"),
    ({"allow_unwrapped_keys": True}, "allow_unwrapped_keys"), ({"keys": ".penstock/keys"}, "no way to a folder"),
])
def test_a_parameter_that_holds_here_only(launch, parameters, words) -> None:
    launch.profile["parameters"] |= parameters
    code, results = launch.checked()
    assert code == 2 and words in wrong(results)["emulators and local keys"]
    assert "parameters" not in wrong(results)  # told once


def test_parameters_are_the_jobs_options(launch) -> None:
    launch.profile["parameters"] |= {"wait": "soon", "max_mesages": 5}
    del launch.profile["jobs"]["stream"]["parameters"]["subscription"]
    _, results = launch.checked()
    told = wrong(results)["parameters"]
    assert "wait" in told and "max_mesages" in told and "subscription" in told and "prod.yaml" in told
    assert "parameters are at fault" in unknown(results)["worker: subscription"]


def test_a_contract_that_is_not_whole(launch) -> None:
    launch.world.objects["my-contracts/own/contract.yaml"] = b"name: own\nversion: 1\n"
    launch.profile["parameters"]["contract"] = "gs://my-contracts/own"
    _, results = launch.checked()
    assert "gs://my-contracts/own/event.avsc: is missing" in wrong(results)["contract"] and "deidentify.json" in wrong(results)["contract"]
    assert "parameters" not in wrong(results) and "the contract is not whole" in unknown(results)["tables"]


@pytest.mark.parametrize("job", ["stream", "batch"])
def test_a_contract_in_a_bucket(launch, job) -> None:
    for file in (ROOT / "schemas/census").iterdir():
        launch.world.objects[f"my-contracts/census/{file.name}"] = file.read_bytes()
    launch.profile["parameters"]["contract"] = "gs://my-contracts/census/"
    assert launch.checked(job, rate=100)[1]["contract"].state == OK and launch.checked(job)[0] == 0
    launch.world.withheld["/b/my-contracts/"] = {"storage.objects.get"}
    code, results = launch.checked(job)
    assert code == 2 and set(wrong(results)) == {"launcher: contract", "worker: contract"} and "objectViewer" in wrong(results)["worker: contract"]


def test_a_contract_that_workers_do_not_find(launch) -> None:
    launch.profile["parameters"]["contract"] = str(ROOT / "schemas/census")
    _, results = launch.checked()
    assert "is a folder of this machine" in wrong(results)["parameters"] and "gs://BUCKET/FOLDER" in wrong(results)["parameters"]


def test_examples_that_were_not_filled_in(launch) -> None:
    launch.profile["image"] = "europe-west4-docker.pkg.dev/p/r/penstock@sha256:" + "0" * 64
    launch.profile["parameters"] |= {"engine": "dlp", "location": "europe-west4"}
    _, results = launch.checked()
    assert "digest of zeros" in wrong(results)["placeholders"] and "placeholders for keys wrapped by projects/penstock-demo" in wrong(results)["placeholders"]
    assert "wrapped by one in europe-west1, DLP is asked in europe-west4" in wrong(results)["locations of keys and DLP"]


def test_the_local_engine_needs_no_dlp(launch) -> None:
    launch.world.withheld["/v3/projects/my-project:"] = {"serviceusage.services.use"}
    assert launch.checked()[0] == 0


def test_the_jobs_key_lies_in_its_region(launch) -> None:
    launch.profile["kms_key"] = launch.profile["kms_key"].replace("europe-west4", "us-east1")
    with pytest.raises(Misconfigured, match="kms_key: lies in us-east1, the job in europe-west4"):
        launch.checked()


def test_dlp_is_asked_where_the_job_runs(launch) -> None:
    launch.profile["parameters"] |= {"engine": "dlp", "location": "us-east1"}
    launch.world.withheld["/v3/projects/my-project:"] = {"serviceusage.services.use"}
    _, results = launch.checked()
    assert "DLP is asked in us-east1" in wrong(results)["locations of keys and DLP"] and "roles/dlp.user" in wrong(results)["worker: project"]


def test_quotas_are_held_against_the_plan(launch) -> None:
    launch.profile["quotas"] = {"compute_cpus": 4}
    assert "nobody says what is given of compute_disk_gb" in unknown(launch.checked(rate=10)[1])["quotas"]
    launch.profile["quotas"] = {"compute_cpus": 4, "compute_disk_gb": 500}
    _, results = launch.checked(rate=500_000)
    told = wrong(results)["quotas"]
    assert "quota compute_cpus: 500,000 events/s need" in told and "given are 4" in told
    assert wrong(launch.checked(rate=10)[1]) == {}
    launch.profile["rate"] = 500_000
    assert "quota compute_cpus" in wrong(launch.checked()[1])["quotas"] and "quotas" in launch.checked(rate=10)[1]
    assert launch.checked(rate=10)[1]["quotas"].state == OK
    launch.profile["quotas"] = {"cpus": 4}
    assert "quotas.cpus" in wrong(launch.checked()[1])["quotas"]


@pytest.mark.parametrize("status, words", [(403, "may not look"), (401, "may not look|credentials were not accepted"), (503, "not reachable"), (429, "not reachable"), (400, "did not take the question: HTTP 400")])
def test_what_cannot_be_looked_at_is_told(launch, status, words) -> None:
    launch.world.status["/"] = status
    code, results = launch.checked()
    asking = {name for name in results if name not in ("contract", "parameters", "emulators and local keys", "placeholders", "locations of keys and DLP", "quotas")}
    asking -= {"tables"}  # its words are BigQuery's
    assert all(re.search(words, unknown(results)[name]) for name in asking) and "tables" in unknown(results) and len(asking) >= 12
    assert not wrong(results)


def test_without_credentials_nothing_passes_in_silence(tmp_path, launch) -> None:
    launch.path.write_text(yaml.safe_dump(launch.profile))
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NO_GCE_CHECK": "true"}
    done = subprocess.run([sys.executable, "-m", "pipelines", "check", "--job=stream", f"--profile={launch.path}", f"--lock={launch.lock}"],
                          cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "not checked  worker: subscription: there are no credentials; run gcloud auth application-default login" in done.stdout
    assert "5 ok, 0 faults, 18 not checked" in done.stdout


def test_the_command_line(launch, capsys) -> None:
    launch.world.withheld["subscriptions/census"] = {"pubsub.subscriptions.consume"}
    launch.path.write_text(yaml.safe_dump(launch.profile))
    with served(launch.world) as url:
        arguments = ["check", "--job=stream", f"--profile={launch.path}", f"--lock={launch.lock}", f"--endpoint={url}"]
        code = main(arguments)
        lines = capsys.readouterr().out.splitlines()
        assert main([*arguments, "--json"]) == code
        data = json.loads(capsys.readouterr().out)
    assert code == 2 and "ok           contract" in lines and "fault        worker: subscription" in lines
    assert data["faults"] >= 1 and {c["state"] for c in data["checks"]} <= {"ok", "fault", "not checked"}
    (fault,) = next(c["faults"] for c in data["checks"] if c["name"] == "worker: subscription")
    assert fault["where"] == "projects/my-project/subscriptions/census" and "roles/pubsub.subscriber" in fault["remedy"]


def test_a_profile_that_is_none(tmp_path, capsys) -> None:
    (tmp_path / "prod.yaml").write_text("project: my-project\nregoin: europe-west4\n")
    assert main(["check", "--job=stream", f"--profile={tmp_path / 'prod.yaml'}"]) == 2
    told = capsys.readouterr().err
    assert "regoin" in told and "service_account: is missing" in told
    assert main(["check", "--job=batches", "--profile=x"]) == 2


@pytest.mark.parametrize("job, process, parameters", [
    ("replay", "replayer", {"failures": "bq://my-project.penstock", "private_key": f"{KEY}/cryptoKeyVersions/1", "staging": "gs://my-staging/load"}),
    ("reidentify", "re-identifier", {"output": "bq://my-project.penstock", "sql": "select 1", "columns": "email", "purpose": "a test", "requested_by": "somebody",
                                     "destination": "bq://my-project.restricted.answer"}),
])
def test_jobs_with_an_account_of_their_own(launch, job, process, parameters) -> None:
    parameters |= {"contract": "census", "keys": "projects/p/secrets/s/versions/1"}
    launch.profile |= {"parameters": {}, "jobs": {job: {"job_name": job, "template": f"gs://my-templates/{job}.json", "parameters": parameters}}}
    launch.world.objects[f"my-templates/{job}.json"] = json.dumps(spec(job, str(launch.profile["image"]))).encode()
    code, results = launch.checked(job)
    assert (code, wrong(results)) == (0, {})
    assert {f"{process}: staging", f"{process}: repository", "launcher: template"} <= set(results)
    launch.world.withheld = {"tables/events:": {"bigquery.tables.getData"}, "/cryptoKeys/failures": {"cloudkms.cryptoKeyVersions.useToDecrypt"}}
    told = wrong(launch.checked(job)[1])
    assert "bigquery.tables.getData" in told[f"{process}: {'tables' if job == 'replay' else 'asked tables'}"]
    assert (f"{process}: private key" in told) == (job == "replay")


def test_a_reidentification_writes_its_audit_table_and_the_restricted_one(launch) -> None:
    parameters = {"contract": "census", "keys": "projects/p/secrets/s/versions/1", "output": "bq://my-project.penstock", "sql": "select 1", "columns": "email",
                  "purpose": "a test", "requested_by": "somebody", "destination": "bq://my-project.restricted.answer"}
    launch.profile |= {"parameters": {}, "jobs": {"reidentify": {"job_name": "r", "template": "gs://my-templates/r.json", "parameters": parameters}}}
    launch.world.objects["my-templates/r.json"] = json.dumps(spec("reidentify", str(launch.profile["image"]))).encode()
    launch.world.withheld = {"tables/reidentifications:": {"bigquery.tables.updateData"}, "tables/answer:": {"bigquery.tables.update"}, "tables/failures:": {"bigquery.tables.get"}}
    told = wrong(launch.checked("reidentify")[1])
    assert set(told) == {"re-identifier: audit", "re-identifier: destination"} and "bigquery.tables.updateData" in told["re-identifier: audit"]
    launch.world.withheld, launch.world.places["restricted"] = {}, "us"
    launch.world.tables["reidentifications"] = {**bigquery.audit()["reidentifications"], "schema": {"fields": []}}
    told = wrong(launch.checked("reidentify")[1])
    assert "bq://my-project.restricted: lies in us" in told["location of the dataset"] and "who is missing and required" in told["tables"]
    del launch.world.places["restricted"], launch.world.tables["reidentifications"]
    launch.world.status = {"datasets/restricted": 404}
    assert "bq://my-project.restricted: is no dataset" in wrong(launch.checked("reidentify")[1])["location of the dataset"]
    launch.world.withheld, launch.world.status = {}, {"tables/answer:": 404, "tables/reidentifications:": 404}
    code, results = launch.checked("reidentify")
    assert code == 0 and all("the job makes it" in unknown(results)[f"re-identifier: {name}"] for name in ("audit", "destination"))


def test_a_replay_names_its_contract(launch) -> None:
    """On one machine the tables tell it; a launch is labelled by it before anybody is asked."""
    launch.profile |= {"parameters": {}, "jobs": {"replay": {"job_name": "replay", "template": "gs://my-templates/replay.json", "parameters": {
        "failures": "bq://my-project.penstock", "private_key": f"{KEY}/cryptoKeyVersions/1", "staging": "gs://s", "keys": "projects/p/secrets/s/versions/1"}}}}
    code, results = launch.checked("replay")
    assert code == 2 and "--contract: is missing" in wrong(results)["parameters"] and "name none" in unknown(results)["contract"]


def test_shipped_profiles_are_right_but_for_their_placeholders() -> None:
    for path in sorted((ROOT / "templates/profiles").glob("*.yaml")):
        for job in ("stream", "batch", "replay"):
            setting = check.setting_of(CheckOptions(job=job, profile=str(path), endpoint="http://localhost:1"), {})
            results = {name: every.answer(name, found, setting) for name, found in every.checks(setting)
                       if name in ("contract", "parameters", "emulators and local keys", "placeholders", "locations of keys and DLP")}
            assert set(wrong(results)) == {"placeholders"}


def test_every_job_runs_as_a_process_of_the_table() -> None:
    assert set(RUNS_AS) == set(JOBS) and set(RUNS_AS.values()) <= set(PROCESSES)
    for grants in PROCESSES.values():
        for grant in grants:
            assert grant.permissions and grant.role.startswith("roles/") and set(grant.jobs) <= set(JOBS)


def test_an_endpoint_is_on_this_machine() -> None:
    for endpoint in ("http://example.com", "https://localhost:80", "localhost:80"):
        with pytest.raises(Misconfigured, match="not on this machine"):
            Clients("p", endpoint)


def test_a_service_that_is_away() -> None:
    with pytest.raises(NotChecked, match="not reachable"):
        Clients("p", "http://localhost:9").granted("account", "a@p.iam.gserviceaccount.com", ("iam.serviceAccounts.actAs",))


def test_the_account_is_acted_as(launch) -> None:
    launch.path.write_text(yaml.safe_dump(launch.profile))
    setting = check.setting_of(CheckOptions(job="stream", profile=str(launch.path)), {})
    assert (setting.launcher.account, setting.account.account) == ("", read(launch.path, "stream").service_account)
