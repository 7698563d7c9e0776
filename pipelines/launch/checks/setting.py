"""What checks look at, and what they answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.launch.checks.clients import Clients, NotChecked
from pipelines.launch.profile import Profile
from pipelines.launch.request import Wanted
from schemas.contract import Contract
from schemas.errors import Fault

OK, FAULT, NOT_CHECKED = "ok", "fault", "not checked"


@dataclass(frozen=True)
class Setting:
    """One launch. where: the profile's file; wanted: what its parameters say; launcher, account: clients as whoever checks, and as the
    job's service account; lock: requirements.lock; rate: events a second that a stream must carry, 0 where nobody says.
    """

    job: str
    where: str
    profile: Profile
    wanted: Wanted
    environment: Mapping[str, str]
    launcher: Clients
    account: Clients
    lock: Path
    rate: int = 0

    @property
    def contract(self) -> Contract | None:
        """None where it is not whole, or could not be read."""
        return self.wanted.contract

    def whole(self) -> Contract:
        """The contract. Raises NotChecked where there is none."""
        if self.contract is None:
            raise NotChecked("the contract could not be read" if self.wanted.unasked else "the contract is not whole")
        return self.contract

    def option(self, name: str) -> Any:
        """An option of the job, "" where the job has none of that name. Raises NotChecked where what the profile gives for it is at fault."""
        if name in self.wanted.amiss:
            raise NotChecked("the parameters are at fault")
        return getattr(self.wanted.options, name, "")


Check = Callable[[Setting], list[Fault]]


class Result(NamedTuple):
    """What a check found. state: OK, FAULT or NOT_CHECKED; reason: why it was not checked."""

    name: str
    state: str
    faults: tuple[Fault, ...] = ()
    reason: str = ""
