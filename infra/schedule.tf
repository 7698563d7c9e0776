# What is done daily. Cloud Scheduler cannot compute a date, nor wait: it starts workflows that do.
#   books   looks at the books of all runs (books.workflow.yaml)
#   rerun   replaces yesterday (rerun.workflow.yaml), where var.rerun names an image
locals {
  workflows = {
    books = {
      wanted = true
      says   = "Looks at the books of all runs of the last day"
      when   = var.books_schedule
      zone   = "Etc/UTC"
      given  = {}
    }
    rerun = {
      wanted = var.rerun.image != ""
      says   = "Replaces yesterday: launches the batch job, waits for it, tries again, reads its books"
      when   = var.rerun.schedule
      zone   = var.rerun.time_zone
      given = {
        JOB_NAME        = "${var.name}-rerun"
        TEMPLATE        = "gs://${google_storage_bucket.zone["templates"].name}/batch.json"
        IMAGE           = var.rerun.image
        CONTRACT        = var.rerun.contract
        INPUT           = "gs://${google_storage_bucket.zone["raw"].name}/${var.rerun.input}"
        STAGING         = "gs://${google_storage_bucket.zone["staging"].name}/batch"
        KEYS            = "${google_secret_manager_secret.keys.id}/versions/${var.rerun.keys}"
        SUBNETWORK      = "regions/${var.region}/subnetworks/${google_compute_subnetwork.workers.name}"
        SERVICE_ACCOUNT = google_service_account.process["worker"].email
        KMS_KEY         = google_kms_crypto_key.place["dataflow"].id
        DAYS_BACK       = tostring(var.rerun.days_back)
        OWNER           = var.labels["owner"]
        COST_CENTER     = var.labels["cost_center"]
        DATA_CLASS      = var.labels["data_class"]
      }
    }
  }
  daily = { for name, workflow in local.workflows : name => workflow if workflow.wanted }

  # What every workflow is given.
  given = {
    PROJECT      = var.project
    REGION       = var.region
    DATASET      = google_bigquery_dataset.zone["events"].dataset_id
    VOLUME_DRIFT = tostring(var.limits.volume_drift)
  }
}

resource "google_workflows_workflow" "daily" {
  for_each            = local.daily
  name                = "${var.name}-${each.key}"
  region              = var.region
  description         = each.value.says
  service_account     = google_service_account.process["launcher"].id
  source_contents     = file("${path.module}/${each.key}.workflow.yaml")
  call_log_level      = "LOG_ERRORS_ONLY"
  deletion_protection = false

  user_env_vars = merge(local.given, each.value.given)

  depends_on = [google_project_service.used]
}

resource "google_cloud_scheduler_job" "daily" {
  for_each         = local.daily
  name             = "${var.name}-${each.key}"
  region           = var.region
  description      = "Starts ${var.name}-${each.key}"
  schedule         = each.value.when
  time_zone        = each.value.zone
  attempt_deadline = "60s" # of the start alone; the workflow waits for the job

  retry_config {
    retry_count          = 3
    min_backoff_duration = "30s"
    max_backoff_duration = "300s"
  }

  http_target {
    http_method = "POST"
    uri         = "https://workflowexecutions.googleapis.com/v1/${google_workflows_workflow.daily[each.key].id}/executions"
    body        = base64encode(jsonencode({ argument = "{}" }))
    headers     = { "Content-Type" = "application/json" }

    oauth_token {
      service_account_email = google_service_account.process["scheduler"].email
    }
  }
}
