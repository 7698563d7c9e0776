# Pinned: provider_schema.json, which the tests hold these files against, was taken from these versions.
terraform {
  required_version = ">= 1.9, < 2"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "6.50.0"
    }
    google-beta = {
      source  = "hashicorp/google-beta"
      version = "6.50.0"
    }
  }

  # terraform init -backend-config=bucket=BUCKET. The state holds no secret: the one that there is, the jobs' keys, is never given to Terraform.
  backend "gcs" {
    prefix = "penstock"
  }
}

provider "google" {
  project               = var.project
  region                = var.region
  default_labels        = local.labels
  user_project_override = true
  billing_project       = var.project
}

# For google_project_service_identity alone, which the other provider does not have.
provider "google-beta" {
  project               = var.project
  region                = var.region
  user_project_override = true
  billing_project       = var.project
}
