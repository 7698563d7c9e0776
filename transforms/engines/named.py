"""Templates that DLP keeps, by resource name: `projects/P/locations/L/deidentifyTemplates/T`.

They are read once, while the pipeline is built, and must say what the contract says. Workers send the contract's own
text, so that a template that is changed in the middle of a run does not mix two policies in one table.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.cloud.dlp_v2 import DlpServiceClient, types

from schemas.contract import Contract
from schemas.errors import Fault
from schemas.templates import deidentify_template, inspect_template

T = TypeVar("T", types.InspectTemplate, types.DeidentifyTemplate)
SECONDS = 30.0
_NAME = r"(projects|organizations)/[^/]+/(locations/[^/]+/)?{}/[A-Za-z0-9_-]{{1,100}}"


@dataclass(frozen=True)
class Version:
    """Which state of a template a run used. updated: RFC 3339, UTC."""

    name: str
    updated: str


@dataclass(frozen=True)
class Read:
    """What reading the named templates gave."""

    versions: tuple[Version, ...]
    faults: tuple[Fault, ...]


def read(client: DlpServiceClient, contract: Contract, inspect: str, deidentify: str) -> Read:
    """Reads the templates of these names ("" for none) and compares them with the contract's."""
    versions: list[Version] = []
    faults: list[Fault] = []
    if inspect:
        template = _one(lambda: client.get_inspect_template(name=inspect, retry=None, timeout=SECONDS), inspect, "inspectTemplates",
                        "--inspect_template", faults)
        if template is not None:
            own = inspect_template(contract.inspect, contract.folder).inspect_config
            _compared(template, template.inspect_config == own, "--inspect_template", "inspect.json", versions, faults)
    if deidentify:
        template = _one(lambda: client.get_deidentify_template(name=deidentify, retry=None, timeout=SECONDS), deidentify,
                        "deidentifyTemplates", "--deidentify_template", faults)
        if template is not None:
            policy = deidentify_template(contract.deidentify, contract.folder).deidentify_config
            _compared(template, template.deidentify_config == policy, "--deidentify_template", "deidentify.json", versions, faults)
    return Read(tuple(versions), tuple(faults))


def _one(get: Callable[[], T], name: str, collection: str, option: str, faults: list[Fault]) -> T | None:
    if not re.fullmatch(_NAME.format(collection), name):
        faults.append(Fault(option, "is not the name of a template", f"write projects/P/locations/L/{collection}/T"))
        return None
    try:
        return get()
    except (GoogleAPICallError, RetryError) as error:
        code = getattr(error, "grpc_status_code", None)
        faults.append(Fault(option, f"cannot be read: {code.name if code else 'no answer'}",
                            "check the name, and that the caller has roles/dlp.user"))
        return None


def _compared(template: types.InspectTemplate | types.DeidentifyTemplate, same: bool, option: str, file: str,
              versions: list[Version], faults: list[Fault]) -> None:
    if same:
        versions.append(Version(template.name, template.update_time.isoformat() if template.update_time else ""))
    else:
        faults.append(Fault(option, f"says something else than the contract's {file}",
                            "bring the two to one text: the tables' types and the policy digest follow from the contract"))
