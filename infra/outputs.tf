# What a profile of `penstock launch` names, and what a person needs next (infra/README.md).
output "profile" {
  description = "Keys of a profile: terraform -chdir=infra output -json profile"
  value = {
    project         = var.project
    region          = var.region
    staging         = "gs://${google_storage_bucket.zone["staging"].name}/staging"
    temp            = "gs://${google_storage_bucket.zone["staging"].name}/temp"
    subnetwork      = "regions/${var.region}/subnetworks/${google_compute_subnetwork.workers.name}"
    service_account = google_service_account.process["worker"].email
    kms_key         = google_kms_crypto_key.place["dataflow"].id
    labels          = var.labels
    jobs = { for job, account in { replay = "replayer", reidentify = "reidentifier" } : job => {
      staging         = "gs://${google_storage_bucket.zone[job].name}/staging"
      temp            = "gs://${google_storage_bucket.zone[job].name}/temp"
      service_account = google_service_account.process[account].email
    } }
  }
}

output "registry" {
  description = "Where the image goes: make image IMAGE=... PUSH=1"
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}/penstock"
}

output "templates" {
  description = "Where specs go: penstock spec --output=..."
  value       = "gs://${google_storage_bucket.zone["templates"].name}"
}

output "contracts" {
  description = "Where contracts and their models go, a folder each version: --contract=gs://.../NAME-VERSION"
  value       = "gs://${google_storage_bucket.zone["contracts"].name}"
}

output "topic" {
  description = "Where events are published."
  value       = google_pubsub_topic.events.id
}

output "subscription" {
  description = "--subscription"
  value       = google_pubsub_subscription.events.id
}

output "tables" {
  description = "--output"
  value       = "bq://${var.project}.${google_bigquery_dataset.zone["events"].dataset_id}"
}

output "restricted" {
  description = "--destination of reidentify, with a table's name behind it"
  value       = "bq://${var.project}.${google_bigquery_dataset.zone["restricted"].dataset_id}"
}

output "keys" {
  description = "--keys, once the secret has its first version"
  value       = "${google_secret_manager_secret.keys.id}/versions/1"
}

output "failures_key" {
  description = "--private_key of replay: the first version of the pair that seals failures"
  value       = "${google_kms_crypto_key.failures.id}/cryptoKeyVersions/1"
}

output "accounts" {
  description = "The account of each process."
  value       = { for name, account in google_service_account.process : name => account.email }
}
