"""What checks look at, and what they answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.launch.checks.clients import Clients
from pipelines.launch.profile import Profile
from schemas.contract import Contract
from schemas.errors import Fault

OK, FAULT, NOT_CHECKED = "ok", "fault", "not checked"


@dataclass(frozen=True)
class Setting:
    """One launch. options: the job's, as the profile's parameters say them, None where they do not; contract: None where it is not whole
    or the job takes none; launcher, account: clients as whoever checks, and as the job's service account; lock: requirements.lock;
    contract_faults, option_faults: why there is no contract, or are no options.
    """

    job: str
    where: str
    profile: Profile
    options: Any
    contract: Contract | None
    environment: Mapping[str, str]
    launcher: Clients
    account: Clients
    lock: Path
    rate: int = 0
    contract_faults: tuple[Fault, ...] = ()
    option_faults: tuple[Fault, ...] = ()

    def option(self, name: str) -> Any:
        """An option of the job, "" where the job has none of that name or the options are at fault."""
        return getattr(self.options, name, "")


Check = Callable[[Setting], list[Fault]]


class Result(NamedTuple):
    """What a check found. state: OK, FAULT or NOT_CHECKED; reason: why it was not checked."""

    name: str
    state: str
    faults: tuple[Fault, ...] = ()
    reason: str = ""
