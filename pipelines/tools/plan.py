"""penstock plan: what a stream on Dataflow needs at a rate, beside what the project has, and what a month of it costs. On paper: nothing is asked."""

import json
from typing import Any

from pipelines.contracts import load
from pipelines.flags import attempt
from pipelines.launch.profile import read
from pipelines.options import StreamOptions
from pipelines.plan.model import Need, raised_first
from pipelines.plan.reckoning import Plan, Rate, ground, reckon
from pipelines.plan.sample import measure
from pipelines.starting import Faults
from pipelines.tools.options import PlanOptions

NOT_COUNTED = ("queries", "windows rows", "network between regions and zones", "logs and metrics", "Cloud Storage of staging and templates",
               "Artifact Registry", "snapshots", "discounts and taxes")


def run(options: PlanOptions) -> int:
    """Prints the plan. Exit code 0 whatever it says: `penstock check` holds a launch against it."""
    found = plan_of(options)
    print(json.dumps(as_json(found)) if options.json else "\n".join(told(found)))
    return 0


def plan_of(options: PlanOptions) -> Plan:
    """The plan. Raises Misconfigured with all that is wrong with the contract, its sample or the profile."""
    faults, where = Faults(), options.profile or "--profile"
    contract = faults.of(lambda: load(options.contract, storage_endpoint=options.storage_endpoint))
    sample = faults.of(lambda: measure(contract)) if contract else None
    profile = faults.of(lambda: read(options.profile, "stream")) if options.profile else None
    # What is missing has no part in a plan.
    given = {"contract": "-", "subscription": "projects/-/subscriptions/-", "output": "-"} | dict(profile.parameters if profile else ())
    stream, _, untaken = attempt(StreamOptions, [f"--{name}={value}" for name, value in given.items()])
    faults.found += untaken
    on = faults.of(lambda: ground(stream, profile, where))
    faults.stop()
    assert contract and sample and on
    return reckon(contract, sample, Rate(options.rate, options.bytes, options.cpu), stream, on)


def told(plan: Plan) -> list[str]:
    """The plan in words and two tables."""
    load_, first = plan.load, raised_first(plan.needs)
    engine = "DLP" if load_.dlp else "the local engine"
    lines = [f"{plan.contract.name} {plan.contract.version}: {load_.rate:,} events/s of {load_.event_bytes:,.0f} bytes "
             f"({'its sample' if plan.measured_here else '--bytes'}), rows of {load_.stored_bytes:,.0f} bytes, de-identified by {engine}",
             f"{plan.workers:,} worker{'s' * (plan.workers > 1)} of {plan.machine_type}: {plan.constants.cpu_seconds * 1e6:,.0f} us of CPU an event"
             + (f" (as {plan.likeness}: no benchmark ran this contract, give --cpu)" if plan.likeness not in ("--cpu", plan.contract.name) else "")
             + f", {plan.constants.busy:.0%} of each vCPU planned for", "",
             f"{'of':36} {'needed':>18} {'given':>18} {'share':>10}"]
    for need in plan.needs:
        given = "?" if need.quota.given is None else f"{need.quota.given:,.0f}"
        share = "?" if need.share is None else f"{need.share:.1%}" if need.share < 10 else f"{need.share:,.0f} x"
        lines.append(f"{need.quota.name:36} {_number(need.needed):>18} {given:>18} {share:>10}")
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


def _share(need: Need) -> float | None:
    """As JSON has it, which knows no infinity: None where nothing is given, or nobody knows what is."""
    return need.share if need.quota.given else None


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain data."""
    load_ = plan.load
    return {
        "contract": plan.contract.name, "version": plan.contract.version, "rate": load_.rate, "event_bytes": load_.event_bytes,
        "stored_bytes": load_.stored_bytes, "engine": "dlp" if load_.dlp else "local", "write": load_.write, "wait_seconds": load_.wait,
        "machine_type": plan.machine_type, "workers": plan.workers,
        "cpu_seconds_per_1000": plan.constants.cpu_seconds * 1_000, "cpu_from": plan.likeness,
        "needs": [{"name": n.quota.name, "needed": n.needed, "given": n.quota.given, "share": _share(n), "unit": n.quota.unit, "source": n.quota.source}
                  for n in plan.needs],
        "raise_first": [{"name": n.quota.name, "share": _share(n), "remedy": n.quota.remedy} for n in raised_first(plan.needs)],
        "costs": [{"name": c.price.name, "part": c.price.part, "quantity": c.quantity, "unit": c.price.unit, "usd": round(c.dollars, 2)}
                  for c in plan.costs],
        "usd": round(sum(c.dollars for c in plan.costs), 2), "not_counted": list(NOT_COUNTED),
    }
