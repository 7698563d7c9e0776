"""Where things are: buckets, dataset, keys and DLP in places that go together; and whether the template is the one that the profile means."""

import hashlib
import re
from typing import Any

from google.api_core import exceptions

from pipelines.launch.checks.clients import BUCKET, NotChecked, answered, asked, bucket_of
from pipelines.launch.checks.roles import output_of
from pipelines.launch.checks.setting import Setting
from pipelines.launch.template_check import judged
from pipelines.sinks.bigquery import dataset
from schemas.errors import Fault, Misconfigured

LOCK_LABEL = "penstock.lock.sha256"
"""Label of an image: SHA-256 of the requirements.lock that it was built from."""
_KEY = re.compile(r'"projects/[^"/]+/locations/([^"/]+)/keyRings/[^"]+"')


def together(outer: str, inner: str) -> bool:
    """Whether one place is the other, or lies within it: EUROPE-WEST4 in EU, us-east1 in US."""
    outer, inner = outer.lower(), inner.lower()
    return outer == inner or (outer, inner.split("-")[0]) in (("eu", "europe"), ("us", "us"), ("asia", "asia"))


def dataset_location(setting: Setting) -> tuple[str, str]:
    """(name, location) of the output's dataset. Raises NotFound, NotChecked."""
    try:
        named = dataset(output_of(setting))
    except Misconfigured:
        raise NotChecked("the output is no dataset of BigQuery") from None
    found = asked(lambda: setting.launcher.bigquery.get_dataset(f"{named.project}.{named.name}", retry=None, timeout=setting.launcher.seconds))
    return f"bq://{named.project}.{named.name}", str(found.location or "").lower()


def buckets(setting: Setting) -> list[Fault]:
    """Each bucket of the launch lies where the job runs."""
    found = []
    for key in ("staging", "temp", "template"):
        path = getattr(setting.profile, key)
        try:
            where = setting.launcher.bucket_location(bucket_of(path))
        except exceptions.NotFound:
            found.append(Fault(f"{setting.where}: {key}", f"the bucket {bucket_of(path)} is not there", "make it (infra/ does), or correct the profile"))
            continue
        if not together(where, setting.profile.region):
            found.append(Fault(f"{setting.where}: {key}", f"lies in {where}, the job runs in {setting.profile.region}", "take a bucket in the job's region"))
    return found


def tables(setting: Setting) -> list[Fault]:
    """The dataset lies where the job runs, and where the files lie that it loads."""
    try:
        name, where = dataset_location(setting)
    except exceptions.NotFound:
        return [Fault(output_of(setting), "is no dataset", "make it: its location and its readers are yours to choose (infra/ makes one)")]
    found = []
    if not together(where, setting.profile.region):
        found.append(Fault(name, f"lies in {where}, the job runs in {setting.profile.region}", "run the job where its tables are: rows would leave the place"))
    found += _restricted(setting) if setting.job == "reidentify" else []
    staged = setting.option("staging")
    if bucket_of(staged):
        try:
            lies = setting.launcher.bucket_location(bucket_of(staged))
        except exceptions.NotFound:
            return [*found, Fault(f"{setting.where}: parameters.staging", f"the bucket {bucket_of(staged)} is not there", "make it, or correct the profile")]
        if not together(where, lies):
            found.append(Fault(f"{setting.where}: parameters.staging", f"lies in {lies}, the dataset in {where}: BigQuery loads from its own place only",
                               "take a bucket in the dataset's location"))
    return found


def _restricted(setting: Setting) -> list[Fault]:
    """The dataset for values in clear lies where the job runs."""
    name = setting.option("destination").removeprefix("bq://").rpartition(".")[0]
    try:
        found = asked(lambda: setting.launcher.bigquery.get_dataset(name, retry=None, timeout=setting.launcher.seconds))
    except exceptions.NotFound:
        return [Fault(f"bq://{name}", "is no dataset", "make one for those alone who may see the values (infra/ makes one)")]
    where = str(found.location or "").lower()
    if together(where, setting.profile.region):
        return []
    return [Fault(f"bq://{name}", f"lies in {where}, the job runs in {setting.profile.region}", "keep the values where their tables are")]


