"""What jobs check before they start."""

from collections.abc import Callable
from typing import TypeVar

from apache_beam.options.pipeline_options import PipelineOptions

from schemas.errors import Fault, Misconfigured

T = TypeVar("T")


class Faults:
    """Gathers the faults of several checks, so that a user hears of all of them at once."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    def of(self, check: Callable[[], T]) -> T | None:
        """What the check answers; None where it raises Misconfigured, whose faults are kept."""
        try:
            return check()
        except Misconfigured as error:
            self.found += error.faults
            return None

    def stop(self) -> None:
        """Raises Misconfigured where there are faults."""
        if self.found:
            raise Misconfigured(dict.fromkeys(self.found))


def beam_options(runner: str, arguments: list[str]) -> PipelineOptions:
    """Beam's options. Raises Misconfigured for a runner or a mode that jobs do not run on."""
    found = PipelineOptions([*arguments, "--no_save_main_session"])
    faults = []
    if runner not in ("DirectRunner", "FnApiRunner"):
        faults.append(Fault("--runner", f"{runner} does not run this job", "leave it out: DirectRunner is FnApiRunner in one process"))
    given = found.get_all_options()
    if given.get("direct_running_mode") not in (None, "in_memory") or given.get("direct_num_workers", 1) != 1:
        faults.append(Fault("--direct_running_mode", "several worker processes gain nothing here, and FnApiRunner hangs when one dies",
                            "leave it out"))
    if faults:
        raise Misconfigured(faults)
    return found
