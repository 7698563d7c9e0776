# The daily rerun: Cloud Scheduler cannot compute a date, so it starts a workflow that does (rerun.workflow.yaml).
locals {
  scheduled = var.rerun.image == "" ? 0 : 1
}

resource "google_workflows_workflow" "rerun" {
  count               = local.scheduled
  name                = "${var.name}-rerun"
  region              = var.region
  description         = "Replaces yesterday: launches the batch job, waits for it, tries again, reads its books"
  service_account     = google_service_account.process["launcher"].id
  source_contents     = file("${path.module}/rerun.workflow.yaml")
  call_log_level      = "LOG_ERRORS_ONLY"
  deletion_protection = false

  user_env_vars = {
    PROJECT         = var.project
    REGION          = var.region
    JOB_NAME        = "${var.name}-rerun"
    TEMPLATE        = "gs://${google_storage_bucket.zone["templates"].name}/batch.json"
    IMAGE           = var.rerun.image
    CONTRACT        = var.rerun.contract
    INPUT           = "gs://${google_storage_bucket.zone["raw"].name}/${var.rerun.input}"
    DATASET         = google_bigquery_dataset.zone["events"].dataset_id
    STAGING         = "gs://${google_storage_bucket.zone["staging"].name}/batch"
    KEYS            = "${google_secret_manager_secret.keys.id}/versions/${var.rerun.keys}"
    SUBNETWORK      = "regions/${var.region}/subnetworks/${google_compute_subnetwork.workers.name}"
    SERVICE_ACCOUNT = google_service_account.process["worker"].email
    KMS_KEY         = google_kms_crypto_key.place["dataflow"].id
    DAYS_BACK       = tostring(var.rerun.days_back)
    VOLUME_DRIFT    = tostring(var.limits.volume_drift)
    OWNER           = var.labels["owner"]
    COST_CENTER     = var.labels["cost_center"]
    DATA_CLASS      = var.labels["data_class"]
  }

  depends_on = [google_project_service.used]
}

resource "google_cloud_scheduler_job" "rerun" {
  count            = local.scheduled
  name             = "${var.name}-rerun"
  region           = var.region
  description      = "Starts the daily rerun"
  schedule         = var.rerun.schedule
  time_zone        = var.rerun.time_zone
  attempt_deadline = "60s" # of the start alone; the workflow waits for the job

  retry_config {
    retry_count          = 3
    min_backoff_duration = "30s"
    max_backoff_duration = "300s"
  }

  http_target {
    http_method = "POST"
    uri         = "https://workflowexecutions.googleapis.com/v1/${google_workflows_workflow.rerun[0].id}/executions"
    body        = base64encode(jsonencode({ argument = "{}" }))
    headers     = { "Content-Type" = "application/json" }

    oauth_token {
      service_account_email = google_service_account.process["scheduler"].email
    }
  }
}
