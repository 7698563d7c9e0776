variable "project" {
  description = "Project that all of this stands in."
  type        = string
}

variable "region" {
  description = "Region of everything: Dataflow, buckets, datasets, keys and DLP calls stay in one."
  type        = string
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region such as europe-west4; multi-regions have no subnetworks."
  }
}

variable "name" {
  description = "Prefix of the names of all resources; two of them may stand in one project."
  type        = string
  default     = "penstock"
  validation {
    condition     = can(regex("^[a-z][a-z0-9]{2,13}$", var.name))
    error_message = "3 to 14 small letters and digits: it is part of account names, which end at 30."
  }
}

variable "labels" {
  description = "Labels of every resource: say owner, cost_center and data_class, as the contract does."
  type        = map(string)
  validation {
    condition     = alltrue([for name in ["owner", "cost_center", "data_class"] : contains(keys(var.labels), name)])
    error_message = "Give owner, cost_center and data_class."
  }
  validation {
    condition     = alltrue([for name, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", name)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "Labels are small letters, digits, _ and -, 63 at the most."
  }
}

variable "readers" {
  description = "Who may ask the de-identified tables, as IAM members (group:analysts@example.com). They do not get to the failures."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for member in var.readers : can(regex("^(user|group|serviceAccount|principalSet):", member))])
    error_message = "Members are user:, group:, serviceAccount: or principalSet:; never allUsers or allAuthenticatedUsers."
  }
}

variable "publishers" {
  description = "Who may publish events, as IAM members."
  type        = set(string)
  default     = []
}

variable "operators" {
  description = "Who may act as an account that launches: launcher, or replayer and reidentifier, which open or turn back what others may not. IAM members."
  type        = map(set(string))
  default     = {}
  validation {
    condition     = length(setsubtract(keys(var.operators), ["launcher", "replayer", "reidentifier"])) == 0
    error_message = "Operators are of launcher, replayer or reidentifier."
  }
}

variable "emails" {
  description = "Where alerts go."
  type        = set(string)
  default     = []
}

variable "subnet_range" {
  description = "Addresses of the workers: a /22 holds some 1,000."
  type        = string
  default     = "10.20.0.0/22"
  validation {
    condition     = can(cidrnetmask(var.subnet_range)) && cidrhost(var.subnet_range, 0) == split("/", var.subnet_range)[0]
    error_message = "A network of IPv4 such as 10.20.0.0/22, with the address that it begins with."
  }
}

variable "key_rotation" {
  description = "Seconds between rotations of the symmetric keys: 90 days. The pair that seals failures is rotated by hand (infra/README.md)."
  type        = string
  default     = "7776000s"
  validation {
    condition     = can(regex("^[0-9]+s$", var.key_rotation)) && try(tonumber(trimsuffix(var.key_rotation, "s")) >= 86400, false)
    error_message = "Seconds such as 7776000s, a day at the least."
  }
}

variable "key_protection" {
  description = "SOFTWARE or HSM."
  type        = string
  default     = "HSM"
  validation {
    condition     = contains(["SOFTWARE", "HSM"], var.key_protection)
    error_message = "SOFTWARE or HSM."
  }
}

variable "retention_days" {
  description = "Days that raw files are kept. Messages are kept 7 days, which is all that a subscription can."
  type        = number
  default     = 90
}

variable "failure_days" {
  description = "Days that what was quarantined is kept."
  type        = number
  default     = 30
}

variable "stream_on_dataflow" {
  description = "Whether Dataflow reads the subscription. It supports neither dead-letter topics nor retry policies, so the subscription has them only where this is false."
  type        = bool
  default     = true
}

variable "worker_role" {
  description = "custom: what Dataflow's workers need, without the storage permissions of roles/dataflow.worker, which reach every bucket of the project. predefined: that role."
  type        = string
  default     = "custom"
  validation {
    condition     = contains(["custom", "predefined"], var.worker_role)
    error_message = "custom or predefined."
  }
}

variable "access_policy" {
  description = "Number of the organisation's access policy, for a VPC Service Controls perimeter; without one there is none."
  type        = string
  default     = ""
}

variable "perimeter_enforced" {
  description = "Whether the perimeter holds, or only logs what it would have refused."
  type        = bool
  default     = false
}

variable "rerun" {
  description = "The daily rerun: contract, when, in which time zone, and how many days back. {day} in input is the day. image: of the batch job, by digest; without one there is no schedule."
  type = object({
    contract  = optional(string, "census")
    image     = optional(string, "")
    input     = optional(string, "raw/{day}/*.ndjson.gz")
    schedule  = optional(string, "30 3 * * *")
    time_zone = optional(string, "Etc/UTC")
    days_back = optional(number, 1)
    keys      = optional(string, "1")
  })
  default = {}
  validation {
    condition     = var.rerun.image == "" || can(regex("@sha256:[0-9a-f]{64}$", var.rerun.image))
    error_message = "The image by digest: a tag may be moved."
  }
}

variable "books_schedule" {
  description = "When the books of the last day are looked at (UTC)."
  type        = string
  default     = "0 6 * * *"
}

variable "limits" {
  description = "When alerts ring: age of the oldest message in seconds, share of rows refused, milliseconds that a DLP request waits for its quota, drift of a day's volume."
  type = object({
    backlog_seconds = optional(number, 300)
    refused_share   = optional(number, 0.05)
    dlp_wait_ms     = optional(number, 5000)
    volume_drift    = optional(number, 0.5)
  })
  default = {}
}
