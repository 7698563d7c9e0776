"""The ground under a launch: the workers' subnetwork, and who may use the job's key."""

import re

from google.api_core import exceptions
from google.cloud.kms_v1 import KeyManagementServiceClient
from google.cloud.resourcemanager_v3 import ProjectsClient

from pipelines.launch.checks.clients import NotChecked, answered, asked
from pipelines.launch.checks.setting import Setting
from schemas.errors import Fault

_SUBNETWORK = re.compile(r"(?:https://www\.googleapis\.com/compute/v1/projects/([^/]+)/)?regions/([^/]+)/subnetworks/([^/]+)")
_USES_KEY = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
_AGENTS = ("dataflow-service-producer-prod", "compute-system")
"""Accounts of Google's that encrypt for Dataflow: service-NUMBER@NAME.iam.gserviceaccount.com. https://cloud.google.com/dataflow/docs/guides/customer-managed-encryption-keys"""


def subnetwork(setting: Setting) -> list[Fault]:
    """Workers without public addresses reach Google's services through it."""
    match = _SUBNETWORK.fullmatch(setting.profile.subnetwork)
    assert match  # the profile's pattern
    project, region, name = match[1] or setting.profile.project, match[2], match[3]
    url = setting.launcher.url("compute.googleapis.com", f"compute/v1/projects/{project}/regions/{region}/subnetworks/{name}")
    try:
        private = asked(lambda: answered(setting.launcher.session.get(url, timeout=setting.launcher.seconds)).json().get("privateIpGoogleAccess"))
    except exceptions.NotFound:
        return [Fault(f"{setting.where}: subnetwork", "is not there", "make it (infra/ does), or correct the profile")]
    if setting.profile.public_ips or private is True:
        return []
    return [Fault(f"{setting.where}: subnetwork", "has no Private Google Access: workers without public addresses reach none of Google's services",
                  f"gcloud compute networks subnets update {name} --project={project} --region={region} --enable-private-ip-google-access")]


def job_key(setting: Setting) -> list[Fault]:
    """Google's own accounts, which keep the job's state and disks, may use the job's key."""
    key = setting.profile.kms_key
    if key == "none":
        return []
    there, given = setting.launcher, {"timeout": setting.launcher.seconds, "retry": None}
    project = asked(lambda: there.rest(ProjectsClient).get_project(name=f"projects/{setting.profile.project}", **given))
    try:
        policy = asked(lambda: there.rest(KeyManagementServiceClient).get_iam_policy(request={"resource": key}, **given))
    except exceptions.NotFound:
        return [Fault(f"{setting.where}: kms_key", "is not there", "make it (infra/ does), or correct the profile")]
    number = project.name.rpartition("/")[2]
    members = {member for binding in policy.bindings if binding.role == _USES_KEY for member in binding.members}
    agents = [f"service-{number}@{name}.iam.gserviceaccount.com" for name in _AGENTS]
    lacking = [agent for agent in agents if f"serviceAccount:{agent}" not in members]
    if lacking:
        # A grant on the ring or the project would do as well, and is not seen from here.
        raise NotChecked(f"{' and '.join(lacking)} lack {_USES_KEY} on the key itself; the ring or the project may grant it")
    return []
