"""Checks that ask no one: the contract, the parameters, the quotas on paper, and what would ride along from this machine."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from pipelines.launch.checks.clients import NotChecked
from pipelines.launch.checks.setting import Setting
from pipelines.options import StreamOptions
from pipelines.plan import figures
from pipelines.plan.reckoning import Rate, ground, reckon
from pipelines.plan.sample import measure
from schemas.errors import Fault, Misconfigured

EMULATORS = ("PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST", "BIGQUERY_STORAGE_EMULATOR_HOST", "SECRET_MANAGER_EMULATOR_HOST",
             "PENSTOCK_KEYS")
"""Variables that lead clients of Google's, or jobs of ours, to this machine."""
_PLACEHOLDER = b"placeholder"


def contract(setting: Setting) -> list[Fault]:
    """The contract is whole."""
    if setting.wanted.unasked:
        raise NotChecked("; ".join(map(str, setting.wanted.unasked)))
    if setting.contract is None and not setting.wanted.contract_faults:
        raise NotChecked("the parameters name none")
    return list(setting.wanted.contract_faults)


def parameters(setting: Setting) -> list[Fault]:
    """The profile's parameters are options of the job, and reach what its workers reach. What would ride along has its own check."""
    return [_located(setting, fault) for fault in setting.wanted.faults if not _here_only(fault)]


def riding_along(setting: Setting) -> list[Fault]:
    """Nothing leads a launch, or the launched job, to an emulator or to keys of this machine."""
    found = [Fault(name, "is set here: it would lead the launch to an emulator, or to keys of this machine", f"unset {name}")
             for name in EMULATORS if setting.environment.get(name)]
    return found + [_located(setting, fault) for fault in setting.wanted.faults if _here_only(fault)]


def _located(setting: Setting, fault: Fault) -> Fault:
    return Fault(f"{setting.where}: {fault.where}", fault.problem, fault.remedy)


def _here_only(fault: Fault) -> bool:
    """Whether it is one of a parameter that could lead to this machine."""
    name = fault.where.removeprefix("--").removeprefix("parameters.")
    return name in ("keys", "allow_unwrapped_keys") or name.endswith("_endpoint")


def placeholders(setting: Setting) -> list[Fault]:
    """What was copied from an example was filled in: the image's digest, and the wrapped keys of the templates that DLP is sent."""
    if setting.launcher.away:
        raise NotChecked("a Dataflow on this machine takes an example as it is")
    found = []
    if set(setting.profile.image.rpartition(":")[2]) == {"0"}:
        found.append(Fault(f"{setting.where}: image", "has a digest of zeros", "give the digest of the image that was pushed"))
    if setting.contract is not None and setting.option("engine") == "dlp":
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
        raise NotChecked("no rate is given: say rate: in the profile (or --rate to `penstock check`)")
    if setting.wanted.faults or not isinstance(setting.wanted.options, StreamOptions):
        raise NotChecked("the parameters are at fault")
    whole = setting.whole()
    try:
        on = ground(setting.wanted.options, setting.profile, setting.where)
        plan = reckon(whole, measure(whole), Rate(setting.rate), setting.wanted.options, on)
    except Misconfigured as error:
        raise NotChecked(f"it cannot be planned: {'; '.join(map(str, error.faults))}") from None
    found = [Fault(f"quota {n.quota.name}", f"{setting.rate:,} events/s need {n.needed:,.0f} {n.quota.unit}, given are {n.quota.given:,.0f}", n.quota.remedy)
             for n in plan.needs if n.share is not None and n.share > 1]
    unknown = [n.quota.name for n in plan.needs if n.share is None]
    if unknown and not found:
        raise NotChecked(f"the others suffice, but nobody says what is given of {', '.join(unknown)}: put it under quotas: in the profile")
    return found
