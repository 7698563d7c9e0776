"""Terraform itself validates and plans infra/, on stand-ins of the providers that know their schema and nothing else (infra/stand_in): make infra-check.

Nothing is asked of Google, and nothing made. Needs terraform and go.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
INFRA, BUILT = ROOT / "infra", ROOT / "build/infra"
SCHEMA = INFRA / "provider_schema.json"
LEAST = {"project": "my-project", "region": "europe-west4", "labels": {"owner": "o", "cost_center": "c", "data_class": "restricted"}}
WHOLE = LEAST | {"readers": ["group:analysts@example.com"], "publishers": ["serviceAccount:p@my-project.iam.gserviceaccount.com"], "emails": ["on-call@example.com"],
                 "operators": {"replayer": ["user:a@example.com"]}, "access_policy": "123", "rerun": {"image": "europe-west4-docker.pkg.dev/p/r/penstock@sha256:" + 64 * "a"}}
REFUSED_VALUES = [({"region": "eu"}, "A region such as"), ({"readers": ["allAuthenticatedUsers"]}, "never allUsers"), ({"labels": {"owner": "o"}}, "cost_center"),
                  ({"labels": LEAST["labels"] | {"owner": "Benefits Intake"}}, "small letters, digits"), ({"subnet_range": "10.20.1.0/22"}, "with the address that it begins with"),
                  ({"key_rotation": "3600s"}, "a day at the least"), ({"rerun": {"image": "penstock:latest"}}, "by digest"), ({"operators": {"worker": []}}, "replayer or reidentifier"), ({"name": "Penstock"}, "small letters")]
REFUSED_TEXTS = [("storage.tf", "uniform_bucket_level_access", "uniform_bucket_access", "Unsupported argument"), ("pubsub.tf", 'dynamic "retry_policy"', 'dynamic "retry"', "Unsupported block type"),
                 ("kms.tf", "key_ring        = google_kms_key_ring.this.id", "", "Missing required argument"), ("grants.tf", "google_kms_crypto_key.failures", "google_kms_crypto_key.failure", "Reference to undeclared"),
                 ("schedule.tf", ".email", ".mail", "Unsupported attribute")]


# Forms of names, which the providers check while they plan, or Google when they are made (its reference pages of each resource).
_HOST = "[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
FORMS = {
    ("google_service_account", "account_id"): "[a-z][-a-z0-9]{4,28}[a-z0-9]", ("google_project_iam_custom_role", "role_id"): "[a-zA-Z0-9_.]{3,64}",
    ("google_storage_bucket", "name"): "[a-z0-9][-a-z0-9]{1,61}[a-z0-9]", ("google_bigquery_dataset", "dataset_id"): "[a-zA-Z0-9_]{1,1024}",
    ("google_kms_key_ring", "name"): "[a-zA-Z0-9_-]{1,63}", ("google_kms_crypto_key", "name"): "[a-zA-Z0-9_-]{1,63}", ("google_secret_manager_secret", "secret_id"): "[a-zA-Z0-9_-]{1,255}",
    ("google_pubsub_topic", "name"): "(?!goog)[a-zA-Z][a-zA-Z0-9._~+%-]{2,254}", ("google_pubsub_subscription", "name"): "(?!goog)[a-zA-Z][a-zA-Z0-9._~+%-]{2,254}",
    ("google_artifact_registry_repository", "repository_id"): _HOST, ("google_dns_managed_zone", "name"): _HOST, ("google_workflows_workflow", "name"): "[a-zA-Z][a-zA-Z0-9_-]{0,63}",
    ("google_cloud_scheduler_job", "name"): "[a-zA-Z0-9_-]{1,500}",
    **{(f"google_compute_{kind}", "name"): _HOST for kind in ("network", "subnetwork", "route", "firewall")}}
LONGEST = {"project": "a" + 29 * "0", "name": "a" + 13 * "0"}


def stand_ins() -> Path:
    """Builds the provider, and puts it where Terraform looks for both; answers the CLI configuration."""
    BUILT.mkdir(parents=True, exist_ok=True)
    program = BUILT / "provider"
    subprocess.run(["go", "build", "-p", "2", "-o", program, "."], cwd=INFRA / "stand_in", env=os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}, check=True)
    for name, version in json.loads(SCHEMA.read_text())["versions"].items():
        place = BUILT / f"mirror/registry.terraform.io/hashicorp/{name}/{version}/linux_amd64"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(program, place / f"terraform-provider-{name}_v{version}")
    config = BUILT / "terraform.rc"
    config.write_text(f'disable_checkpoint = true\nprovider_installation {{\n  filesystem_mirror {{\n    path = "{BUILT}/mirror"\n  }}\n}}\n')
    return config


class Ground:
    """A copy of infra/ with its state here, not in a bucket."""

    def __init__(self, folder: Path, config: Path):
        self.folder, self._environment = folder, os.environ | {"TF_CLI_CONFIG_FILE": str(config), "PENSTOCK_PROVIDER_SCHEMA": str(SCHEMA), "TF_IN_AUTOMATION": "1"}
        for path in INFRA.iterdir():
            if path.is_file():
                shutil.copy(path, folder)
        (folder / "backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        self.run("init", "-input=false")

    def run(self, *words: str) -> str:
        """What terraform prints; raises CalledProcessError."""
        return subprocess.run(["terraform", f"-chdir={self.folder}", *words], check=True, capture_output=True, text=True, env=self._environment).stdout

    def plan(self, **values: Any) -> list[dict[str, Any]]:
        """The resources that would be made: address, type, name, index, values."""
        (self.folder / "values.tfvars.json").write_text(json.dumps(values))
        self.run("plan", "-input=false", "-no-color", "-var-file=values.tfvars.json", "-out=plan")
        planned = json.loads(self.run("show", "-json", "plan"))["planned_values"]["root_module"]["resources"]
        return [resource for resource in planned if resource["mode"] == "managed"]

    def refused(self, *words: str) -> str:
        """Why terraform refuses; "" where it does not."""
        done = subprocess.run(["terraform", f"-chdir={self.folder}", *words], capture_output=True, text=True, env=self._environment)
        return " ".join((done.stdout + done.stderr).replace("│", " ").split()) if done.returncode else ""


def of(planned: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """The planned resources of a type, by name and index."""
    return {f"{r['name']}[{r['index']}]" if "index" in r else r["name"]: r["values"] for r in planned if r["type"] == kind}


def least(planned: list[dict[str, Any]]) -> None:
    assert set(of(planned, "google_cloud_scheduler_job")) == {"daily[books]"} and not of(planned, "google_access_context_manager_service_perimeter")
    assert not of(planned, "google_project_iam_member").keys() & {"readers[group:analysts@example.com]"}
    assert of(planned, "google_pubsub_subscription")["events"]["dead_letter_policy"] == [], "Dataflow knows none"
    assert {bucket["name"] for bucket in of(planned, "google_storage_bucket").values()} == {f"my-project-penstock-{zone}" for zone in (
        "raw", "staging", "replay", "reidentify", "quarantine", "templates", "contracts")}


def forms(planned: list[dict[str, Any]]) -> int:
    """Whether every name has the form that Google asks for; how many."""
    found = [(r["type"], r["values"][field], form) for (kind, field), form in FORMS.items() for r in planned if r["type"] == kind]
    assert {kind for kind, _ in FORMS} == {kind for kind, _, _ in found}
    assert not [(kind, name) for kind, name, form in found if not re.fullmatch(form, name)]
    return len(found)


def whole(planned: list[dict[str, Any]]) -> None:
    roles = {values["role"] for r in planned for values in [r["values"]] if isinstance(values.get("role"), str)}
    assert not {role for role in roles if role.split("/")[-1] in ("owner", "editor", "viewer")}, roles
    readers = of(planned, "google_project_iam_member")["readers[group:analysts@example.com]"]
    shown = readers["condition"][0]["expression"]
    assert 'resource.name == "projects/my-project/datasets/penstock/tables/events"' in shown and "failures" not in shown
    assert set(of(planned, "google_project_iam_member")) >= {"process[scheduler roles/workflows.invoker]", "process[launcher roles/dataflow.developer]", "worker[worker]", "worker[replayer]", "worker[reidentifier]"}
    assert not [name for name, values in of(planned, "google_project_iam_member").items() if ".data" in values.get("role", "") and not values["condition"]], "all tables of the project"
    assert [name for name in of(planned, "google_project_iam_member") if "[scheduler " in name] == ["process[scheduler roles/workflows.invoker]"]
    assert [name for name in of(planned, "google_storage_bucket_iam_member") if " raw " in name] == ["process[worker raw roles/storage.legacyBucketReader]",
                                                                                                    "process[worker raw roles/storage.objectViewer]"]
    assert set(of(planned, "google_workflows_workflow")) == {"daily[books]", "daily[rerun]"}
    job = of(planned, "google_cloud_scheduler_job")["daily[rerun]"]
    assert job["schedule"] == "30 3 * * *" and job["http_target"][0]["http_method"] == "POST"
    (perimeter,) = of(planned, "google_access_context_manager_service_perimeter").values()
    assert perimeter["use_explicit_dry_run_spec"] is True and not perimeter["status"] and "bigquery.googleapis.com" in perimeter["spec"][0]["restricted_services"]
    lines = {values["display_name"]: values["conditions"][0]["condition_matched_log"][0].get("filter") for values in of(planned, "google_monitoring_alert_policy").values()
             if values["conditions"][0]["condition_matched_log"]}
    assert set(lines) == {f"penstock: {what}" for what in ("unbalanced", "drift", "failed", "overlap", "the replayer is at work", "the reidentifier is at work")}
    assert 'jsonPayload.penstock="drift"' in lines["penstock: drift"]
    dashboard = json.loads(of(planned, "google_monitoring_dashboard")["this"]["dashboard_json"])
    assert dashboard["displayName"] == "penstock" and "penstock-events" in json.dumps(dashboard)
    (refused,) = [values for values in of(planned, "google_monitoring_alert_policy").values() if values["display_name"] == "penstock: rows are refused"]
    assert 'metric_name="refused"' in refused["conditions"][0]["condition_prometheus_query_language"][0]["query"]


def main() -> int:
    lacking = [name for name in ("terraform", "go") if not shutil.which(name)]
    if lacking:
        print(f"Terraform's own check needs {', '.join(lacking)}", file=sys.stderr)
        return 2
    config = stand_ins()
    with tempfile.TemporaryDirectory() as name:
        ground = Ground(Path(name), config)
        ground.run("validate")
        for what, values, check in (("least", LEAST, least), ("whole", WHOLE, whole)):
            planned = ground.plan(**values)
            check(planned)
            print(f"planned, {what}: {len(planned)} resources")
        print(f"names of the right form, at their longest: {forms(ground.plan(**WHOLE | LONGEST))}")
        one = of(ground.plan(**WHOLE, stream_on_dataflow=False, perimeter_enforced=True, worker_role="predefined"), "google_pubsub_subscription")["events"]
        assert one["dead_letter_policy"][0]["max_delivery_attempts"] == 20 and one["retry_policy"]
        for values, why in REFUSED_VALUES:
            (ground.folder / "values.tfvars.json").write_text(json.dumps(LEAST | values))
            assert why in ground.refused("plan", "-input=false", "-no-color", "-var-file=values.tfvars.json"), values
        for path, was, becomes, why in REFUSED_TEXTS:
            text = (INFRA / path).read_text()
            assert was in text, was
            (ground.folder / path).write_text(text.replace(was, becomes, 1))
            assert why in ground.refused("validate", "-no-color"), (path, was)
            (ground.folder / path).write_text(text)
    print(f"refused, as they should be: {len(REFUSED_VALUES)} values of variables, {len(REFUSED_TEXTS)} faults in files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
