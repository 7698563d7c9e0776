"""penstock plan: what a stream on Dataflow needs at a rate, beside what the project has, and what a month of it costs. On paper: nothing is asked."""

import json
from typing import Any, NamedTuple

from pipelines.contracts import load
from pipelines.flags import parse
from pipelines.launch.profile import Profile, read
from pipelines.options import StreamOptions
from pipelines.plan import figures
from pipelines.plan.model import Cost, DlpShare, Load, Machine, Measured, Need, costs, needs, raised_first, workers
from pipelines.plan.sample import measure
from pipelines.starting import Faults
from pipelines.tools.options import PlanOptions
from schemas.contract import Contract

MACHINE, REGION = "n2-standard-2", "us-central1"
NOT_COUNTED = ("queries", "windows rows", "network between regions and zones", "logs and metrics", "Cloud Storage of staging and templates",
               "Artifact Registry", "snapshots", "discounts and taxes")


class Plan(NamedTuple):
    """A plan, reckoned. measured_here: event_bytes are those of the contract's sample; likeness: the contract whose CPU time was taken."""

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


def run(options: PlanOptions) -> int:
    """Prints the plan. Exit code 0 whatever it says: `penstock check` holds a launch against it."""
    found = reckon(options)
    print(json.dumps(as_json(found)) if options.json else "\n".join(told(found)))
    return 0


def reckon(options: PlanOptions) -> Plan:
    """The plan. Raises Misconfigured with all that is wrong with the contract, its sample or the profile."""
    faults = Faults()
    contract = faults.of(lambda: load(options.contract, storage_endpoint=options.storage_endpoint))
    profile = faults.of(lambda: read(options.profile, "stream")) if options.profile else None
    sample = faults.of(lambda: measure(contract)) if contract else None
    where = options.profile or "--profile"
    machine_type = profile.machine_type if profile else MACHINE
    machine = faults.of(lambda: figures.machine(machine_type, profile.disk_gb if profile else 0, where))
    stream = faults.of(lambda: stream_of(profile))
    constants = figures.measured(contract.name if contract else "", stream.write if stream else "storage_write", stream.shards if stream else 1, options.cpu)
    given = dict(profile.quotas) if profile else {}
    if stream and stream.engine == "dlp" and "dlp_requests_per_minute" not in given:
        given |= {"dlp_requests_per_minute": float(stream.requests_per_minute)} if stream.requests_per_minute else (
            {"dlp_requests_per_minute": 100.0} if ".rep." in stream.dlp_endpoint else {})
    region, most = (profile.region, profile.max_workers) if profile else (REGION, None)
    quotas = faults.of(lambda: figures.quotas(region, given, most, constants.shards, where))
    faults.stop()
    assert contract and sample and machine and stream and quotas
    load_ = Load(options.rate, options.bytes or sample.event_bytes, sample.stored_bytes * (options.bytes / sample.event_bytes if options.bytes else 1.0),
                 _scaled(sample.dlp, options.bytes / sample.event_bytes if options.bytes else 1.0) if stream.engine == "dlp" else None,
                 stream.wait.total_seconds(), stream.write, profile.min_workers if profile else 1)
    likeness = "--cpu" if options.cpu else figures.likeness(contract.name)
    return Plan(contract, load_, constants, machine, machine_type, workers(load_, constants, machine), needs(load_, constants, machine, quotas),
                costs(load_, constants, machine, figures.prices()), not options.bytes, likeness)


def stream_of(profile: Profile | None) -> StreamOptions:
    """The stream's options as the profile has them; what is missing has no part in a plan. Raises Misconfigured."""
    given = {"contract": "-", "subscription": "projects/-/subscriptions/-", "output": "-"} | dict(profile.parameters if profile else ())
    return parse(StreamOptions, [f"--{name}={value}" for name, value in given.items()])[0]


def _scaled(share: DlpShare, by: float) -> DlpShare:
    return DlpShare(share.requests * by, share.inspected_bytes * by, share.transformed_bytes * by)


def told(plan: Plan) -> list[str]:
    """The plan in words and two tables."""
    load_, first = plan.load, raised_first(plan.needs)
    engine = "DLP" if load_.dlp else "the local engine"
    lines = [f"{plan.contract.name} {plan.contract.version}: {load_.rate:,} events/s of {load_.event_bytes:,.0f} bytes "
             f"({'its sample' if plan.measured_here else '--bytes'}), rows of {load_.stored_bytes:,.0f} bytes, de-identified by {engine}",
             f"{plan.workers:,} worker{'s' * (plan.workers > 1)} of {plan.machine_type}: {plan.constants.cpu_seconds * 1e6:,.0f} us of CPU an event"
             + (f" (as {plan.likeness}: no benchmark ran this contract, give --cpu)" if plan.likeness not in ("--cpu", plan.contract.name) else "")
             + f", {plan.constants.busy:.0%} of each vCPU planned for", "",
             f"{'of':36}{'needed':>18}{'given':>18}{'share':>9}"]
    for need in plan.needs:
        given = "?" if need.quota.given is None else f"{need.quota.given:,.0f}"
        share = "?" if need.share is None else f"{need.share:.1%}" if need.share < 10 else f"{need.share:,.0f} x"
        lines.append(f"{need.quota.name:36}{_number(need.needed):>18}{given:>18}{share:>9}")
    lines += ["", "to raise first:" if first else "to raise first: nothing; no known quota is filled to more than 80 %"]
    lines += [f"  {need.quota.name}, {need.share:.1%}: {need.quota.remedy}" for need in first]
    unknown = [need for need in plan.needs if need.share is None and need.quota.name != "max_workers"]
    if unknown:
        lines += ["not known; give them under quotas: in the profile:", *(f"  {n.quota.name}: {n.quota.unit}" for n in unknown)]
    lines += ["", f"{'a month at this rate, list prices, us-central1':48}{'quantity':>18} {'':13}{'USD':>12}"]
    lines += [f"{cost.price.part:48}{_number(cost.quantity):>18} {cost.price.unit:13}{cost.dollars:>12,.2f}" for cost in plan.costs]
    lines += [f"{'in all':48}{'':>18} {'':13}{sum(cost.dollars for cost in plan.costs):>12,.2f}", "",
              f"not counted: {', '.join(NOT_COUNTED)}", "docs/plan.md says which figures were measured, which were read, and which are from memory"]
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.2f}"


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain data."""
    load_ = plan.load
    return {
        "contract": plan.contract.name, "version": plan.contract.version, "rate": load_.rate, "event_bytes": load_.event_bytes,
        "stored_bytes": load_.stored_bytes, "engine": "dlp" if load_.dlp else "local", "write": load_.write, "wait_seconds": load_.wait,
        "machine_type": plan.machine_type, "workers": plan.workers,
        "cpu_seconds_per_1000": plan.constants.cpu_seconds * 1_000, "cpu_from": plan.likeness,
        "needs": [{"name": n.quota.name, "needed": n.needed, "given": n.quota.given, "share": n.share, "unit": n.quota.unit, "source": n.quota.source}
                  for n in plan.needs],
        "raise_first": [{"name": n.quota.name, "share": n.share, "remedy": n.quota.remedy} for n in raised_first(plan.needs)],
        "costs": [{"name": c.price.name, "part": c.price.part, "quantity": c.quantity, "unit": c.price.unit, "usd": round(c.dollars, 2)}
                  for c in plan.costs],
        "usd": round(sum(c.dollars for c in plan.costs), 2), "not_counted": list(NOT_COUNTED),
    }
