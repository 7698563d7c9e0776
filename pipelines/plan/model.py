"""What a stream on Dataflow needs, as a function of its load: workers, bytes, requests, and what a month of them costs.

Nothing here asks anyone: the load, the constants (pipelines.plan.figures) and the quotas come in. All rates are events or
bytes a second unless the name says otherwise. What is needed never falls where the rate rises.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

HOURS = 730.0  # a month, as Google's price calculator has it
SECONDS = HOURS * 3600
GIB = float(1 << 30)
TABLES = 3  # events, failures, runs: each has a connection of its own in each process that writes
MINUTE, FOUR_HOURS = 60.0, 4 * 3600.0


@dataclass(frozen=True)
class Machine:
    """A worker: vCPUs, GB of memory, GB of disk."""

    vcpus: int
    memory_gb: float
    disk_gb: float


@dataclass(frozen=True)
class DlpShare:
    """What one event takes of DLP in a full batch: requests, and bytes of text that are inspected and transformed."""

    requests: float
    inspected_bytes: float
    transformed_bytes: float


@dataclass(frozen=True)
class Measured:
    """What one event costs, and how the graph is cut; where each comes from stands in measured.json.

    cpu_seconds: of one vCPU for one event, from Pub/Sub's client to the sink; busy: the share of a vCPU that is planned for,
    the rest is for catching up; passes: how often Streaming Engine bills an event's bytes; overhead_bytes: what a message's
    id, time and key add to it; shards, batch: keys of Gather, and rows of a full batch; key_versions: keys that infra makes;
    refused: share of events that end in failures, which add sealed_bytes to their own; retained_days: of the topic.
    """

    cpu_seconds: float
    busy: float
    passes: float
    overhead_bytes: float
    shards: int
    batch: int
    refused: float
    sealed_bytes: float
    retained_days: float
    key_versions: int


@dataclass(frozen=True)
class Load:
    """What comes in, and how it is taken. rate: events a second; event_bytes, stored_bytes: of one event and its row;
    dlp: None where the local engine de-identifies; wait: seconds that a batch waits to fill; write: storage_write,
    exactly_once or insert_all; least: workers that are there whatever comes.
    """

    rate: float
    event_bytes: float
    stored_bytes: float
    dlp: DlpShare | None
    wait: float
    write: str
    least: int = 1


@dataclass(frozen=True)
class Quota:
    """A limit: given None where it is not known. remedy: what to do where more is needed."""

    name: str
    given: float | None
    unit: str
    source: str
    remedy: str


@dataclass(frozen=True)
class Price:
    """So many dollars for one unit, after so many free ones; price_over for those beyond `over`."""

    name: str
    part: str
    price: float
    unit: str
    free: float = 0.0
    over: float = math.inf
    price_over: float = 0.0


@dataclass(frozen=True)
class Need:
    """A quota beside what is needed of it. share: needed of given, None where what is given is not known."""

    quota: Quota
    needed: float

    @property
    def share(self) -> float | None:
        return None if self.quota.given is None else self.needed / self.quota.given if self.quota.given else math.inf


@dataclass(frozen=True)
class Cost:
    """A part of the bill: quantity in the price's units a month, dollars a month."""

    price: Price
    quantity: float

    @property
    def dollars(self) -> float:
        first, rest = min(self.quantity, self.price.over), max(0.0, self.quantity - self.price.over)
        return max(0.0, first - self.price.free) * self.price.price + rest * self.price.price_over


def workers(load: Load, measured: Measured, machine: Machine) -> int:
    """Workers that carry the load with room to catch up."""
    return max(load.least, math.ceil(load.rate * measured.cpu_seconds / (machine.vcpus * measured.busy)))


def shards(load: Load, measured: Measured) -> int:
    """Keys that Gather must have: a key is worked on by one thread at a time, and what follows it is fused with it."""
    return max(1, math.ceil(load.rate * measured.cpu_seconds / measured.busy))


def batches(load: Load, measured: Measured) -> float:
    """Batches a second. A shard's first message waits for `wait`; the next first one comes shards/rate later; a full batch waits no longer."""
    if not load.rate:
        return 0.0
    waited = measured.shards / (load.wait + measured.shards / load.rate)
    return max(waited, load.rate / measured.batch)


