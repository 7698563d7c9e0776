# A VPC Service Controls perimeter around the project: data does not leave by way of an API either, whoever holds a key. It belongs to the
# organisation, so it stands here only where var.access_policy names that. First it only logs; var.perimeter_enforced makes it hold.
locals {
  # bigquery stands for its Storage API too (cloud.google.com/vpc-service-controls/docs/supported-products).
  guarded = [
    "artifactregistry.googleapis.com", "bigquery.googleapis.com", "cloudkms.googleapis.com", "dataflow.googleapis.com", "dlp.googleapis.com",
    "logging.googleapis.com", "monitoring.googleapis.com", "pubsub.googleapis.com", "secretmanager.googleapis.com", "storage.googleapis.com",
  ]
}

resource "google_access_context_manager_service_perimeter" "this" {
  count                     = var.access_policy == "" ? 0 : 1
  parent                    = "accessPolicies/${var.access_policy}"
  name                      = "accessPolicies/${var.access_policy}/servicePerimeters/${var.name}"
  title                     = var.name
  perimeter_type            = "PERIMETER_TYPE_REGULAR"
  use_explicit_dry_run_spec = !var.perimeter_enforced

  dynamic "status" {
    for_each = var.perimeter_enforced ? [1] : []
    content {
      resources           = ["projects/${local.number}"]
      restricted_services = local.guarded

      vpc_accessible_services {
        enable_restriction = true
        allowed_services   = ["RESTRICTED-SERVICES"]
      }
    }
  }

  dynamic "spec" {
    for_each = var.perimeter_enforced ? [] : [1]
    content {
      resources           = ["projects/${local.number}"]
      restricted_services = local.guarded

      vpc_accessible_services {
        enable_restriction = true
        allowed_services   = ["RESTRICTED-SERVICES"]
      }
    }
  }
}
