"""infra/: form, arguments against the providers' schema, policies, roles, alerts. Nothing here was ever applied. test_rerun.py runs the workflow."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pipelines import options
from pipelines.flags import declared
from pipelines.launch import profile
from pipelines.launch.checks.permissions import PROCESSES
from schemas import bigquery, views
from schemas.contract import load
from tests import infra_policies  # noqa: E402
from tests.terraform_files import argument_faults, files, locals_of, read, waits_for  # noqa: E402
from tests.workflow_steps import steps  # noqa: E402

INFRA = Path(__file__).parent.parent / "infra"
SCHEMA = json.loads((INFRA / "provider_schema.json").read_text())
TEXTS = files(INFRA)
READ = [read(text) for text in TEXTS]
BLOCKS = [block for blocks in READ for block in blocks]
WHOLE = "\n".join(TEXTS)


def planted(was: str, becomes: str) -> list:
    """The blocks with a change in one place, in the first file that has it."""
    at = next(number for number, text in enumerate(TEXTS) if was in text)
    return [block for number, blocks in enumerate(READ) for block in (read(TEXTS[at].replace(was, becomes, 1)) if number == at else blocks)]


@pytest.mark.skipif(shutil.which("terraform") is None, reason="no terraform here; what follows reads the files without it")
def test_terraform_would_write_the_files_the_same() -> None:
    done = subprocess.run(["terraform", "fmt", "-check", "-diff", "-recursive", INFRA], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_argument_is_one_of_the_providers() -> None:
    assert argument_faults(BLOCKS, SCHEMA) == []
    assert len([block for block in BLOCKS if block.kind == "resource"]) > 50


@pytest.mark.parametrize(("was", "becomes", "fault"), [
    ("uniform_bucket_level_access = true", "uniform_bucket_access = true", "google_storage_bucket.zone.uniform_bucket_access: no such argument"),
    ("default_kms_key_name = google", "kms_key_name = google", "google_storage_bucket.zone.encryption.default_kms_key_name: is missing"),
    ("num_newer_versions =", "newer_versions =", "google_storage_bucket.zone.lifecycle_rule.condition.newer_versions: no such argument"),
    ("minimum_backoff =", "min_backoff =", "google_pubsub_subscription.events.retry_policy.min_backoff: no such argument"),
    ('dynamic "retry_policy"', 'dynamic "retry_policies"', "google_pubsub_subscription.events.retry_policies: no such block"),
    ("ack_deadline_seconds       = 60", 'ack_deadline_seconds       = "a minute"', "google_pubsub_subscription.events.ack_deadline_seconds: is no number"),
    ('allowed_persistence_regions = [var.region]', 'allowed_persistence_regions = "europe"', "google_pubsub_topic.events.message_storage_policy.allowed_persistence_regions: is no list string"),
    ('resource "google_kms_key_ring" "this"', 'resource "google_kms_keyring" "this"', "google_kms_keyring.this: google_kms_keyring is no resource of these providers"),
    ("provider   = google-beta", "", "google_project_service_identity.agent: is google-beta's alone"),
    ("topic                      = google_pubsub_topic.dead.id", "topic = google_pubsub_topic.gone.id", "google_pubsub_subscription.dead: google_pubsub_topic.gone is not there"),
    ("topic                      = google_pubsub_topic.dead.id", "topic = google_pubsub_topic.dead.uid", "google_pubsub_subscription.dead: google_pubsub_topic has no uid"),
    ('google_service_account.process["scheduler"].email', "google_service_account.process.email", "google_cloud_scheduler_job.daily: google_service_account.process is many"),
    ("var.key_rotation", "var.key_rotations", "google_kms_crypto_key.place: var.key_rotations is not declared"),
])
def test_a_planted_fault_in_an_argument_is_caught(was: str, becomes: str, fault: str) -> None:
    assert fault in argument_faults(planted(was, becomes), SCHEMA)


def test_no_policy_is_broken() -> None:
    assert infra_policies.faults(BLOCKS) == []


@pytest.mark.parametrize(("was", "becomes", "fault"), [
    ('public_access_prevention    = "enforced"', 'public_access_prevention    = "inherited"', "google_storage_bucket.zone: may be made public"),
    ("uniform_bucket_level_access = true", "uniform_bucket_level_access = false", "google_storage_bucket.zone: objects with grants of their own"),
    ('  member   = local.member[each.value.account]\n}\n\nresource "google_bigquery', '  member   = "allUsers"\n}\n\nresource "google_bigquery', "google_storage_bucket_iam_member.process: open to everyone"),
    ('launcher     = ["roles/dataflow.developer"', 'launcher     = ["roles/editor"', "locals: a primitive role"),
    ('role     = "roles/bigquery.jobUser"', 'role     = "roles/owner"', "google_project_iam_member.readers_jobs: a primitive role"),
    ('role     = "roles/bigquery.jobUser"', 'role     = "roles/storage.objectViewer"', "google_project_iam_member.readers_jobs: wider than the one thing it is for"),
    ('join(" || ", [for name in local.shown : "resource.name == \\"${local.table}/${name}\\""])', '"true"', "google_project_iam_member.readers: wider than the one thing it is for"),
    ('"google_project_iam_member" "tables"', '"google_bigquery_dataset_iam_member" "tables"', "google_bigquery_dataset_iam_member.tables: a condition, which is refused"),
    ('"google_storage_bucket_iam_member" "process"', '"google_storage_bucket_iam_binding" "process"', "google_storage_bucket_iam_binding.process: takes other grants away"),
    ('"google_secret_manager_secret" "keys"', '"google_secret_manager_secret_version" "keys"', "google_secret_manager_secret_version.keys: a secret's value in the state"),
    ('"google_service_account" "process"', '"google_service_account_key" "process"', "google_service_account_key.process: a key that can be copied"),
    ('algorithm        = "RSA_DECRYPT_OAEP_3072_SHA256"', 'algorithm        = "RSA_DECRYPT_OAEP_2048_SHA1"', "google_kms_crypto_key.failures: an algorithm that sealing does not speak"),
    ("  rotation_period = var.key_rotation\n", "", "google_kms_crypto_key.place: never rotated"),
    ("prevent_destroy = true # what it", "prevent_destroy = false # what it", "google_kms_crypto_key.place: may be destroyed"),
    ('source_tags = ["dataflow"]', 'source_ranges = ["0.0.0.0/0"]', "google_compute_firewall.workers_in: lets the internet in"),
    ("dest_range       = local.restricted", 'dest_range       = "0.0.0.0/0"', "google_compute_route.restricted: a way to the internet"),
    ("private_ip_google_access = true", "private_ip_google_access = false", "google_compute_subnetwork.workers: no private way to the APIs"),
    ("immutable_tags = true", "immutable_tags = false", "google_artifact_registry_repository.images: tags may be moved"),
    ('special_group = "projectOwners"', 'special_group = "projectReaders"', "google_bigquery_dataset.zone: read by every viewer of the project"),
    ('ttl = "" # never', 'ttl = "86400s" # never', "google_pubsub_subscription.events: gone when nobody reads"),
    ('"dataflow.jobs.get",', '"dataflow.jobs.get", "storage.objects.get",', "google_project_iam_custom_role.worker: a permission on all storage"),
    ("force_destroy               = false", "force_destroy               = true", "google_storage_bucket.zone: emptied with the bucket"),
])
def test_a_planted_fault_of_policy_is_caught(was: str, becomes: str, fault: str) -> None:
    assert fault in infra_policies.faults(planted(was, becomes))


def test_the_providers_are_pinned_to_the_schema() -> None:
    (terraform,) = [block.body for block in BLOCKS if block.kind == "terraform"]
    (required,) = terraform["required_providers"]
    assert {name: told["version"] for name, told in required.items()} == SCHEMA["versions"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", SCHEMA["taken"])


def test_each_account_may_do_what_it_is_for_and_no_more() -> None:
    told = locals_of(BLOCKS)
    assert set(told["accounts"]) == {"launcher", "worker", "scheduler", "replayer", "reidentifier", "ci"}
    assert told["project_roles"] == {
        "launcher": ["roles/dataflow.developer", "roles/bigquery.jobUser", "roles/logging.logWriter"], "worker": ["roles/bigquery.jobUser", "roles/dlp.user"], "scheduler": ["roles/workflows.invoker"],
        "replayer": ["roles/dataflow.developer", "roles/bigquery.jobUser", "roles/dlp.user"],
        "reidentifier": ["roles/dataflow.developer", "roles/bigquery.jobUser", "roles/dlp.user"], "ci": []}
    assert told["puts_to_work"] == {"launcher": "worker", "replayer": "replayer", "reidentifier": "reidentifier"}, "a schedule runs as the launcher: it opens nothing"
    reads = {(account, bucket) for account, buckets in told["bucket_roles"].items() for bucket in buckets}
    assert {account for account, bucket in reads if bucket == "raw"} == {"worker"}
    assert not [account for account, bucket in reads if bucket == "quarantine"], "a person looks at it"
    launching = {"launcher", "replayer", "reidentifier"}
    assert {account for account, bucket in reads if bucket == "templates"} == {*launching, "ci"}
    assert {account for account, bucket in reads if bucket == "contracts"} == {*launching, "worker", "ci"}
    writes = {(account, bucket) for account, bucket in reads if "roles/storage.objectUser" in told["bucket_roles"][account][bucket]}
    assert writes == {("launcher", "staging"), ("worker", "staging"), ("replayer", "replay"), ("reidentifier", "reidentify"), ("ci", "templates"), ("ci", "contracts")}, \
        "what is staged is run by its account; specs and contracts are written by CI alone"
    assert {(account, bucket) for account, bucket in reads if bucket in ("replay", "reidentify")} <= writes
    assert [grant["account"] for grant in told["dataset_roles"] if grant["dataset"] == "restricted"] == ["reidentifier"]
    assert [(g["account"], g["tables"]) for g in told["dataset_roles"] if g["dataset"] == "events" and not g["tables"]] == [("worker", []), ("replayer", []), ("reidentifier", [])]
    assert [g["role"] for g in told["dataset_roles"] if g["account"] == "reidentifier" and g["dataset"] == "events" and not g["tables"]] == ["roles/bigquery.metadataViewer"]
    assert {g["dataset"] for g in told["dataset_roles"] if g["tables"]} == {"events"}, "whose tables local.table stands for"
    assert max(len(told["shown"]), *(len(g["tables"]) for g in told["dataset_roles"])) <= 13, "a condition has 12 operators at the most"
    assert {tuple(g["tables"]) for g in told["dataset_roles"] if g["account"] == "reidentifier" and g["role"].endswith("dataEditor") and g["dataset"] == "events"} == {(bigquery.AUDIT,)}
    assert not {"failures", "replays", "refused_rates"} & set(told["shown"]) and set(told["shown"]) - {"events", "windows", "runs"} <= set(views.duckdb(load("telemetry")))


def test_what_a_running_job_staged_is_not_deleted() -> None:
    """Only what jobs leave behind is: temp/ and load/, where profiles have them."""
    buckets = locals_of(BLOCKS)["buckets"]
    assert [buckets[name]["below"] for name in ("staging", "replay", "reidentify")] == [["temp/", "load/"]] * 3
    text = (INFRA / "storage.tf").read_text()
    assert re.search(r"age\s+= lifecycle_rule.value\s+matches_prefix = each.value.below", text)
    for job in ("stream", "batch", "replay"):
        found = profile.read(INFRA.parent / "templates/profiles/prod.yaml", job)
        assert found.staging.endswith("/staging") and found.temp.endswith("/temp") and dict(found.parameters).get("staging", "/load").endswith("/load")


def test_each_account_has_the_roles_that_check_asks_for() -> None:
    """pipelines/launch/checks/permissions.py says what a process needs; here it is given, by the role that it names."""
    told = locals_of(BLOCKS)
    given = {account: set(roles) for account, roles in told["project_roles"].items()}
    for account, buckets in told["bucket_roles"].items():
        given[account] |= {role for roles in buckets.values() for role in roles}
    for grant in told["dataset_roles"]:
        given[grant["account"]].add(grant["role"])
    for block in BLOCKS:
        if re.search("_iam_member$", block.type):
            listed = {"readers": told["images_readers"], "keys": told["keys_readers"], "launcher": told["puts_to_work"]}
            names = [*listed[block.name]] if block.name in listed else re.findall(r'member\["(\w+)"\]', block.body["member"])
            roles = re.findall(r"roles/[\w.]+", " ".join([block.body["role"], *re.findall(r'"(roles/[^"]+)"', str(block.body.get("for_each", "")))]))
            for name in names:
                given[name] |= set(roles)
    for account in told["puts_to_work"].values():
        given[account].add("roles/dataflow.worker")  # or the role of our own, by var.worker_role
    for process, grants in PROCESSES.items():
        for grant in grants:
            assert set(re.findall(r"roles/[\w.]+", grant.role)) <= given[process.replace("-", "")], (process, grant.role)
    own = {block.name: block.body["permissions"] for block in BLOCKS if block.type == "google_project_iam_custom_role"}
    assert own["table_maker"] == ["bigquery.tables.create"]
    assert {permission for grant in PROCESSES["worker"] if grant.role.startswith("roles/dataflow.worker") for permission in grant.permissions} <= set(own["worker"])


def test_only_the_replayer_opens_failures() -> None:
    decrypting = {block.name: block.body for block in BLOCKS if block.type == "google_kms_crypto_key_iam_member" and "Decrypter" in block.body["role"]}
    assert set(decrypting) == {"agent", "dlp", "opens"}
    assert decrypting["opens"]["member"] == '${local.member["replayer"]}' and decrypting["opens"]["crypto_key_id"] == "${google_kms_crypto_key.failures.id}"
    assert all("failures" not in decrypting[name]["crypto_key_id"] for name in ("agent", "dlp"))


def test_nothing_is_made_before_its_service_is_there() -> None:
    of_the_project = {"google_project_service.used", "data.google_project.this", "google_project_iam_audit_config.data", "google_access_context_manager_service_perimeter.this"}
    everything = {str(block) for block in BLOCKS if block.kind in ("resource", "data")}
    assert everything - waits_for(BLOCKS, "google_project_service.used") - of_the_project == {"google_project_iam_member.readers_jobs"}


def test_nothing_holds_a_secret() -> None:
    assert not re.search(r"(?i)BEGIN [A-Z ]*KEY|secret_data|password\s*=|AIza[0-9A-Za-z_-]{10}", WHOLE)


WORKFLOWS = sorted(INFRA.glob("*.workflow.yaml"))
WORKFLOW = yaml.safe_load((INFRA / "rerun.workflow.yaml").read_text())


def test_each_workflow_is_given_all_that_it_asks_for() -> None:
    told = locals_of(BLOCKS)
    used = {path.name.partition(".")[0]: set(re.findall(r'sys\.get_env\("(\w+)"\)', path.read_text())) - {"GOOGLE_CLOUD_WORKFLOW_EXECUTION_ID"} for path in WORKFLOWS}
    assert used == {name: {*told["given"], *workflow["given"]} for name, workflow in told["workflows"].items()}


def test_what_the_workflow_launches_is_our_batch_job() -> None:
    (launch,) = [body for name, body in steps(WORKFLOW["main"]["steps"]) if name == "launch"]
    asked = launch["try"]["args"]["body"]["launchParameter"]
    known = {name: spec for name, _, _, spec in declared(options.BatchOptions)}
    assert set(asked["parameters"]) <= set(known) and not [name for name in asked["parameters"] if known[name].local]
    assert {name for name, spec in known.items() if spec.required} <= set(asked["parameters"])
    assert asked["jobName"] == '${sys.get_env("JOB_NAME")}', "one name for every day: Dataflow runs one job of a name"
    from google.cloud.dataflow_v1beta3 import FlexTemplateRuntimeEnvironment
    fields = {re.sub(r"_(\w)", lambda found: found[1].upper(), name) for name in FlexTemplateRuntimeEnvironment.meta.fields}
    environment = asked["environment"]
    assert set(environment) <= fields
    assert environment["ipConfiguration"] == "WORKER_IP_PRIVATE" and "disable_always_on_exception_sampling" in environment["additionalExperiments"]
    assert {"sdkContainerImage", "serviceAccountEmail", "subnetwork", "kmsKeyName"} <= set(environment)
    assert set(asked["environment"]["additionalUserLabels"]) >= {"owner", "cost_center", "data_class", "execution"}


def test_alerts_hear_what_the_workflows_say() -> None:
    said = {body["args"]["json"]["penstock"] for path in WORKFLOWS for _, body in steps(yaml.safe_load(path.read_text())["main"]["steps"]) if body.get("call") == "sys.log"}
    assert said == set(locals_of(BLOCKS)["told"]) == {"unbalanced", "drift", "failed", "overlap"}
    (account,) = [re.findall(r'process\["(\w+)"\]', block.body["service_account"]) for block in BLOCKS if block.type == "google_workflows_workflow"]
    assert all("roles/logging.logWriter" in locals_of(BLOCKS)["project_roles"][name] for name in account), "else no line is written, and nothing rings"


def test_alerts_and_dashboard_name_counters_that_jobs_have() -> None:
    code = "\n".join(path.read_text() for path in (INFRA.parent / "transforms").rglob("*.py"))
    counters = set(re.findall(r'"(\w+)"', (INFRA.parent / "transforms/fates.py").read_text())) | set(re.findall(r'Metrics\.\w+\("penstock", "(\w+)"\)', code))
    text = (INFRA / "dashboard.json").read_text()
    named = set(re.findall(r'counter\}\\"(\w+)\\"', WHOLE)) | set(re.findall(r'metric_name=\\"(\w+)\\"', text)) | set(re.findall(r'metric_name=~\\"([\w|]+)\\"', text)[0].split("|"))
    assert {"read", "refused", "stored"} <= named
    assert {name.removesuffix("_MEAN") for name in named} <= counters
    filled = json.loads(text.replace("${name}", "penstock").replace("${subscription}", "events"))
    assert len(filled["mosaicLayout"]["tiles"]) >= 6 and "${" not in json.dumps(filled)


def test_the_readme_says_what_was_never_applied() -> None:
    said = (INFRA / "README.md").read_text()
    assert "None of this was ever applied" in said and "Never seen" in said
    assert {block.type for block in BLOCKS if block.kind == "variable" and "default" not in block.body} == set(re.findall(r"(?m)^(\w+) += .*# required", said))


def test_profiles_name_what_is_made() -> None:
    told = locals_of(BLOCKS)
    text = "\n".join(path.read_text() for path in (INFRA.parent / "templates/profiles").glob("*.yaml"))
    assert set(re.findall(r"gs://my-project-[a-z]+-penstock-(\w+)/", text)) == {"staging", "templates", "raw", "replay"} <= set(told["buckets"])
    assert set(re.findall(r"penstock-(\w+)@", text)) == {"worker", "replayer"} <= set(told["accounts"])
    assert set(re.findall(r"cryptoKeys/(\w+)", text)) == {"dataflow", "failures"} and "subnetworks/penstock-workers" in text and "subscriptions/penstock-events" in text