def dlp_requests(load: Load, measured: Measured) -> float:
    """Requests a second: at least one for each batch."""
    return 0.0 if load.dlp is None else max(batches(load, measured), load.rate * load.dlp.requests) if load.dlp.requests else 0.0


def shuffled(load: Load, measured: Measured) -> float:
    """Bytes that Streaming Engine counts: messages as they come in, go to their shard and wait in its state."""
    return load.rate * (load.event_bytes + measured.overhead_bytes) * measured.passes


def written(load: Load, measured: Measured) -> float:
    """Bytes that go to BigQuery: rows, and what is refused, sealed."""
    return load.rate * (load.stored_bytes * (1 - measured.refused) + measured.refused * (load.event_bytes + measured.sealed_bytes))


def needed(load: Load, measured: Measured, machine: Machine) -> dict[str, float]:
    """By the name of its quota, what the load takes of it."""
    count = workers(load, measured, machine)
    inserts = load.write == "insert_all"
    found = {
        "workers": count, "max_workers": count, "shards": shards(load, measured), "compute_cpus": count * machine.vcpus,
        "compute_disk_gb": count * machine.disk_gb,
        "pubsub_publish_bytes_per_minute": load.rate * load.event_bytes * MINUTE,
        "pubsub_subscribe_bytes_per_minute": load.rate * (load.event_bytes + measured.overhead_bytes) * MINUTE,
        "bigquery_insert_bytes_per_second" if inserts else "bigquery_write_bytes_per_second": written(load, measured),
        "kms_requests_per_minute": count * machine.vcpus + dlp_requests(load, measured) * MINUTE,
    }
    if not inserts:
        found["bigquery_write_connections"] = count * machine.vcpus * TABLES
    if load.write == "exactly_once":
        # A stream for each shard and table, and a new one where a shard goes to another worker: taken as once an hour.
        found["bigquery_write_streams_per_4h"] = measured.shards * TABLES * FOUR_HOURS / 3600
    if load.dlp is not None:
        found["dlp_requests_per_minute"] = dlp_requests(load, measured) * MINUTE
    return found


def needs(load: Load, measured: Measured, machine: Machine, quotas: Mapping[str, Quota]) -> list[Need]:
    """What is needed beside what is given, the fullest first; those of an unknown size last."""
    found = [Need(quotas[name], amount) for name, amount in needed(load, measured, machine).items()]
    return sorted(found, key=lambda need: -1.0 if need.share is None else need.share, reverse=True)


def raised_first(found: list[Need], most: float = 0.8) -> list[Need]:
    """Those that the load fills to more than `most`, in the order in which they give way."""
    return [need for need in found if need.share is not None and need.share > most]


def monthly(bytes_a_second: float) -> float:
    """GiB in a month."""
    return bytes_a_second * SECONDS / GIB


def costs(load: Load, measured: Measured, machine: Machine, prices: Mapping[str, Price]) -> list[Cost]:
    """The bill of a month at this rate, part by part."""
    count = workers(load, measured, machine)
    delivered = load.rate * (load.event_bytes + measured.overhead_bytes)
    quantities = {
        "worker_vcpu": count * machine.vcpus * HOURS, "worker_memory": count * machine.memory_gb * HOURS, "worker_disk": count * machine.disk_gb * HOURS,
        "streaming_engine": monthly(shuffled(load, measured)),
        "pubsub_throughput": monthly(load.rate * load.event_bytes + delivered),
        "pubsub_retention": load.rate * load.event_bytes * measured.retained_days * 86_400 / GIB,
        "bigquery_storage": monthly(written(load, measured)),
        "kms_versions": float(measured.key_versions),
        "kms_operations": dlp_requests(load, measured) * SECONDS + count * machine.vcpus * 30,
    }
    if load.write == "insert_all":
        # A row counts as 1 KB at least.
        quantities["bigquery_insert"] = max(monthly(written(load, measured)), monthly(load.rate * 1_000))
    else:
        quantities["bigquery_write"] = monthly(written(load, measured))
    if load.dlp is not None:
        quantities["dlp_inspect"] = monthly(load.rate * load.dlp.inspected_bytes)
        quantities["dlp_transform"] = monthly(load.rate * load.dlp.transformed_bytes)
    return [Cost(prices[name], quantity) for name, quantity in quantities.items()]
