"""What our infrastructure may never be, whatever Terraform would take: public, unencrypted, all-powerful, or gone by mistake."""

import re
from typing import Any

from tests.terraform_files import Block, strings

_PRIMITIVE = re.compile(r"roles/(owner|editor|viewer|browser)$")
_PUBLIC = re.compile("allUsers|allAuthenticatedUsers")
_WIDE = re.compile(r"roles/(.*[aA]dmin|iam\.serviceAccountTokenCreator|iam\.serviceAccountUser|storage\..*|bigquery\.data.*|secretmanager\..*|cloudkms\..*|pubsub\..*)$")

_TABLES = re.compile(r'\$\{join\(" \|\| ", \[for name in [\w.]+ : "resource\.name == "\$\{local\.table\}/\$\{name\}""\]\)\}')


def faults(blocks: list[Block]) -> list[str]:
    """The policies that blocks break, each with the block's name."""
    return [f"{block}: {rule}" for block in blocks for rule in _broken(block)]


def _broken(block: Block) -> list[str]:
    texts = list(strings(block.body))
    found = [rule for rule, broken in {
        "a primitive role": any(_PRIMITIVE.search(text) for text in texts),
        "open to everyone": block.kind == "resource" and any(_PUBLIC.search(text) for text in texts),
        "the accounts' default": any("compute@developer.gserviceaccount.com" in text for text in texts),
        "takes other grants away": bool(re.search("_iam_(binding|policy)$", block.type)),
        "a key that can be copied": block.type == "google_service_account_key",
        "a secret's value in the state": block.type == "google_secret_manager_secret_version",
    }.items() if broken]
    return found + [rule for rule, broken in _RULES.get(block.type, lambda body: {})(block.body).items() if broken]


def _first(body: dict[str, Any], name: str) -> dict[str, Any]:
    """A block inside a block; empty where there is none."""
    inner = body.get(name) or [{}]
    found: dict[str, Any] = inner[0] if isinstance(inner, list) else inner
    return found


def _bucket(body: dict[str, Any]) -> dict[str, bool]:
    return {
        "objects with grants of their own": body.get("uniform_bucket_level_access") is not True,
        "may be made public": body.get("public_access_prevention") != "enforced",
        "no key of ours": "default_kms_key_name" not in _first(body, "encryption"),
        "no versions": _first(body, "versioning").get("enabled") is not True,
        "emptied with the bucket": body.get("force_destroy", False) is not False,
        "nothing is ever deleted": "lifecycle_rule" not in body,
    }


def _key(body: dict[str, Any]) -> dict[str, bool]:
    return {
        "never rotated": body.get("purpose") == "ENCRYPT_DECRYPT" and "rotation_period" not in body,
        "an algorithm that sealing does not speak": body.get("purpose") == "ASYMMETRIC_DECRYPT" and _first(body, "version_template").get("algorithm") != "RSA_DECRYPT_OAEP_3072_SHA256",
        "may be destroyed": _first(body, "lifecycle").get("prevent_destroy") is not True,
    }


def _topic(body: dict[str, Any]) -> dict[str, bool]:
    return {"no key of ours": "kms_key_name" not in body, "kept nowhere": "message_retention_duration" not in body, "kept anywhere": not _first(body, "message_storage_policy")}


def _subscription(body: dict[str, Any]) -> dict[str, bool]:
    return {"gone when nobody reads": _first(body, "expiration_policy").get("ttl") != "", "kept for less than a week": body.get("message_retention_duration") != "604800s"}


def _dataset(body: dict[str, Any]) -> dict[str, bool]:
    return {
        "no key of ours": "kms_key_name" not in _first(body, "default_encryption_configuration"),
        "gone with its tables": body.get("delete_contents_on_destroy", False) is not False or _first(body, "lifecycle").get("prevent_destroy") is not True,
        "read by every viewer of the project": any(entry.get("special_group") in ("projectReaders", "projectWriters", "allAuthenticatedUsers") for entry in body.get("access", []))
        or not body.get("access"),
    }


def _firewall(body: dict[str, Any]) -> dict[str, bool]:
    allows, anywhere = "allow" in body, ("0.0.0.0/0", "::/0")
    return {
        "lets the internet in": allows and body.get("direction") != "EGRESS" and (any(r in anywhere for r in body.get("source_ranges", [])) or not (
            body.get("source_ranges") or body.get("source_tags") or body.get("source_service_accounts"))),
        "lets anything out": allows and body.get("direction") == "EGRESS" and (any(r in anywhere for r in body.get("destination_ranges", anywhere))),
    }


def _project_grant(body: dict[str, Any]) -> dict[str, bool]:
    """A wide role is taken where its condition names tables, one by one."""
    condition = str(_first(body, "condition").get("expression", "")).replace("\\", "")
    return {"wider than the one thing it is for": bool(_WIDE.match(str(body.get("role")))) and not _TABLES.fullmatch(condition)}


_RULES = {
    "google_storage_bucket": _bucket,
    "google_kms_crypto_key": _key,
    "google_pubsub_topic": _topic,
    "google_pubsub_subscription": _subscription,
    "google_bigquery_dataset": _dataset,
    # The provider takes such a condition while it plans, and refuses it when it is applied (hashicorp/terraform-provider-google#24502).
    "google_bigquery_dataset_iam_member": lambda body: {"a condition, which is refused": "condition" in body or "condition" in str(body.get("dynamic"))},
    "google_compute_firewall": _firewall,
    "google_compute_network": lambda body: {"subnetworks everywhere": body.get("auto_create_subnetworks") is not False,
                                            "a way out by default": body.get("delete_default_routes_on_create") is not True},
    "google_compute_subnetwork": lambda body: {"no private way to the APIs": body.get("private_ip_google_access") is not True, "flows are not logged": "log_config" not in body},
    "google_compute_route": lambda body: {"a way to the internet": body.get("dest_range") in ("0.0.0.0/0", "::/0")},
    "google_artifact_registry_repository": lambda body: {"tags may be moved": _first(body, "docker_config").get("immutable_tags") is not True, "no key of ours": "kms_key_name" not in body},
    "google_secret_manager_secret": lambda body: {"no key of ours": "customer_managed_encryption" not in str(body), "may be deleted": body.get("deletion_protection") is not True},
    "google_project_iam_member": _project_grant,
    "google_project_iam_custom_role": lambda body: {"a permission on all storage": any(p.startswith(("storage.", "iam.", "resourcemanager.")) for p in body.get("permissions", []))},
    "google_workflows_workflow": lambda body: {"no account of its own": "service_account" not in body},
}
