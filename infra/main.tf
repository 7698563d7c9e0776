# What everything else names: the project, its number, and the services it uses.
data "google_project" "this" {
  project_id = var.project
}

locals {
  labels = merge(var.labels, { application = var.name })
  number = data.google_project.this.number

  services = toset([
    "accesscontextmanager.googleapis.com",
    "artifactregistry.googleapis.com",
    "bigquery.googleapis.com",
    "bigquerystorage.googleapis.com",
    "cloudkms.googleapis.com",
    "cloudscheduler.googleapis.com",
    "compute.googleapis.com",
    "dataflow.googleapis.com",
    "dlp.googleapis.com",
    "dns.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com", # to act as an account
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
    "workflows.googleapis.com",
    "workflowexecutions.googleapis.com",
  ])
}

resource "google_project_service" "used" {
  for_each           = local.services
  service            = each.value
  disable_on_destroy = false # others in the project may use it
}

# Who read or changed data, from the services that hold some. Admin activity is logged without asking.
resource "google_project_iam_audit_config" "data" {
  for_each = toset(["bigquery.googleapis.com", "cloudkms.googleapis.com", "pubsub.googleapis.com", "secretmanager.googleapis.com", "storage.googleapis.com"])
  project  = var.project
  service  = each.value

  audit_log_config {
    log_type = "DATA_READ"
  }
  audit_log_config {
    log_type = "DATA_WRITE"
  }
}
