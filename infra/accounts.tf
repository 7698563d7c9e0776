# One account for each process, and what each may do in the project. What it may do with one resource stands in grants.tf.
locals {
  accounts = {
    launcher     = "Calls flexTemplates.launch for batch and stream: the daily workflow, and people by impersonation"
    worker       = "Runs batch and stream: the launcher's VM and the workers"
    scheduler    = "Starts the daily workflows, and can do nothing else"
    replayer     = "Launches and runs replay: the only one that opens failures"
    reidentifier = "Launches and runs reidentify: the only one that may write values in clear"
    ci           = "Pushes images, specs and contracts"
  }

  worker_role = var.worker_role == "custom" ? google_project_iam_custom_role.worker.name : "roles/dataflow.worker"

  # Whom each account may put to work. Whoever opens failures or turns tokens back launches its own jobs: the launcher, as which a schedule runs, cannot.
  puts_to_work = { launcher = "worker", replayer = "replayer", reidentifier = "reidentifier" }

  # Roles of the project, where there is nothing smaller to give them on. logWriter: what the workflows say is written as the account that they run as.
  project_roles = {
    launcher     = ["roles/dataflow.developer", "roles/bigquery.jobUser", "roles/logging.logWriter"]
    worker       = ["roles/bigquery.jobUser", "roles/dlp.user"]
    scheduler    = ["roles/workflows.invoker"]
    replayer     = ["roles/dataflow.developer", "roles/bigquery.jobUser", "roles/dlp.user"]
    reidentifier = ["roles/dataflow.developer", "roles/bigquery.jobUser", "roles/dlp.user"]
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

resource "google_project_iam_custom_role" "table_maker" {
  role_id     = "${var.name}TableMaker"
  title       = "${var.name} table maker"
  description = "Makes tables, and may neither read nor write them"
  permissions = ["bigquery.tables.create"]

  depends_on = [google_project_service.used]
}

resource "google_project_iam_member" "worker" {
  for_each = toset(values(local.puts_to_work))
  project  = var.project
  role     = local.worker_role
  member   = local.member[each.value]
}

resource "google_service_account_iam_member" "launcher" {
  for_each           = local.puts_to_work
  service_account_id = google_service_account.process[each.value].name
  role               = "roles/iam.serviceAccountUser"
  member             = local.member[each.key]
}

# People launch as an account, --impersonate-service-account: a job that opens failures or turns tokens back is theirs who are named for it.
resource "google_service_account_iam_member" "operators" {
  for_each           = { for pair in flatten([for account, members in var.operators : [for member in members : { account = account, member = member }]]) : "${pair.account} ${pair.member}" => pair }
  service_account_id = google_service_account.process[each.value.account].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.value.member
}
