"""The dlp engine: Google's Sensitive Data Protection, asked in packed tables, fail-closed.

A row is refused (not_deidentified) where DLP refuses one of its values, where the answer does not prove that it was
transformed (another header, another row id, a failed transformation, a value that came back as it was), and where a
record suppression holds for it; too_large where one of its values is over DLP's limits alone. Where the service fails for
longer than the retries last, Transient is raised: the run fails and nothing is stored. There is no falling back to the
local engine.
"""

import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.metrics import Metrics
from google.cloud.dlp_v2 import DlpServiceClient, types

from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured, Reason
from schemas.templates import check, deidentify_template, inspect_template
from transforms.batch import Refusal, keep, with_column
from transforms.engines import channel, named, proof
from transforms.engines.asking import Asker, Rate
from transforms.engines.cells import as_text
from transforms.engines.combinations import Combinations, Numbers, blank, combinations
from transforms.engines.layout import Layout, lay_out, unfit
from transforms.engines.memo import Memo
from transforms.engines.packing import Answers, Limits, Packer
from transforms.engines.quota import Backoff, Caller, Governor, Spent
from transforms.engines.screen import Screen

MOST_CONFIGURATION = 200_000
"""Bytes of the templates in a request; more would leave too little room for rows."""


@dataclass(frozen=True)
class DlpEngine:
    """What starts the dlp engine on a worker; plain data.

    endpoint: "" for the global one, a regional host of Google's, or a loopback address, which is spoken to without TLS.
    requests_per_minute: the project's quota, shared by `workers` processes; None for 600, 100 on a regional (.rep.) host.
    in_flight: requests at once in a process. cache_entries: tokens kept in memory for values that come again, for
    cache_seconds; 0 for none. calls_to_find: calls in which one request may look for the values that DLP refuses; what is
    then unsettled is refused. inspect_template, deidentify_template: resource names of the contract's templates in DLP;
    they must say what the contract says.
    """

    contract: Contract
    project: str
    location: str = "global"
    endpoint: str = ""
    requests_per_minute: int | None = None
    workers: int = 1
    in_flight: int = 8
    cache_entries: int = 100_000
    cache_seconds: float = 600.0
    allow_unwrapped_keys: bool = False
    inspect_template: str = ""
    deidentify_template: str = ""
    calls_to_find: int = 256
    limits: Limits = field(default_factory=Limits)
    backoff: Backoff = field(default_factory=Backoff)

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.location}"

    def faults(self) -> list[Fault]:
        """Everything that keeps this engine from starting. Named templates are read from DLP for it."""
        c = self.contract
        found = check(c.inspect, c.deidentify, c.fields, c.folder, self.allow_unwrapped_keys)
        if not re.fullmatch(r"[a-z0-9][a-z0-9.:-]{0,99}", self.project):
            found.append(Fault("--project", "names no project", "give the project that DLP is called and billed in"))
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", self.location):
            found.append(Fault("--location", "is no location of DLP", "give global, or a region such as europe-west1"))
        found += channel.faults(self.endpoint)
        for name in ("requests_per_minute", "workers", "in_flight", "calls_to_find"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                found.append(Fault(f"--{name}", "is less than 1", "give a whole number from 1"))
        if not found and _prototype(self).ByteSize() > MOST_CONFIGURATION:
            found.append(Fault(c.folder, f"has templates of more than {MOST_CONFIGURATION:,} bytes, which leaves DLP no room for rows",
                               "shorten dictionaries, or store them in DLP as stored infoTypes"))
        if not found and (self.inspect_template or self.deidentify_template):
            found += self._named().faults
        return found

    def lineage(self) -> tuple[named.Version, ...]:
        """Name and update time of the named templates, read from DLP. Raises Misconfigured."""
        read = self._named()
        if read.faults:
            raise Misconfigured(read.faults)
        return read.versions

    def _named(self) -> named.Read:
        try:
            return named.read(channel.connect(self.endpoint), self.contract, self.inspect_template, self.deidentify_template)
        except Misconfigured as misconfigured:
            return named.Read((), tuple(misconfigured.faults))

    def start(self) -> "Dlp":
        return Dlp(self)


class Dlp:
    """The engine at work; threads may share it. connect, clock, sleep, draw: for tests."""

    def __init__(self, config: DlpEngine, connect: Callable[[str], DlpServiceClient] = channel.connect,
                 clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
                 draw: Callable[[], float] = random.random) -> None:
        self.config = config
        self._connect, self._clock, self._sleep, self._draw = connect, clock, sleep, draw
        self.spent, self._lock = Spent(), threading.Lock()

    def setup(self) -> None:
        """Opens the channel. Raises Misconfigured."""
        c = self.config
        per_minute = c.requests_per_minute or (100 if ".rep." in c.endpoint else 600)
        self.layout = lay_out(c.contract)
        prototype = _prototype(c)
        self._overhead = _overhead(prototype, self.layout)
        caller = Caller(Governor(per_minute, c.workers, self._clock, self._sleep), c.backoff, self._clock, self._sleep, self._draw)
        self._rate, self._memo = Rate(), Memo(c.cache_entries, c.cache_seconds, self._clock)
        self._unfit, self._screen = unfit(self.layout), Screen(c.contract, self.layout)
        self._asker = Asker(self._connect(c.endpoint), prototype, caller, self.layout, self._rate, c.calls_to_find)
        self._pool = ThreadPoolExecutor(c.in_flight, "dlp")

    def deidentify(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Refusal]]:
        """The rows as stored, and those refused, each under the first field that failed in the contract's order."""
        listed = combinations(batch, self.layout)
        answers = [Answers.none(c) for c in listed]
        asked = [self._asked(c, a) for c, a in zip(listed, answers, strict=True)]
        self._ask(Packer(listed, asked, answers, self.layout, self._overhead, self.config.limits), proof.Proof(self.layout, listed))
        stored = batch
        for group, known, sent in zip(listed, answers, asked, strict=True):
            for name, cells in proof.settle(group, known, self.layout).items():
                stored = with_column(stored, name, _spread(batch[name], cells, group.of_row))
            self._memo.keep(group, known, sent)
        refused = _refusals(listed, answers, self._screen.refused(batch), batch.schema.names)
        return keep(stored, [r.position for r in refused]), refused

    def _asked(self, group: Combinations, answers: Answers) -> Numbers:
        """The combinations to send: those that are neither known nor hopeless."""
        for name in group.group.transformed:
            if name in self._unfit:
                for combination, value in enumerate(as_text(group.cells[name]).to_pylist()):
                    if value and self._unfit[name](value):
                        answers.refused[combination] = (Reason.NOT_DEIDENTIFIED, name)
        wanted = self._memo.recall(group, answers)
        return wanted[[c not in answers.refused for c in wanted.tolist()]] if answers.refused else wanted

    def _ask(self, packer: Packer, judge: proof.Proof) -> None:
        spent, start, pending = Spent(), 0, set[Future[Spent]]()
        try:
            while start < len(packer) or pending:
                while start < len(packer) and len(pending) < self.config.in_flight:
                    end = packer.end(start, self._rate())
                    pending.add(self._pool.submit(self._asker.settle, packer, judge, start, end))
                    start = end
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    spent.add(future.result())
        finally:
            packer.abandoned = bool(pending)
            for future in pending:
                future.cancel()
            self._count(spent)

    def _count(self, spent: Spent) -> None:
        # Here, in the bundle's own thread: Beam drops what a thread of ours would count.
        Metrics.counter("penstock", "dlp_calls").inc(spent.calls)
        Metrics.counter("penstock", "dlp_bytes").inc(spent.bytes)
        Metrics.counter("penstock", "dlp_retries").inc(sum(spent.again.values()))
        Metrics.distribution("penstock", "dlp_waited_ms").update(round(spent.waited * 1000))
        with self._lock:
            self.spent.add(spent)


