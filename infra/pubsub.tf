# Events come in by one topic. It has no schema: what a publisher gets wrong is refused by the job, with a reason, and stands in the books;
# a topic that refused it would leave no trace of it.
resource "google_pubsub_topic" "events" {
  name                       = "${var.name}-events"
  kms_key_name               = google_kms_crypto_key.place["pubsub"].id
  message_retention_duration = "604800s" # a week, to seek back to

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_kms_crypto_key_iam_member.agent]
}

resource "google_pubsub_topic" "dead" {
  name                       = "${var.name}-events-dead"
  kms_key_name               = google_kms_crypto_key.place["pubsub"].id
  message_retention_duration = "2678400s"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_kms_crypto_key_iam_member.agent]
}

# The ack deadline is also how long a stream on one machine holds its watermark after a start (docs/streaming.md).
resource "google_pubsub_subscription" "events" {
  name                       = "${var.name}-events"
  topic                      = google_pubsub_topic.events.id
  ack_deadline_seconds       = 60
  message_retention_duration = "604800s"
  retain_acked_messages      = false
  enable_message_ordering    = false

  expiration_policy {
    ttl = "" # never, however long nobody reads
  }

  dynamic "retry_policy" {
    for_each = var.stream_on_dataflow ? [] : [1]
    content {
      minimum_backoff = "10s"
      maximum_backoff = "600s"
    }
  }

  dynamic "dead_letter_policy" {
    for_each = var.stream_on_dataflow ? [] : [1]
    content {
      dead_letter_topic     = google_pubsub_topic.dead.id
      max_delivery_attempts = 20 # the job itself sets a message aside that kills it three times
    }
  }
}

# Without a subscription a dead-letter topic forgets.
resource "google_pubsub_subscription" "dead" {
  name                       = "${var.name}-events-dead"
  topic                      = google_pubsub_topic.dead.id
  ack_deadline_seconds       = 60
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = ""
  }
}

# Pub/Sub's own account moves messages from one to the other.
resource "google_pubsub_topic_iam_member" "dead" {
  topic  = google_pubsub_topic.dead.id
  role   = "roles/pubsub.publisher"
  member = google_project_service_identity.agent["pubsub"].member
}

resource "google_pubsub_subscription_iam_member" "dead" {
  subscription = google_pubsub_subscription.events.id
  role         = "roles/pubsub.subscriber"
  member       = google_project_service_identity.agent["pubsub"].member
}

resource "google_pubsub_topic_iam_member" "publishers" {
  for_each = var.publishers
  topic    = google_pubsub_topic.events.id
  role     = "roles/pubsub.publisher"
  member   = each.value
}
