# Workers have no address outside and reach Google's APIs alone, over the addresses of restricted.googleapis.com. Everything that they need is in the
# image. Where the project uses a Shared VPC, this file is the host project's.
locals {
  restricted = "199.36.153.4/30" # cloud.google.com/vpc/docs/configure-private-google-access
  # Names that are led to these addresses: the APIs, and where images come from (gcr.io for the launcher's own logging).
  names = { apis = "googleapis.com.", registry = "pkg.dev.", images = "gcr.io." }
}

resource "google_compute_network" "this" {
  name                            = var.name
  auto_create_subnetworks         = false
  delete_default_routes_on_create = true
  routing_mode                    = "REGIONAL"
  depends_on                      = [google_project_service.used]
}

resource "google_compute_subnetwork" "workers" {
  name                     = "${var.name}-workers"
  network                  = google_compute_network.this.id
  region                   = var.region
  ip_cidr_range            = var.subnet_range
  private_ip_google_access = true
  stack_type               = "IPV4_ONLY"

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.5
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

# Private Google Access goes by way of the default gateway, and to these addresses alone.
resource "google_compute_route" "restricted" {
  name             = "${var.name}-restricted"
  network          = google_compute_network.this.id
  dest_range       = local.restricted
  next_hop_gateway = "default-internet-gateway"
}

# Dataflow's workers shuffle among themselves on these ports, and carry this tag (cloud.google.com/dataflow/docs/guides/routes-firewall).
resource "google_compute_firewall" "workers_in" {
  name        = "${var.name}-workers-in"
  network     = google_compute_network.this.id
  direction   = "INGRESS"
  priority    = 1000
  source_tags = ["dataflow"]
  target_tags = ["dataflow"]

  allow {
    protocol = "tcp"
    ports    = ["12345-12346"]
  }
}

resource "google_compute_firewall" "workers_out" {
  name               = "${var.name}-workers-out"
  network            = google_compute_network.this.id
  direction          = "EGRESS"
  priority           = 1000
  destination_ranges = [var.subnet_range]
  target_tags        = ["dataflow"]

  allow {
    protocol = "tcp"
    ports    = ["12345-12346"]
  }
}

resource "google_compute_firewall" "apis_out" {
  name               = "${var.name}-apis-out"
  network            = google_compute_network.this.id
  direction          = "EGRESS"
  priority           = 1000
  destination_ranges = [local.restricted]

  allow {
    protocol = "tcp"
    ports    = ["443"]
  }
}

resource "google_compute_firewall" "nothing_else_out" {
  name               = "${var.name}-nothing-else-out"
  network            = google_compute_network.this.id
  direction          = "EGRESS"
  priority           = 65000
  destination_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }

  log_config {
    metadata = "INCLUDE_ALL_METADATA"
  }
}

resource "google_dns_managed_zone" "google" {
  for_each   = local.names
  name       = "${var.name}-${each.key}"
  dns_name   = each.value
  visibility = "private"

  private_visibility_config {
    networks {
      network_url = google_compute_network.this.id
    }
  }

  depends_on = [google_project_service.used]
}

resource "google_dns_record_set" "address" {
  for_each     = local.names
  managed_zone = google_dns_managed_zone.google[each.key].name
  name         = each.key == "apis" ? "restricted.${each.value}" : each.value
  type         = "A"
  ttl          = 300
  rrdatas      = [for last in range(4, 8) : "199.36.153.${last}"]
}

resource "google_dns_record_set" "names" {
  for_each     = local.names
  managed_zone = google_dns_managed_zone.google[each.key].name
  name         = "*.${each.value}"
  type         = "CNAME"
  ttl          = 300
  rrdatas      = [google_dns_record_set.address[each.key].name]
}