def _prototype(config: DlpEngine) -> Any:
    """A raw request without a table. DLP merges a named template with what stands in a request, so only one is ever sent."""
    c = config.contract
    request = types.DeidentifyContentRequest(
        parent=config.parent, deidentify_config=deidentify_template(c.deidentify, c.folder).deidentify_config)
    if lay_out(c).inspected:
        request.inspect_config = inspect_template(c.inspect, c.folder).inspect_config
    return types.DeidentifyContentRequest.pb(request)


def _overhead(prototype: Any, layout: Layout) -> int:
    """Bytes of a request without its rows."""
    request = type(prototype)()
    request.CopyFrom(prototype)
    for name in layout.header:
        request.item.table.headers.add().name = name
    return int(request.ByteSize()) + 16  # the lengths of item and table grow with the rows


def _spread(column: pa.Array, cells: pa.Array, of_row: Numbers) -> pa.Array:
    """The answer to each row's combination; a cell that had nothing to transform stays null or empty."""
    found = cells.take(pa.array(of_row, mask=of_row < 0))
    left = as_text(column) if pa.types.is_string(cells.type) else column.cast(cells.type)
    return pc.if_else(blank(column), left, found)


def _refusals(listed: Sequence[Combinations], answers: Sequence[Answers], screened: Mapping[int, str],
              names: Sequence[str]) -> list[Refusal]:
    refused: dict[int, tuple[int, Reason, str | None]] = {
        at: (names.index(name), Reason.NOT_DEIDENTIFIED, name) for at, name in screened.items()}
    for group, known in zip(listed, answers, strict=True):
        if known.refused:
            for position, combination in enumerate(group.of_row.tolist()):
                if combination in known.refused:
                    reason, name = known.refused[combination]
                    found = (-1 if name is None else names.index(name), reason, name)
                    refused[position] = min(found, refused.get(position, found), key=lambda r: r[0])
    return [Refusal(position, reason, name) for position, (_, reason, name) in sorted(refused.items())]
