# Datasets, a zone each. Tables are not made here but by `penstock tables --contract=... --output=bq://PROJECT.DATASET --apply`: it makes them and
# the views from the contract, compares what is there, and adds only what may be added. Terraform would replace a table whose schema changed,
# with all rows, and would need each contract's tables written down a second time.
locals {
  datasets = {
    events = {
      description = "De-identified: events, windows, failures (sealed), runs, and views of them. Readers do not get to the failures."
      days        = 0
      travel      = "168"
    }
    restricted = {
      description = "In clear: a table for each run of reidentify, as its --destination. Gone after a week."
      days        = 7
      travel      = "48"
    }
  }
  # What readers may see of the first: not failures and replays, nor the view that counts them (refused_rates): a view runs with its reader's rights.
  shown = ["events", "windows", "runs", "events_once", "windows_latest", "volume_drift", "unbalanced_runs", "freshness"]
  table = "projects/${var.project}/datasets/${google_bigquery_dataset.zone["events"].dataset_id}/tables"
}

resource "google_bigquery_dataset" "zone" {
  for_each                    = local.datasets
  dataset_id                  = each.key == "events" ? var.name : "${var.name}_${each.key}"
  location                    = var.region
  description                 = each.value.description
  default_table_expiration_ms = each.value.days > 0 ? each.value.days * 86400000 : null
  max_time_travel_hours       = each.value.travel
  delete_contents_on_destroy  = false

  default_encryption_configuration {
    kms_key_name = google_kms_crypto_key.place["bigquery"].id
  }

  # Said in full, because a dataset that says nothing lets every viewer of the project read it. Roles of accounts come in accounts.tf.
  access {
    role          = "OWNER"
    special_group = "projectOwners"
  }

  lifecycle {
    prevent_destroy = true
    ignore_changes  = [access] # else each apply would take away what the members below were given
  }

  depends_on = [google_kms_crypto_key_iam_member.agent]
}

# The condition names tables, not patterns: a new table is not shown until it stands in the list. It stands on the project, because the provider
# refuses conditions on a dataset (github.com/hashicorp/terraform-provider-google/issues/24502).
resource "google_project_iam_member" "readers" {
  for_each = var.readers
  project  = var.project
  role     = "roles/bigquery.dataViewer"
  member   = each.value

  condition {
    title      = "not the failures"
    expression = join(" || ", [for name in local.shown : "resource.name == \"${local.table}/${name}\""])
  }
}

resource "google_project_iam_member" "readers_jobs" {
  for_each = var.readers
  project  = var.project
  role     = "roles/bigquery.jobUser"
  member   = each.value
}
