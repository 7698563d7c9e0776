"""penstock check: everything that can be known before a launch, all at once. It reads, and changes nothing."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.api_core import exceptions

from pipelines.contracts import load
from pipelines.launch.checks import differences, ground, here, places, roles
from pipelines.launch.checks.clients import Clients, NotChecked
from pipelines.launch.checks.setting import FAULT, NOT_CHECKED, OK, Check, Result, Setting
from pipelines.launch.profile import read
from pipelines.starting import Faults
from pipelines.tools.options import CheckOptions
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured

LOCK = "requirements.lock"


def run(options: CheckOptions, environment: Mapping[str, str] = os.environ) -> int:
    """Prints a line a check. Exit code 0 where nothing is wrong, 2 where something is; what could not be checked is told, and is no fault."""
    setting = setting_of(options, environment)
    results = [answer(name, check, setting) for name, check in checks(setting)]
    faults = [fault for result in results for fault in result.faults]
    if options.json:
        print(json.dumps(as_json(options, results)))
    else:
        print("\n".join(line for result in results for line in told(result)))
        unknown = sum(result.state == NOT_CHECKED for result in results)
        print(f"\n{len(results)} checks: {sum(r.state == OK for r in results)} ok, {len(faults)} fault{'s' * (len(faults) != 1)}, {unknown} not checked")
    return exit_code(results)


def exit_code(results: list[Result]) -> int:
    """0 where nothing is wrong, 2 where something is."""
    return 2 if any(result.faults for result in results) else 0


def setting_of(options: CheckOptions, environment: Mapping[str, str]) -> Setting:
    """The launch. Raises Misconfigured where the profile cannot be read as one."""
    profile = read(options.profile, options.job)
    options_, contract_ = Faults(), Faults()  # told by the checks of both
    given = options_.of(lambda: here.job_options(options.job, profile, options.endpoint))
    named = getattr(given, "contract", "") or dict(profile.parameters).get("contract", "")
    contract: Contract | None = contract_.of(lambda: load(named, storage_endpoint=options.endpoint)) if named else None
    return Setting(options.job, options.profile, profile, given, contract, environment, Clients(profile.project, options.endpoint),
                   Clients(profile.project, options.endpoint, profile.service_account), Path(options.lock or LOCK), options.rate or profile.rate,
                   tuple(contract_.found), tuple(options_.found))


def checks(setting: Setting) -> Iterator[tuple[str, Check]]:
    """Every check of a launch, those first that ask no one."""
    yield "contract", here.contract
    yield "parameters", here.parameters
    yield "emulators and local keys", here.riding_along
    yield "placeholders", here.placeholders
    yield "locations of keys and DLP", places.keys_and_dlp
    yield "quotas", here.quotas
    yield "locations of buckets", places.buckets
    yield "location of the dataset", places.tables
    yield "subnetwork", ground.subnetwork
    yield "who uses the job's key", ground.job_key
    yield "template", places.template
    yield "image and lock file", places.image
    yield "tables", differences.tables
    yield from roles.checks(setting)


def answer(name: str, check: Check, setting: Setting) -> Result:
    """What a check finds; whatever keeps it from looking is told as such."""
    try:
        faults = tuple(check(setting))
    except NotChecked as error:
        return Result(name, NOT_CHECKED, (), str(error))
    except Misconfigured as error:
        faults = error.faults
    except exceptions.NotFound:
        faults = (Fault(name, "what it asks for is not there", "make it, or correct the profile"),)
    return Result(name, FAULT if faults else OK, faults)


def told(result: Result) -> list[str]:
    """A line, and one more for each fault."""
    reason = f": {result.reason}" if result.reason else ""
    return [f"{result.state:12} {result.name}{reason}", *(f"{'':12}   {fault}" for fault in result.faults)]


def as_json(options: CheckOptions, results: list[Result]) -> dict[str, object]:
    """The results as plain data."""
    return {"job": options.job, "profile": options.profile, "faults": sum(len(r.faults) for r in results),
            "not_checked": sum(r.state == NOT_CHECKED for r in results),
            "checks": [{"name": r.name, "state": r.state, "reason": r.reason,
                        "faults": [{"where": f.where, "problem": f.problem, "remedy": f.remedy} for f in r.faults]} for r in results]}
