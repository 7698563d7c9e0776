"""Every check of a launch: what `penstock check` tells, and what `penstock launch` refuses by."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.api_core import exceptions

from pipelines.launch.checks import differences, ground, here, places, roles
from pipelines.launch.checks.clients import Clients, NotChecked
from pipelines.launch.checks.setting import FAULT, NOT_CHECKED, OK, Check, Result, Setting
from pipelines.launch.profile import Profile
from pipelines.launch.request import wanted
from schemas.errors import Fault, Misconfigured

LOCK = "requirements.lock"
CHECKS: tuple[tuple[str, Check], ...] = (
    ("contract", here.contract), ("parameters", here.parameters), ("emulators and local keys", here.riding_along), ("placeholders", here.placeholders),
    ("locations of keys and DLP", places.keys_and_dlp), ("quotas", here.quotas), ("locations of buckets", places.buckets),
    ("location of the dataset", places.tables), ("subnetwork", ground.subnetwork), ("who uses the job's key", ground.job_key),
    ("template", places.template), ("image and lock file", places.image), ("tables", differences.tables))


def setting(job: str, where: str, profile: Profile, environment: Mapping[str, str] = os.environ, *, endpoint: str = "", storage_endpoint: str = "",
            away: str = "", lock: str = "", rate: int = 0) -> Setting:
    """The launch of a job by the profile that was read from `where`. endpoint, storage_endpoint, away: as for Clients; lock, rate: in place of
    requirements.lock, and of the profile's. Reads the contract. Raises Misconfigured for an endpoint that is not on this machine.
    """
    launcher = Clients(profile.project, endpoint, storage_endpoint=storage_endpoint, away=away)
    account = Clients(profile.project, endpoint, profile.service_account, away=away)
    return Setting(job, where, profile, wanted(job, profile, storage_endpoint or endpoint), environment, launcher, account, Path(lock or LOCK),
                   rate or profile.rate)


def checks(setting: Setting) -> Iterator[tuple[str, Check]]:
    """Every check of a launch by its name, those first that ask no one."""
    yield from CHECKS
    yield from roles.checks(setting)


def results(setting: Setting) -> list[Result]:
    """What all of them find."""
    return [answer(name, check, setting) for name, check in checks(setting)]


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


def exit_code(found: list[Result]) -> int:
    """0 where nothing is wrong, 2 where something is."""
    return 2 if any(result.faults for result in found) else 0


def told(found: list[Result]) -> Iterator[str]:
    """A line for each check, and one more for each fault."""
    for result in found:
        yield f"{result.state:12} {result.name}{f': {result.reason}' if result.reason else ''}"
        yield from (f"{'':12}   {fault}" for fault in result.faults)


def summed(found: list[Result]) -> str:
    """So many checks, and what came of them."""
    states = [result.state for result in found]
    faults = sum(len(result.faults) for result in found)
    return f"{len(found)} checks: {states.count(OK)} ok, {faults} fault{'s' * (faults != 1)}, {states.count(NOT_CHECKED)} not checked"
