# Buckets, a zone each: who may read one may not read another.
#   raw         events in clear, as they came. Written by whoever delivers, read by workers
#   staging     Dataflow's staging and temporary files of batch and stream, and what waits to be loaded (de-identified or sealed)
#   replay      the same of replay, and
#   reidentify  of reidentify: whoever may write where a job is staged decides what its account does. Values in clear are not staged
#   quarantine  files that could not be read: what a person looks at, and brings back to raw or deletes
#   templates   the specs of the Flex Templates; written by CI alone
#   contracts   contracts and their models, a folder each version (gs://.../NAME-VERSION); written by CI alone
locals {
  # days: how long objects are kept, 0 for ever, and below: under which names, none for all. What a job staged stays: workers that start later and
  # `penstock launch update` read it as long as the job runs, and a stream runs for months. versions, old_days: how many of what was replaced or
  # deleted, and how long. Running jobs fetch their contract's model by its generation, which must be there as long as they run.
  buckets = {
    raw        = { days = var.retention_days, below = [], versions = 3, old_days = 30 }
    staging    = { days = 14, below = ["temp/", "load/"], versions = 1, old_days = 30 }
    replay     = { days = 14, below = ["temp/", "load/"], versions = 1, old_days = 30 }
    reidentify = { days = 14, below = ["temp/", "load/"], versions = 1, old_days = 30 }
    quarantine = { days = var.failure_days, below = [], versions = 3, old_days = 30 }
    templates  = { days = 0, below = [], versions = 10, old_days = 30 }
    contracts  = { days = 0, below = [], versions = 100, old_days = 730 }
  }
}

resource "google_storage_bucket" "zone" {
  #checkov:skip=CKV_GCP_62:who read what is in the data access audit logs (main.tf), not in logs that would need a bucket of their own
  for_each                    = local.buckets
  name                        = "${var.project}-${var.name}-${each.key}"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false

  encryption {
    default_kms_key_name = google_kms_crypto_key.place["storage"].id
  }

  versioning {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = 604800 # a week: what was deleted by mistake
  }

  dynamic "lifecycle_rule" {
    for_each = each.value.days > 0 ? [each.value.days] : []
    content {
      action {
        type = "Delete"
      }
      condition {
        age            = lifecycle_rule.value
        matches_prefix = each.value.below
      }
    }
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      num_newer_versions = each.value.versions
      with_state         = "ARCHIVED"
    }
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = each.value.old_days
      with_state                 = "ARCHIVED"
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 1
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.agent]
}
