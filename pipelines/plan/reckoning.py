"""A plan, reckoned: what a stream of a contract's events needs at a rate, beside what is given, and what a month of it costs. Nobody is asked."""

from typing import NamedTuple

from pipelines.launch.profile import Profile
from pipelines.options import StreamOptions
from pipelines.plan import figures
from pipelines.plan.model import Cost, DlpShare, Load, Machine, Measured, Need, Quota, costs, needs, workers
from pipelines.plan.sample import Sample
from pipelines.starting import Faults
from schemas.contract import Contract

MACHINE, REGION = "n2-standard-2", "us-central1"


class Rate(NamedTuple):
    """What comes in. events: a second; bytes: of one as it is published, 0 for those of the contract's sample; cpu: seconds for 1,000
    events, in place of the benchmark's, 0 for the benchmark's.
    """

    events: int
    bytes: int = 0
    cpu: float = 0.0


class Plan(NamedTuple):
    """A plan. measured_here: event_bytes are those of the contract's sample; likeness: the contract whose CPU time was taken, or --cpu."""

    contract: Contract
    load: Load
    constants: Measured
    machine: Machine
    machine_type: str
    workers: int
    needs: list[Need]
    costs: list[Cost]
    measured_here: bool
    likeness: str


class Ground(NamedTuple):
    """What a stream runs on, and what it is given. least: workers that are there whatever comes."""

    machine_type: str
    machine: Machine
    quotas: dict[str, Quota]
    least: int


def ground(stream: StreamOptions, profile: Profile | None = None, where: str = "--profile") -> Ground:
    """What the profile says; without one, a small machine and Google's published quotas. where: the profile's file, for faults.

    Raises Misconfigured with all that is wrong with the machine type and the quotas.
    """
    faults = Faults()
    machine_type = profile.machine_type if profile else MACHINE
    machine = faults.of(lambda: figures.machine(machine_type, profile.disk_gb if profile else 0, where))
    region, most = (profile.region, profile.max_workers) if profile else (REGION, None)
    quotas = faults.of(lambda: figures.quotas(region, _given(stream, profile), most, stream.shards, where))
    faults.stop()
    assert machine and quotas
    return Ground(machine_type, machine, quotas, profile.min_workers if profile else 1)


def reckon(contract: Contract, sample: Sample, rate: Rate, stream: StreamOptions, on: Ground) -> Plan:
    """The plan. sample: of the contract's events; stream: what of the job's options bears on it: engine, write, wait, shards."""
    constants = figures.measured(contract.name, stream.write, stream.shards, rate.cpu)
    scale = rate.bytes / sample.event_bytes if rate.bytes else 1.0
    load = Load(rate.events, rate.bytes or sample.event_bytes, sample.stored_bytes * scale, _scaled(sample.dlp, scale) if stream.engine == "dlp" else None,
                stream.wait.total_seconds(), stream.write, on.least)
    return Plan(contract, load, constants, on.machine, on.machine_type, workers(load, constants, on.machine), needs(load, constants, on.machine, on.quotas),
                costs(load, constants, on.machine, figures.prices()), not rate.bytes, "--cpu" if rate.cpu else figures.likeness(contract.name))


def _given(stream: StreamOptions, profile: Profile | None) -> dict[str, float]:
    """The quotas that the profile gives, and DLP's as the job is told it."""
    dlp = stream.requests_per_minute or (100 if ".rep." in stream.dlp_endpoint else 0)
    own = {"dlp_requests_per_minute": float(dlp)} if stream.engine == "dlp" and dlp else {}
    return own | dict(profile.quotas if profile else ())


def _scaled(share: DlpShare, by: float) -> DlpShare:
    return DlpShare(share.requests * by, share.inspected_bytes * by, share.transformed_bytes * by)
