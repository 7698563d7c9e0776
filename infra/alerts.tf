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
  # Metrics by their names in PromQL (cloud.google.com/monitoring/promql/promql-mapping). Counters of the jobs are Metrics.counter("penstock", ...), as
  # Dataflow passes them on: one series for each job and transform.
  counter = "dataflow_googleapis_com:job_user_counter{monitored_resource=\"dataflow_job\",metric_name="
  waiting = "{monitored_resource=\"pubsub_subscription\",subscription_id="

  # What rings while a query over metrics has an answer.
  queries = {
    backlog = {
      says     = "messages wait"
      when     = "The oldest message is older than ${var.limits.backlog_seconds} s"
      query    = "max(pubsub_googleapis_com:subscription_oldest_unacked_message_age${local.waiting}\"${google_pubsub_subscription.events.name}\"}) > ${var.limits.backlog_seconds}"
      lasting  = "300s"
      severity = "ERROR"
      do       = "The stream is behind, or gone. Does the job run (`penstock launch status`)? Are its workers at their maximum (`penstock plan` says what the rate needs)? Nothing is lost for 7 days."
    }
    dead = {
      says     = "messages were given up"
      when     = "The dead-letter subscription holds messages"
      query    = "max(pubsub_googleapis_com:subscription_num_undelivered_messages${local.waiting}\"${google_pubsub_subscription.dead.name}\"}) > 0"
      lasting  = "300s"
      severity = "ERROR"
      do       = "A message was delivered 20 times and never acknowledged. What a row holds is no reason for that: the stream was dying. Look at its log, then move the messages back to the topic."
    }
    job_failed = {
      says     = "a job failed"
      when     = "Dataflow says failed, of any job of the project"
      query    = "max by (job_name) (dataflow_googleapis_com:job_is_failed{monitored_resource=\"dataflow_job\"}) > 0"
      lasting  = "0s"
      severity = "ERROR"
      do       = "A batch job that failed left the days as they were, or says which it replaced; the same --run finishes it. A stream that failed acknowledged nothing that it had not stored. A replay that failed is started again: it finishes what was begun."
    }
    refused = {
      says     = "rows are refused"
      when     = "More than ${var.limits.refused_share} of the rows of ten minutes"
      query    = "sum by (job_name) (delta(${local.counter}\"refused\"}[10m])) / (sum by (job_name) (delta(${local.counter}\"read\"}[10m])) > 100) > ${var.limits.refused_share}"
      lasting  = "300s"
      severity = "WARNING"
      do       = "`select * from refused_rates order by d desc, n desc` says stage and reason. Many of one reason at once: a publisher changed its events. They are kept, sealed: `penstock replay` brings them back once the contract takes them."
    }
    dlp = {
      says     = "DLP's quota is short"
      when     = "Requests wait longer than ${var.limits.dlp_wait_ms} ms for their turn"
      query    = "max by (job_name) (${local.counter}\"dlp_waited_ms_MEAN\"}) > ${var.limits.dlp_wait_ms}"
      lasting  = "600s"
      severity = "WARNING"
      do       = "The job holds itself to --requests_per_minute, and it is not enough. `penstock plan` says how many the rate needs; ask for the quota, then raise the option and update the job."
    }
  }

  # Lines that the daily workflows write, {penstock: WORD}.
  told = {
    unbalanced = "A run's books do not balance: rows are missing, or its row in `runs` is. `penstock query bq://... \"select * from unbalanced_runs\"`, then the job's log. The day may be run again."
    drift      = "A day's volume is far from that of the two weeks before. `select * from volume_drift order by d desc`: a source that stopped, or one that sends twice?"
    failed     = "Three launches of the daily rerun failed; the day is as it was. The last job's log says why; start the workflow again with {\"day\": \"...\"}."
    overlap    = "A rerun found another one running. It did nothing. Is the other one stuck?"
  }

  # Accounts that see what others may not; whatever they read or write stands in the data access audit logs (main.tf).
  watched = {
    replayer     = "Failures are opened. Who acts as the account is in the log's serviceAccountDelegationInfo; what was replayed stands in the table `replays`."
    reidentifier = "Tokens are turned back. Who asked, and what for, stands in the table `reidentifications`: a run without its row there is one to ask about."
  }

  # What rings when a line is logged. A metric of such lines would be more: an alert on it is refused for minutes after the metric was made.
  lines = merge({ for word, do in local.told : word => {
    filter   = "resource.type=\"workflows.googleapis.com/Workflow\" AND resource.labels.workflow_id:\"${var.name}-\" AND jsonPayload.penstock=\"${word}\""
    severity = word == "drift" ? "WARNING" : "ERROR"
    do       = do
    } }, { for account, do in local.watched : "the ${account} is at work" => {
    filter   = "logName=\"projects/${var.project}/logs/cloudaudit.googleapis.com%2Fdata_access\" AND protoPayload.authenticationInfo.principalEmail=\"${google_service_account.process[account].email}\""
    severity = "WARNING"
    do       = do
  } })
}

resource "google_monitoring_alert_policy" "query" {
  for_each              = local.queries
  display_name          = "${var.name}: ${each.value.says}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels

  conditions {
    display_name = each.value.when
    condition_prometheus_query_language {
      query                     = each.value.query
      duration                  = each.value.lasting
      evaluation_interval       = "60s"
      disable_metric_validation = true # a project knows no metric before its first value
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = each.value.do
  }

  depends_on = [google_project_service.used]
}

resource "google_monitoring_alert_policy" "line" {
  for_each              = local.lines
  display_name          = "${var.name}: ${each.key}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels

  conditions {
    display_name = "A line says so"
    condition_matched_log {
      filter = each.value.filter
    }
  }

  alert_strategy {
    auto_close = "3600s"
    notification_rate_limit {
      period = "3600s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = each.value.do
  }

  depends_on = [google_project_service.used]
}

resource "google_monitoring_dashboard" "this" {
  dashboard_json = templatefile("${path.module}/dashboard.json", {
    name         = var.name
    subscription = google_pubsub_subscription.events.name
  })
}
