# What each account may do with one resource. Grants stand on the resource, but for those on single tables, whose condition names them (bigquery.tf).
locals {
  # objectViewer lists and reads; legacyBucketReader is storage.buckets.get, which Beam asks before it stages.
  bucket_roles = {
    launcher = {
      staging   = ["roles/storage.objectUser", "roles/storage.legacyBucketReader"]
      templates = ["roles/storage.objectViewer"]
      contracts = ["roles/storage.objectViewer"]
    }
    worker = {
      staging   = ["roles/storage.objectUser", "roles/storage.legacyBucketReader"]
      raw       = ["roles/storage.objectViewer", "roles/storage.legacyBucketReader"]
      contracts = ["roles/storage.objectViewer"]
    }
    replayer = {
      replay    = ["roles/storage.objectUser", "roles/storage.legacyBucketReader"]
      templates = ["roles/storage.objectViewer"]
      contracts = ["roles/storage.objectViewer"]
    }
    reidentifier = {
      reidentify = ["roles/storage.objectUser", "roles/storage.legacyBucketReader"]
      templates  = ["roles/storage.objectViewer"]
      contracts  = ["roles/storage.objectViewer"]
    }
    ci = {
      templates = ["roles/storage.objectUser"]
      contracts = ["roles/storage.objectUser"]
    }
  }
  bucket_grants = { for grant in flatten([for account, buckets in local.bucket_roles : [for bucket, roles in buckets : [for role in roles : { account = account, bucket = bucket, role = role }]]]) : "${grant.account} ${grant.bucket} ${grant.role}" => grant }

  # tables: only those, and not the dataset itself; all of the dataset where the list is empty.
  dataset_roles = [
    { account = "worker", dataset = "events", role = "roles/bigquery.dataEditor", tables = [] },
    { account = "replayer", dataset = "events", role = "roles/bigquery.dataEditor", tables = [] },
    { account = "launcher", dataset = "events", role = "roles/bigquery.dataViewer", tables = ["runs", "unbalanced_runs"] },
    { account = "reidentifier", dataset = "events", role = "roles/bigquery.metadataViewer", tables = [] },
    { account = "reidentifier", dataset = "events", role = "roles/bigquery.dataViewer", tables = ["events", "windows", "events_once", "windows_latest"] },
    { account = "reidentifier", dataset = "events", role = "roles/bigquery.dataEditor", tables = ["reidentifications"] },
    { account = "reidentifier", dataset = "restricted", role = "roles/bigquery.dataEditor", tables = [] },
  ]

  images_readers = ["launcher", "worker", "replayer", "reidentifier"]
  keys_readers   = ["worker", "replayer", "reidentifier"]
}

resource "google_storage_bucket_iam_member" "process" {
  for_each = local.bucket_grants
  bucket   = google_storage_bucket.zone[each.value.bucket].name
  role     = each.value.role
  member   = local.member[each.value.account]
}

resource "google_bigquery_dataset_iam_member" "process" {
  for_each   = { for grant in local.dataset_roles : "${grant.account} ${grant.dataset} ${grant.role}" => grant if length(grant.tables) == 0 }
  dataset_id = google_bigquery_dataset.zone[each.value.dataset].dataset_id
  role       = each.value.role
  member     = local.member[each.value.account]
}

resource "google_project_iam_member" "tables" {
  for_each = { for grant in local.dataset_roles : "${grant.account} ${grant.role}" => grant if length(grant.tables) > 0 }
  project  = var.project
  role     = each.value.role
  member   = local.member[each.value.account]

  condition {
    title      = "some tables"
    expression = join(" || ", [for name in each.value.tables : "resource.name == \"${local.table}/${name}\""])
  }
}

# The re-identifier makes its audit table on the first run. Into any other table that it made here it could write nothing.
resource "google_bigquery_dataset_iam_member" "audit" {
  dataset_id = google_bigquery_dataset.zone["events"].dataset_id
  role       = google_project_iam_custom_role.table_maker.name
  member     = local.member["reidentifier"]
}

# viewer: Dataflow reads the subscription's settings before it reads messages.
resource "google_pubsub_subscription_iam_member" "worker" {
  for_each     = toset(["roles/pubsub.subscriber", "roles/pubsub.viewer"])
  subscription = google_pubsub_subscription.events.id
  role         = each.value
  member       = local.member["worker"]
}

resource "google_artifact_registry_repository_iam_member" "readers" {
  for_each   = toset(local.images_readers)
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = local.member[each.value]
}

resource "google_artifact_registry_repository_iam_member" "ci" {
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = local.member["ci"]
}

resource "google_secret_manager_secret_iam_member" "keys" {
  for_each  = toset(local.keys_readers)
  secret_id = google_secret_manager_secret.keys.id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.member[each.value]
}

# Whoever refuses rows seals them, with the public half.
resource "google_kms_crypto_key_iam_member" "seals" {
  for_each      = toset(["worker", "replayer"])
  crypto_key_id = google_kms_crypto_key.failures.id
  role          = "roles/cloudkms.publicKeyViewer"
  member        = local.member[each.value]
}

resource "google_kms_crypto_key_iam_member" "opens" {
  crypto_key_id = google_kms_crypto_key.failures.id
  role          = "roles/cloudkms.cryptoKeyDecrypter"
  member        = local.member["replayer"]
}
