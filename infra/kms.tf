# Keys. One for each place that stores data, so that taking a key away closes one place; tokens: what wraps the key inside the DLP templates.
# Rotation is safe: what was encrypted says which version did it.
resource "google_kms_key_ring" "this" {
  name       = var.name
  location   = var.region
  depends_on = [google_project_service.used]
}

resource "google_kms_crypto_key" "place" {
  for_each        = toset(["artifacts", "bigquery", "dataflow", "pubsub", "secrets", "storage", "tokens"])
  name            = each.value
  key_ring        = google_kms_key_ring.this.id
  purpose         = "ENCRYPT_DECRYPT"
  rotation_period = var.key_rotation

  version_template {
    algorithm        = "GOOGLE_SYMMETRIC_ENCRYPTION"
    protection_level = var.key_protection
  }

  lifecycle {
    prevent_destroy = true # what it encrypts would be gone with it: data, or every token's way back
  }
}

# Seals failures with its public half; only the replayer may use the private one. Cloud KMS does not rotate asymmetric keys by itself.
resource "google_kms_crypto_key" "failures" {
  name     = "failures"
  key_ring = google_kms_key_ring.this.id
  purpose  = "ASYMMETRIC_DECRYPT"

  version_template {
    algorithm        = "RSA_DECRYPT_OAEP_3072_SHA256"
    protection_level = var.key_protection
  }

  lifecycle {
    prevent_destroy = true # no failure could be opened
  }
}

# The services' own accounts, which encrypt and decrypt with the keys of their places. Most come into being only when asked for.
resource "google_project_service_identity" "agent" {
  provider   = google-beta
  for_each   = toset(["artifactregistry", "dlp", "pubsub", "secretmanager"])
  project    = var.project
  service    = "${each.value}.googleapis.com"
  depends_on = [google_project_service.used]
}

data "google_storage_project_service_account" "this" {
  depends_on = [google_project_service.used]
}

data "google_bigquery_default_service_account" "this" {
  depends_on = [google_project_service.used]
}

locals {
  agents = {
    artifacts = { artifacts = google_project_service_identity.agent["artifactregistry"].member }
    bigquery  = { bigquery = "serviceAccount:${data.google_bigquery_default_service_account.this.email}" }
    dataflow = {
      dataflow = "serviceAccount:service-${local.number}@dataflow-service-producer-prod.iam.gserviceaccount.com"
      compute  = "serviceAccount:service-${local.number}@compute-system.iam.gserviceaccount.com"
    }
    pubsub  = { pubsub = google_project_service_identity.agent["pubsub"].member }
    secrets = { secrets = google_project_service_identity.agent["secretmanager"].member }
    storage = { storage = "serviceAccount:${data.google_storage_project_service_account.this.email_address}" }
  }
  # Flat, with keys that are known before anything is made: for_each asks for that.
  agent_keys = { for pair in flatten([for place, members in local.agents : [for name, member in members : { id = "${place}-${name}", place = place, member = member }]]) : pair.id => pair }
}

resource "google_kms_crypto_key_iam_member" "agent" {
  for_each      = local.agent_keys
  crypto_key_id = google_kms_crypto_key.place[each.value.place].id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value.member
}

# DLP unwraps the templates' key itself.
resource "google_kms_crypto_key_iam_member" "dlp" {
  crypto_key_id = google_kms_crypto_key.place["tokens"].id
  role          = "roles/cloudkms.cryptoKeyDecrypter"
  member        = google_project_service_identity.agent["dlp"].member
}
