"""penstock check: everything that can be known before a launch, all at once. It reads, and changes nothing."""

import json
import os
from collections.abc import Mapping

from pipelines.launch.checks import every
from pipelines.launch.checks.setting import NOT_CHECKED, Result, Setting
from pipelines.launch.profile import read
from pipelines.tools.options import CheckOptions


def run(options: CheckOptions) -> int:
    """Prints a line a check. Exit code 0 where nothing is wrong, 2 where something is; what could not be checked is told, and is no fault."""
    found = every.results(setting_of(options, os.environ))
    print(json.dumps(as_json(options, found)) if options.json else "\n".join([*every.told(found), "", every.summed(found)]))
    return every.exit_code(found)


def setting_of(options: CheckOptions, environment: Mapping[str, str]) -> Setting:
    """The launch. Raises Misconfigured where the profile cannot be read as one."""
    return every.setting(options.job, options.profile, read(options.profile, options.job), environment, endpoint=options.endpoint, lock=options.lock,
                         rate=options.rate)


def as_json(options: CheckOptions, found: list[Result]) -> dict[str, object]:
    """The results as plain data."""
    return {"job": options.job, "profile": options.profile, "faults": sum(len(r.faults) for r in found),
            "not_checked": sum(r.state == NOT_CHECKED for r in found),
            "checks": [{"name": r.name, "state": r.state, "reason": r.reason,
                        "faults": [{"where": f.where, "problem": f.problem, "remedy": f.remedy} for f in r.faults]} for r in found]}
