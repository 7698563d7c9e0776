"""Checks that ask no one: the contract, the parameters, the quotas on paper, and what would ride along from this machine."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from pipelines.__main__ import COMMANDS
from pipelines.flags import parse
from pipelines.launch import request as launching
from pipelines.launch.checks.clients import NotChecked
from pipelines.launch.checks.setting import Setting
from pipelines.launch.profile import Profile
from pipelines.launch.request import NOT_ON_DATAFLOW
from pipelines.plan import figures
from pipelines.tools.options import PlanOptions
from pipelines.tools.plan import reckon
from schemas.errors import Fault
from transforms.channel import is_loopback

EMULATORS = ("PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST", "BIGQUERY_STORAGE_EMULATOR_HOST", "SECRET_MANAGER_EMULATOR_HOST",
             "PENSTOCK_KEYS")
"""Variables that lead clients of Google's, or jobs of ours, to this machine."""
_PLACEHOLDER = b"placeholder"


def job_options(job: str, profile: Profile, endpoint: str = "") -> Any:
    """A profile's parameters as the job's options. Raises Misconfigured with all that is wrong with them.

    endpoint: of Cloud Storage, where it is not the usual one.
    """
    if job not in NOT_ON_DATAFLOW:
        return launching.job_options(job, profile, endpoint)[0]
    options, _ = parse(COMMANDS[job].options, [f"--{name}={value}" for name, value in profile.parameters])
    return options


def contract(setting: Setting) -> list[Fault]:
    """The contract is whole."""
    if setting.contract is None and not setting.contract_faults:
        raise NotChecked("the parameters name none" + ("; the tables do" if setting.job == "replay" else ""))
    return list(setting.contract_faults)


def parameters(setting: Setting) -> list[Fault]:
    """The profile's parameters are options of the job, and reach what its workers reach. The contract, and what would ride along, have their own checks."""
    riding = {fault.where.rpartition(".")[2] for fault in riding_along(setting)}
    return [Fault(f"{setting.where}: {fault.where}", fault.problem, fault.remedy) for fault in setting.option_faults
            if fault not in setting.contract_faults and fault.where.removeprefix("--").removeprefix("parameters.") not in riding]


def riding_along(setting: Setting) -> list[Fault]:
    """Nothing leads a launch, or the launched job, to an emulator or to keys of this machine."""
    given = dict(setting.profile.parameters)
    found = [Fault(name, "is set here: it would lead the launch to an emulator, or to keys of this machine", f"unset {name}")
             for name in EMULATORS if setting.environment.get(name)]
    for name, value in given.items():
        if name.endswith("_endpoint") and is_loopback(value.split("://")[-1].rstrip("/")):
            found.append(Fault(f"{setting.where}: parameters.{name}", "leads to the worker itself: no emulator is there", "leave it out"))
    if given.get("allow_unwrapped_keys", "false") != "false":
        found.append(Fault(f"{setting.where}: parameters.allow_unwrapped_keys", "takes templates that hold a key in clear", "leave it out"))
    if "keys" in given and not given["keys"].startswith("projects/"):
        found.append(Fault(f"{setting.where}: parameters.keys", "is a folder: no worker has it", "give projects/P/secrets/S/versions/N"))
    return found


def placeholders(setting: Setting) -> list[Fault]:
    """What was copied from an example was filled in: the image's digest, and the wrapped keys of the templates that DLP is sent."""
    found = []
    if set(setting.profile.image.rpartition(":")[2]) == {"0"}:
        found.append(Fault(f"{setting.where}: image", "has a digest of zeros", "give the digest of the image that was pushed"))
    if setting.contract is not None and dict(setting.profile.parameters).get("engine") == "dlp":
        named = sorted(set(_unwrappable(json.loads(setting.contract.deidentify))))
        found += [Fault(f"{setting.contract.folder}/deidentify.json", f"holds placeholders for keys wrapped by {name}",
                        "wrap 32 random bytes by a key of your own, and put them there") for name in named]
    return found


def _unwrappable(node: Any) -> Iterator[str]:
    """Names of the KMS keys beside wrapped keys that are words of an example."""
    if isinstance(node, dict):
        wrapped = node.get("kmsWrapped")
        if isinstance(wrapped, dict) and base64.b64decode(str(wrapped.get("wrappedKey", ""))).startswith(_PLACEHOLDER):
            yield str(wrapped.get("cryptoKeyName", ""))
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _unwrappable(child)


def quotas(setting: Setting) -> list[Fault]:
    """What `penstock plan` says is needed at the rate lies within what is given."""
    figures.quotas(setting.profile.region, dict(setting.profile.quotas), None, 1, setting.where)  # names that no plan knows
    if setting.job != "stream":
        raise NotChecked("only streams are planned")
    if not setting.rate:
        raise NotChecked("no rate is given: say rate: in the profile, or --rate=EVENTS_A_SECOND")
    plan = reckon(PlanOptions(contract=dict(setting.profile.parameters).get("contract", ""), rate=setting.rate, profile=setting.where,
                              storage_endpoint=setting.launcher.endpoint))
    found = [Fault(f"quota {n.quota.name}", f"{setting.rate:,} events/s need {n.needed:,.0f} {n.quota.unit}, given are {n.quota.given:,.0f}", n.quota.remedy)
             for n in plan.needs if n.share is not None and n.share > 1]
    unknown = [n.quota.name for n in plan.needs if n.share is None]
    if unknown and not found:
        raise NotChecked(f"the others suffice, but nobody says what is given of {', '.join(unknown)}: put it under quotas: in the profile")
    return found
