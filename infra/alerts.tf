# What a person is woken for, and what the person should look at first.
resource "google_monitoring_notification_channel" "email" {
  for_each     = var.emails
  type         = "email"
  display_name = each.value
  labels       = { email_address = each.value }

  depends_on = [google_project_service.used]
}

locals {
  channels = [for channel in google_monitoring_notification_channel.email : channel.id]
  # Counters of the jobs (Metrics.counter("penstock", ...)), as Dataflow passes them on: one series for each job and transform.
  counter = "dataflow_googleapis_com:job_user_counter{monitored_resource=\"dataflow_job\",metric_name="

  # Lines that the workflow of the daily rerun writes, {penstock: WORD}.
  told = {
    unbalanced = "A run's books do not balance: rows are missing, or its row in `runs` is. `penstock query bq://... \"select * from unbalanced_runs\"`, then the job's log. The day may be run again."
    drift      = "A day's volume is far from that of the two weeks before. `select * from volume_drift order by d desc`: a source that stopped, or one that sends twice?"
    failed     = "Three launches of the daily rerun failed; the day is as it was. The last job's log says why; start the workflow again with {\"day\": \"...\"}."
    overlap    = "A rerun found another one running. It did nothing. Is the other one stuck?"
  }
}

resource "google_monitoring_alert_policy" "backlog" {
  display_name          = "${var.name}: messages wait"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels

  conditions {
    display_name = "The oldest message is older than ${var.limits.backlog_seconds} s"
    condition_threshold {
      filter          = "resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"${google_pubsub_subscription.events.name}\" AND metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
      comparison      = "COMPARISON_GT"
      threshold_value = var.limits.backlog_seconds
      duration        = "300s"
      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "The stream is behind, or gone. Does the job run (`penstock launch status`)? Are its workers at their maximum (`penstock plan` says what the rate needs)? Nothing is lost for 7 days."
  }
}

resource "google_monitoring_alert_policy" "refused" {
  display_name          = "${var.name}: rows are refused"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels

  conditions {
    display_name = "More than ${var.limits.refused_share} of the rows of ten minutes"
    condition_prometheus_query_language {
      query               = "sum by (job_name) (delta(${local.counter}\"refused\"}[10m])) / (sum by (job_name) (delta(${local.counter}\"read\"}[10m])) > 100) > ${var.limits.refused_share}"
      duration            = "300s"
      evaluation_interval = "60s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "`select * from refused_rates order by d desc, n desc` says stage and reason. Many of one reason at once: a publisher changed its events. They are kept, sealed: `penstock replay` brings them back once the contract takes them."
  }

  depends_on = [google_project_service.used]
}

resource "google_monitoring_alert_policy" "dlp" {
  display_name          = "${var.name}: DLP's quota is short"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels

  conditions {
    display_name = "Requests wait longer than ${var.limits.dlp_wait_ms} ms for their turn"
    condition_prometheus_query_language {
      query               = "max by (job_name) (${local.counter}\"dlp_waited_ms_MEAN\"}) > ${var.limits.dlp_wait_ms}"
      duration            = "600s"
      evaluation_interval = "60s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "The job holds itself to --requests_per_minute, and it is not enough. `penstock plan` says how many the rate needs; ask for the quota, then raise the option and update the job."
  }

  depends_on = [google_project_service.used]
}

resource "google_monitoring_alert_policy" "dead" {
  display_name          = "${var.name}: messages were given up"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels

  conditions {
    display_name = "The dead-letter subscription holds messages"
    condition_threshold {
      filter          = "resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"${google_pubsub_subscription.dead.name}\" AND metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "300s"
      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "A message was delivered 20 times and never acknowledged. What a row holds is no reason for that: the stream was dying. Look at its log, then move the messages back to the topic."
  }
}

resource "google_monitoring_alert_policy" "job_failed" {
  display_name          = "${var.name}: a job failed"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels

  conditions {
    display_name = "Dataflow says failed, of any job of the project"
    condition_threshold {
      filter          = "resource.type = \"dataflow_job\" AND metric.type = \"dataflow.googleapis.com/job/is_failed\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "A batch job that failed left the days as they were, or says which it replaced; the same --run finishes it. A stream that failed acknowledged nothing that it had not stored."
  }

  depends_on = [google_project_service.used]
}

resource "google_logging_metric" "told" {
  for_each    = local.told
  name        = "${var.name}/${each.key}"
  description = each.value
  filter      = "resource.type=\"workflows.googleapis.com/Workflow\" AND resource.labels.workflow_id=\"${var.name}-rerun\" AND jsonPayload.penstock=\"${each.key}\""

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }

  depends_on = [google_project_service.used]
}

resource "google_monitoring_alert_policy" "told" {
  for_each              = local.told
  display_name          = "${var.name}: ${each.key}"
  combiner              = "OR"
  severity              = each.key == "drift" ? "WARNING" : "ERROR"
  notification_channels = local.channels

  conditions {
    display_name = "The daily rerun says ${each.key}"
    condition_threshold {
      filter          = "resource.type = \"workflows.googleapis.com/Workflow\" AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.told[each.key].name}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_SUM"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = each.value
  }
}

resource "google_monitoring_dashboard" "this" {
  dashboard_json = templatefile("${path.module}/dashboard.json", {
    name         = var.name
    subscription = google_pubsub_subscription.events.name
  })
}
