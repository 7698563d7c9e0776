# The jobs' keys (--keys=projects/P/secrets/S/versions/N). Terraform makes the place; a person puts the value in (infra/README.md), so that no state
# and no plan ever holds it.
resource "google_secret_manager_secret" "keys" {
  secret_id           = "${var.name}-keys"
  deletion_protection = true
  version_destroy_ttl = "604800s"

  replication {
    user_managed {
      replicas {
        location = var.region
        customer_managed_encryption {
          kms_key_name = google_kms_crypto_key.place["secrets"].id
        }
      }
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.agent]
}