def keys_and_dlp(setting: Setting) -> list[Fault]:
    """DLP, and the keys that wrap the policy's, lie where the job runs. The job's own key does: a profile is not read otherwise."""
    region, found = setting.profile.region, list[Fault]()
    if setting.option("engine") != "dlp":
        return found
    place = setting.option("location")
    if not together(place, region):
        found.append(Fault(f"{setting.where}: parameters.location", f"DLP is asked in {place}, the job runs in {region}", f"give location: {region}"))
    wrapped = sorted(set(_KEY.findall(setting.contract.deidentify))) if setting.contract else []
    found += [Fault("deidentify.json", f"its keys are wrapped by one in {lies}, DLP is asked in {place}", "wrap them by a key in DLP's location")
              for lies in wrapped if lies not in (place, "global")]
    return found


def template(setting: Setting) -> list[Fault]:
    """The spec is there, launches the image that the profile names, and knows the parameters."""
    path = setting.profile.template
    match = BUCKET.fullmatch(path)
    assert match  # the profile's pattern
    try:
        content = asked(lambda: setting.launcher.objects.bucket(match[1]).blob(match[2]).download_as_bytes(timeout=setting.launcher.seconds, retry=None))
    except exceptions.NotFound:
        return [Fault(path, "is not there", f"write it: penstock spec --job={setting.job} --image={setting.profile.image} --output={path}")]
    return [fault for fault in judged(setting.profile, content) if fault.where.removeprefix("parameters.") not in setting.wanted.amiss]


def image(setting: Setting) -> list[Fault]:
    """The image runs this job, and was built from the requirements.lock that is here: its configuration says so."""
    said = _configuration(setting)
    runs = next((value for name, _, value in (one.partition("=") for one in said.get("Env") or ()) if name == "PENSTOCK_JOB"), setting.job)
    if runs != setting.job:
        return [Fault(f"{setting.where}: image", f"is that of {runs}", f"give {setting.job} its own, under jobs: (make image JOB={setting.job})")]
    if not setting.lock.is_file():
        raise NotChecked(f"there is no {setting.lock.name} here to hold it against")
    labels = said.get("Labels") or {}
    if LOCK_LABEL not in labels:
        raise NotChecked(f"the image has no label {LOCK_LABEL}")
    if labels[LOCK_LABEL] != hashlib.sha256(setting.lock.read_bytes()).hexdigest():
        return [Fault(f"{setting.where}: image", f"was built from another {setting.lock.name} than the one here",
                      "build and push it anew, or check out what it was built from")]
    return []


def _configuration(setting: Setting) -> dict[str, Any]:
    """What the image says of itself: its Env and Labels. Raises Misconfigured, NotChecked."""
    host, _, rest = setting.profile.image.partition("/")
    repository, _, digest = rest.partition("@")
    manifest = _registry(setting, host, f"v2/{repository}/manifests/{digest}", digest)
    if "manifests" in manifest:  # several platforms: the workers' is this one
        parts = [m for m in manifest["manifests"] if m.get("platform", {}).get("architecture") == "amd64"]
        if not parts:
            raise Misconfigured([Fault(f"{setting.where}: image", "has no part for amd64", "build it for linux/amd64")])
        manifest = _registry(setting, host, f"v2/{repository}/manifests/{parts[0]['digest']}", parts[0]["digest"])
    config = str(manifest.get("config", {}).get("digest", ""))
    said: dict[str, Any] = _registry(setting, host, f"v2/{repository}/blobs/{config}", config).get("config", {})
    return said


def _registry(setting: Setting, host: str, path: str, digest: str) -> dict[str, Any]:
    """A manifest, or a configuration, by its digest. https://github.com/opencontainers/distribution-spec/blob/main/spec.md"""
    accept = ", ".join(("application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
                        "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json"))
    url = setting.launcher.url(host, path)
    try:
        answer = asked(lambda: answered(setting.launcher.session.get(url, timeout=setting.launcher.seconds, headers={"Accept": accept})))
    except exceptions.NotFound:
        raise Misconfigured([Fault(f"{setting.where}: image", "is not in its registry", "push it, or correct the digest")]) from None
    if "sha256:" + hashlib.sha256(answer.content).hexdigest() != digest:
        raise Misconfigured([Fault(f"{setting.where}: image", "the registry's answer is not what the digest names", "push it anew")])
    found = answer.json()
    return found if isinstance(found, dict) else {}
