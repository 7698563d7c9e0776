"""Whether the launcher and the job's service account may do what they must: testIamPermissions of each resource of a launch."""

import re
from collections.abc import Callable, Iterator

from google.api_core import exceptions

from pipelines.launch.checks.clients import NotChecked, bucket_of
from pipelines.launch.checks.permissions import PROCESSES, RUNS_AS, Grant
from pipelines.launch.checks.setting import Check, Setting
from pipelines.sinks.bigquery import dataset
from schemas import bigquery
from schemas.errors import Fault, Misconfigured

_IMAGE = re.compile(r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[^/]+)/(?P<repository>[^/@]+)/.*")
_SECRET = re.compile(r"(projects/[^/]+/(?:locations/[^/]+/)?secrets/[^/]+)/versions/[^/]+")
_KEY = re.compile(r"(projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+)/cryptoKeyVersions/[0-9]+")
Resource = tuple[str, str]  # kind (of clients.granted) and name


def checks(setting: Setting) -> Iterator[tuple[str, Check]]:
    """(name, check) for each resource that a process of this launch needs something on."""
    engine = setting.wanted.options.engine
    for process in ("launcher", RUNS_AS[setting.job]):
        wanted: dict[str, list[Grant]] = {}
        for grant in PROCESSES[process]:
            if grant.resource == "contract" and not bucket_of(_contract(setting)):
                continue
            if setting.job in (grant.jobs or (setting.job,)) and grant.engine in ("", engine):
                wanted.setdefault(grant.resource, []).append(grant)
        for name, grants in wanted.items():
            yield f"{process}: {name}", _check(process, name, grants)


def _check(process: str, name: str, grants: list[Grant]) -> Callable[[Setting], list[Fault]]:
    permissions = tuple(dict.fromkeys(permission for grant in grants for permission in grant.permissions))
    roles = ", ".join(dict.fromkeys(grant.role for grant in grants))

    def check(setting: Setting) -> list[Fault]:
        clients = setting.launcher if process == "launcher" else setting.account
        who = "whoever launches" if process == "launcher" else setting.profile.service_account
        found = []
        for kind, resource in resources(setting, name):
            try:
                missing = [p for p in permissions if p not in clients.granted(kind, resource, permissions)]
            except exceptions.NotFound:
                if name in ("audit", "destination"):
                    raise NotChecked("the table is not there yet: the job makes it") from None
                found.append(Fault(resource, "is not there", "make it (infra/ does, tables by penstock tables --apply), or correct the profile"))
                continue
            if missing:
                found.append(Fault(resource, f"{who} lacks {', '.join(missing)}", f"grant {roles}"))
        return found

    return check


def resources(setting: Setting, name: str) -> list[Resource]:
    """The resources that a name of the table stands for in this launch. Raises NotChecked where the profile does not tell."""
    profile = setting.profile
    if name == "project":
        return [("project", profile.project)]
    if name == "contract":
        return [("bucket", bucket_of(_contract(setting)))]
    if name in ("staging", "temp", "template"):
        return [("bucket", bucket_of(getattr(profile, name)))]
    if name == "service account":
        return [("account", profile.service_account)]
    if name == "repository":
        match = _IMAGE.fullmatch(profile.image)
        if not match:
            raise NotChecked("the image is not in Artifact Registry")
        return [("repository", f"projects/{match['project']}/locations/{match['location']}/repositories/{match['repository']}")]
    if name == "tables":
        return [("table", table) for table in _tables(setting, list(bigquery.tables(setting.contract)) if setting.contract else ["events", "failures", "runs"])]
    if name in ("asked tables", "audit"):
        return [("table", table) for table in _tables(setting, ["events"] if name == "asked tables" else list(bigquery.audit()))]
    if name == "destination":
        return [("table", setting.option("destination").removeprefix("bq://"))]
    if name == "subscription":
        return [("subscription", setting.option("subscription"))]
    if name in ("keys", "private key"):
        match = (_SECRET if name == "keys" else _KEY).fullmatch(setting.option(name.replace(" ", "_")))
        if not match:
            raise NotChecked(f"--{name.replace(' ', '_')} names no {'secret' if name == 'keys' else 'key of Cloud KMS'}")
        return [("secret" if name == "keys" else "key", match[1])]
    paths = setting.option("input").split(",") if name == "input" else [setting.option("staging") or profile.staging]
    buckets = sorted({bucket_of(path.strip()) for path in paths} - {""})
    if not buckets:
        raise NotChecked("no gs:// path is named")
    return [("bucket", bucket) for bucket in buckets]


def _contract(setting: Setting) -> str:
    return dict(setting.profile.parameters).get("contract", "")


def output_of(setting: Setting) -> str:
    """What the job's tables are: bq://PROJECT.DATASET, or what else stands there."""
    return str(setting.option("failures") if setting.job == "replay" else setting.option("output"))


def _tables(setting: Setting, names: list[str]) -> list[str]:
    try:
        named = dataset(output_of(setting))
    except Misconfigured:
        raise NotChecked("the output is no dataset of BigQuery") from None
    return [f"{named.project}.{named.name}.{name}" for name in names]
