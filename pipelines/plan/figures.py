"""What a plan reckons with, from three files beside this one; each line of them says where it is from, and of which day.

kind: measured (by the command that it names), code (stands in this program), read (in the page named), secondary (others
quote the page), memory (not read again: hold it against the page), assumed, unknown (no figure: give your own).
"""

import json
import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.plan.model import Machine, Measured, Price, Quota
from schemas.errors import Fault, Misconfigured

MEASURED, QUOTAS, PRICES = "measured.json", "quotas.json", "prices.json"
KINDS = ("measured", "code", "read", "secondary", "memory", "assumed", "unknown")


class Origin(NamedTuple):
    """Where a figure is from: one of KINDS, the page or the command, and the day (ISO)."""

    name: str
    kind: str
    source: str
    date: str


@cache
def read(file: str) -> tuple[dict[str, Any], ...]:
    """The lines of a file."""
    return tuple(json.loads((Path(__file__).parent / file).read_text("utf-8")))


def origins(file: str) -> list[Origin]:
    """Where the figures of a file are from."""
    return [Origin(" of ".join(filter(None, (line["name"], line.get("contract", line.get("write"))))), line["kind"], line["source"], line["date"])
            for line in read(file)]


def measured_times() -> dict[str, float]:
    """CPU seconds for 1,000 events up to the sink, by the contract whose events they were."""
    return {line["contract"]: line["value"] for line in read(MEASURED) if line["name"] == "cpu_s_per_1000"}


def likeness(contract: str) -> str:
    """The contract whose CPU time is taken: its own, else the slowest that was measured."""
    times = measured_times()
    return contract if contract in times else max(times, key=lambda name: times[name])


def measured(contract: str, write: str, shards: int, cpu_s_per_1000: float = 0.0) -> Measured:
    """The constants for a contract and a way to write. cpu_s_per_1000: in place of the benchmarks', sink included."""
    values = {line["name"]: line["value"] for line in read(MEASURED) if not {"contract", "write"} & line.keys()}
    sinks = {line["write"]: line["value"] for line in read(MEASURED) if "write" in line}
    return Measured(cpu_seconds=(cpu_s_per_1000 or measured_times()[likeness(contract)] + sinks[write]) / 1_000, shards=shards, **values)


def quotas(region: str, given: Mapping[str, float], max_workers: int | None, shards: int, where: str) -> dict[str, Quota]:
    """The quotas by name: those given, else the published ones for the region. where: the file that gives them, for faults.

    Raises Misconfigured for quotas that no plan knows.
    """
    published = {line["name"]: line for line in read(QUOTAS)}
    faults = [Fault(f"{where}: quotas.{name}", "is no quota that a plan knows", f"name one of {', '.join(published)}")
              for name in given if name not in published]
    faults += [Fault(f"{where}: quotas.{name}", "is less than 0", "give what the project has") for name, number in given.items() if number < 0]
    if faults:
        raise Misconfigured(faults)
    found = {}
    for name, line in published.items():
        own = name in given
        number = given[name] if own else line.get("regions", {}).get(region, line["given"])
        found[name] = Quota(name, number, line["unit"], where if own else f"{line['kind']}: {line['source']} ({line['date']})", line["remedy"])
    found["max_workers"] = Quota("max_workers", max_workers, "workers that the profile allows", where, "raise max_workers in the profile")
    found["shards"] = Quota("shards", shards, "groups of ids, each worked on by one thread", where,
                            "raise --shards (shards under parameters: in the profile) before the job first starts: it is fixed while the job lives")
    return found


def prices() -> dict[str, Price]:
    """The price table by name."""
    return {line["name"]: Price(line["name"], line["part"], line["price"], line["unit"], line.get("free", 0.0), line.get("over", math.inf),
                                line.get("price_over", 0.0)) for line in read(PRICES)}


_MEMORY = {"n1": (3.75, 6.5, 0.9), **dict.fromkeys(("n2", "n2d", "n4", "e2", "c2", "c2d", "t2d"), (4.0, 8.0, 1.0)),
           **dict.fromkeys(("c3", "c3d"), (4.0, 8.0, 2.0))}
"""GB of memory a vCPU of standard, highmem and highcpu machines. https://cloud.google.com/compute/docs/machine-resource"""
DISK_GB = 30
"""What Dataflow gives a worker of a streaming job with Streaming Engine where nothing is asked."""


def machine(machine_type: str, disk_gb: int, where: str) -> Machine:
    """A machine type as a worker. Raises Misconfigured where its size does not follow from its name."""
    match = re.fullmatch(r"([a-z0-9]+)-(standard|highmem|highcpu)-([1-9][0-9]{0,2})", machine_type)
    if not match or match[1] not in _MEMORY:
        raise Misconfigured([Fault(f"{where}: machine_type", "is of a family whose size a plan does not know",
                                   f"plan with a standard, highmem or highcpu machine of {', '.join(_MEMORY)}")])
    vcpus, kinds = int(match[3]), ("standard", "highmem", "highcpu")
    return Machine(vcpus, vcpus * _MEMORY[match[1]][kinds.index(match[2])], disk_gb or DISK_GB)


def table() -> str:
    """Every figure and where it is from, as Markdown, for docs/plan.md."""
    rows = ["| figure | value | kind | from |", "|---|---|---|---|"]
    for file in (MEASURED, QUOTAS, PRICES):
        for line, origin in zip(read(file), origins(file)):
            value = line.get("value", line.get("given", line.get("price")))
            shown = "?" if value is None else f"${value:.8f}".rstrip("0").rstrip(".") + f" a {line['unit']}" if "price" in line else f"{value:,}"
            rows.append(f"| {line.get('part', origin.name)} | {shown} | {origin.kind} | {origin.source} |")
    return "\n".join(rows)
