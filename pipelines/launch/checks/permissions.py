"""Which process needs which permissions on what, and the role that holds them: one table, for the checks and for infra/ to be held against.

A job's account is that of the launcher's machine on Dataflow and of its workers; the launcher is whoever runs `penstock launch`.

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

_BUCKET = "roles/storage.objectUser and roles/storage.legacyBucketReader"
_ANYWHERE = (
    Grant("keys", ("secretmanager.versions.access",), "roles/secretmanager.secretAccessor"),
    Grant("project", ("serviceusage.services.use",), "roles/dlp.user", engine="dlp"),
    Grant("project", ("dataflow.workItems.lease", "dataflow.workItems.sendMessage", "dataflow.workItems.update"),
          "roles/dataflow.worker, or the smaller one of infra/"),
    Grant("staging", _OBJECTS, _BUCKET),
    Grant("temp", _OBJECTS, _BUCKET),
    Grant("repository", ("artifactregistry.repositories.downloadArtifacts",), "roles/artifactregistry.reader"),
    Grant("contract", _READ, "roles/storage.objectViewer"),
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
        Grant("tables", _TABLES, "roles/bigquery.dataEditor on the dataset"),
        Grant("project", ("bigquery.jobs.create",), "roles/bigquery.jobUser", ("batch",)),
        Grant("subscription", ("pubsub.subscriptions.consume", "pubsub.subscriptions.get"), "roles/pubsub.subscriber and roles/pubsub.viewer", ("stream",)),
        Grant("input", _READ, "roles/storage.objectViewer", ("batch",)),
        Grant("load files", _OBJECTS, _BUCKET, ("batch",)),
    ),
    "replayer": (
        *_ANYWHERE,
        Grant("load files", _OBJECTS, _BUCKET),
        Grant("tables", _TABLES, "roles/bigquery.dataEditor on the dataset"),
        Grant("project", ("bigquery.jobs.create",), "roles/bigquery.jobUser"),
        Grant("private key", ("cloudkms.cryptoKeyVersions.useToDecrypt",), "roles/cloudkms.cryptoKeyDecrypter"),
    ),
    "re-identifier": (
        *_ANYWHERE,
        Grant("asked tables", ("bigquery.tables.get", "bigquery.tables.getData"), "roles/bigquery.dataViewer on the table"),
        Grant("audit", _TABLES, "roles/bigquery.dataEditor on the table"),
        Grant("destination", (*_TABLES, "bigquery.tables.update"), "roles/bigquery.dataEditor on its dataset"),
        Grant("project", ("bigquery.jobs.create",), "roles/bigquery.jobUser"),
    ),
}
RUNS_AS = {"stream": "worker", "batch": "worker", "replay": "replayer", "reidentify": "re-identifier"}
"""Which process a job's service account is."""
