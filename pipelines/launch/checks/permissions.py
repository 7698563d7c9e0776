"""Which process needs which permissions on what, and the role that holds them: one table, for the checks and for infra/ to be held against.

The replayer and the re-identifier run on one machine, as their account; the launcher is whoever runs `penstock launch`.

https://cloud.google.com/iam/docs/permissions-reference
"""

from typing import NamedTuple


class Grant(NamedTuple):
    """Permissions on one resource. resource: a name that pipelines.launch.checks.roles finds in a launch; role: what grants them;
    jobs: those that need it, () for all that the process runs; engine: "dlp" where only that one needs it.
    """

    resource: str
    permissions: tuple[str, ...]
    role: str
    jobs: tuple[str, ...] = ()
    engine: str = ""


_OBJECTS = ("storage.buckets.get", "storage.objects.create", "storage.objects.delete", "storage.objects.get", "storage.objects.list")
_READ = ("storage.objects.get", "storage.objects.list")
_TABLES = ("bigquery.tables.get", "bigquery.tables.getData", "bigquery.tables.updateData")

_ANYWHERE = (
    Grant("keys", ("secretmanager.versions.access",), "roles/secretmanager.secretAccessor"),
    Grant("project", ("serviceusage.services.use",), "roles/dlp.user", engine="dlp"),
)

PROCESSES: dict[str, tuple[Grant, ...]] = {
    "launcher": (
        Grant("project", ("dataflow.jobs.create", "dataflow.jobs.get", "dataflow.jobs.list"), "roles/dataflow.developer"),
        Grant("template", ("storage.objects.get",), "roles/storage.objectViewer"),
        Grant("contract", _READ, "roles/storage.objectViewer"),
        Grant("service account", ("iam.serviceAccounts.actAs",), "roles/iam.serviceAccountUser"),
    ),
    "worker": (
        *_ANYWHERE,
        Grant("project", ("dataflow.workItems.lease", "dataflow.workItems.sendMessage", "dataflow.workItems.update"),
              "roles/dataflow.worker, or the smaller one of infra/"),
        Grant("staging", _OBJECTS, "roles/storage.objectUser and roles/storage.legacyBucketReader"),
        Grant("temp", _OBJECTS, "roles/storage.objectUser and roles/storage.legacyBucketReader"),
        Grant("repository", ("artifactregistry.repositories.downloadArtifacts",), "roles/artifactregistry.reader"),
        Grant("tables", _TABLES, "roles/bigquery.dataEditor on the dataset"),
        Grant("project", ("bigquery.jobs.create",), "roles/bigquery.jobUser", ("batch",)),
        Grant("subscription", ("pubsub.subscriptions.consume", "pubsub.subscriptions.get"), "roles/pubsub.subscriber and roles/pubsub.viewer", ("stream",)),
        Grant("contract", _READ, "roles/storage.objectViewer"),
        Grant("input", _READ, "roles/storage.objectViewer", ("batch",)),
        Grant("load files", _OBJECTS, "roles/storage.objectUser and roles/storage.legacyBucketReader", ("batch",)),
    ),
    "replayer": (
        *_ANYWHERE,
        Grant("tables", _TABLES, "roles/bigquery.dataEditor on the dataset"),
        Grant("project", ("bigquery.jobs.create",), "roles/bigquery.jobUser"),
        Grant("private key", ("cloudkms.cryptoKeyVersions.useToDecrypt",), "roles/cloudkms.cryptoKeyDecrypter"),
    ),
    "re-identifier": (
        *_ANYWHERE,
        Grant("tables", ("bigquery.tables.get", "bigquery.tables.getData"), "roles/bigquery.dataViewer on the dataset"),
        Grant("project", ("bigquery.jobs.create",), "roles/bigquery.jobUser"),
    ),
}
RUNS_AS = {"stream": "worker", "batch": "worker", "replay": "replayer", "reidentify": "re-identifier"}
"""Which process a job's service account is."""
