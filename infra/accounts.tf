# One account for each process, and what each may do in the project. What it may do with one resource stands in grants.tf.
locals {
  accounts = {
    launcher     = "Calls flexTemplates.launch: the daily workflow, and people by impersonation"
    worker       = "Runs batch and stream: the launcher's VM and the workers"
    scheduler    = "Starts the daily workflow, and can do nothing else"
    replayer     = "Runs replay, on one machine: the only one that opens failures"
    reidentifier = "Runs reidentify, on one machine: the only one that may write values in clear"
    ci           = "Pushes images and specs"
  }

  worker_role = var.worker_role == "custom" ? google_project_iam_custom_role.worker.name : "roles/dataflow.worker"

  # Roles of the project, where there is nothing smaller to give them on.
  project_roles = {
    launcher     = ["roles/dataflow.developer", "roles/bigquery.jobUser"]
    worker       = ["roles/bigquery.jobUser", "roles/dlp.user"]
    scheduler    = ["roles/workflows.invoker"]
    replayer     = ["roles/bigquery.jobUser", "roles/dlp.user"]
    reidentifier = ["roles/bigquery.jobUser", "roles/dlp.user"]
    ci           = []
  }
  project_grants = { for pair in flatten([for account, roles in local.project_roles : [for role in roles : { account = account, role = role }]]) : "${pair.account} ${pair.role}" => pair }

  member = { for name, account in google_service_account.process : name => account.member }
}

resource "google_service_account" "process" {
  for_each     = local.accounts
  account_id   = "${var.name}-${each.key}"
  display_name = "${var.name} ${each.key}"
  description  = each.value

  depends_on = [google_project_service.used]
}

resource "google_project_iam_member" "process" {
  for_each = local.project_grants
  project  = var.project
  role     = each.value.role
  member   = local.member[each.value.account]
}

# roles/dataflow.worker without storage.buckets.get, storage.objects.get and storage.objects.create: those of the project reach every bucket in it,
# raw events and quarantine among them. Workers get the buckets that they need one by one (grants.tf).
resource "google_project_iam_custom_role" "worker" {
  role_id     = "${var.name}Worker"
  title       = "${var.name} worker"
  description = "What a worker of Dataflow needs of the project, without storage"
  permissions = [
    "autoscaling.sites.readRecommendations",
    "autoscaling.sites.writeMetrics",
    "autoscaling.sites.writeState",
    "compute.instanceGroupManagers.update",
    "compute.instances.delete",
    "compute.instances.setDiskAutoDelete",
    "dataflow.jobs.get",
    "dataflow.shuffle.read",
    "dataflow.shuffle.write",
    "dataflow.streamingWorkItems.ImportState",
    "dataflow.streamingWorkItems.commitWork",
    "dataflow.streamingWorkItems.getData",
    "dataflow.streamingWorkItems.getWork",
    "dataflow.streamingWorkItems.getWorkerMetadata",
    "dataflow.workItems.lease",
    "dataflow.workItems.sendMessage",
    "dataflow.workItems.update",
    "logging.logEntries.create",
    "monitoring.timeSeries.create",
  ]

  depends_on = [google_project_service.used]
}

resource "google_project_iam_member" "worker" {
  project = var.project
  role    = local.worker_role
  member  = local.member["worker"]
}

# The launcher may put the worker to work, and nobody else.
resource "google_service_account_iam_member" "launcher" {
  service_account_id = google_service_account.process["worker"].name
  role               = "roles/iam.serviceAccountUser"
  member             = local.member["launcher"]
}

# A job that opens failures or turns tokens back is run by a person named for it, as the account: --impersonate-service-account.
resource "google_service_account_iam_member" "operators" {
  for_each           = { for pair in flatten([for account, members in var.operators : [for member in members : { account = account, member = member }]]) : "${pair.account} ${pair.member}" => pair }
  service_account_id = google_service_account.process[each.value.account].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.value.member
}
