"""The dlp engine against Beam's own transform: calls and bytes for 1,000 rows, and speed where every call takes a while.

    python -m benchmarks.dlp [--rows=20000] [--latencies=0,0.05,0.2]

The rows are census events from our generator; the service is the DLP server of the tests, in a process of its own, with
detectors that cost nothing, so that what is measured is the asking. Content is what DLP bills: the UTF-8 text of all
values sent. Prints two tables.
"""

import argparse
import multiprocessing
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.ml.gcp import cloud_dlp
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.cloud.dlp_v2 import types

from pipelines.sources.files import read
from pipelines.sources.listing import listed, ranges
from pipelines.tools.generate import write
from schemas.arrow import input_schema
from schemas.contract import Contract, load
from schemas.templates import inspect_template
from tests.dlp_contract import Addresses
from tests.dlp_server import Service, serve
from transforms import keys
from transforms.columns import Typing
from transforms.decode import Digest, decode
from transforms.deidentify import Deidentify
from transforms.engines import wire
from transforms.engines.channel import connect
from transforms.engines.combinations import Combinations
from transforms.engines.dlp import Dlp, DlpEngine, _overhead, _prototype
from transforms.engines.layout import ROW_ID, Group, Layout, lay_out
from transforms.engines.packing import Answers, Limits, Packer
from transforms.keys import Keys
from transforms.operators.values import bytes_of
from transforms.rows import as_json

MASK = {"info_type_transformations": {"transformations": [{"primitive_transformation": {"replace_with_info_type_config": {}}}]}}


class Counted:
    """A client that counts what goes through it."""

    def __init__(self, client: Any) -> None:
        self.client, self.calls, self.sent, self.content, self.lock = client, 0, 0, 0, threading.Lock()

    def deidentify_content(self, request: Any, retry: Any, timeout: float) -> Any:
        raw = types.DeidentifyContentRequest.pb(request)
        sent, read_ = raw.ByteSize(), content(raw.item.table)
        with self.lock:
            self.calls, self.sent, self.content = self.calls + 1, self.sent + sent, self.content + read_
        return self.client.deidentify_content(request=request, retry=retry, timeout=timeout)


def content(table: Any) -> int:
    """Bytes of the values of a raw `Table`, as text."""
    values = (wire.read(cell) for row in table.rows for cell in row.values)
    return sum(len(bytes_of(v)) for v in values if v is not None)


def batches(contract: Contract, folder: Path, rows: int) -> list[pa.RecordBatch]:
    """Census events as they come to Deidentify."""
    write("census", rows, 7, folder / "events")
    typing, digest = Typing(contract), Digest(contract, b"k" * 32)
    blocks = (block for piece in ranges(listed(str(folder / "events" / "*.ndjson"))) for block in read(piece))
    return [decode(block, contract, typing, digest)[0] for block in blocks]


def whole_rows(contract: Contract, events: list[pa.RecordBatch]) -> tuple[int, int, int]:
    """(calls, content, sent) of tables of all columns and all rows, cut at DLP's limits."""
    names = tuple(input_schema(contract).names)
    plain, prototype = lay_out(contract), _prototype(DlpEngine(contract, "penstock-demo"))
    layout = Layout((ROW_ID, *names), (Group(names, (), False, False),), (), plain.inspected, plain.visible, plain.emptied, plain.compared, False, {})
    calls = total = sent = 0
    for batch in events:
        own = Combinations(layout.groups[0], np.arange(batch.num_rows), {n: batch[n] for n in names})
        packer = Packer([own], [np.arange(batch.num_rows)], [Answers.none(own)], layout, _overhead(prototype, layout), Limits())
        start = 0
        while start < len(packer):
            end = packer.end(start, 1 / 80)
            request = type(prototype)()
            request.CopyFrom(prototype)
            packer.fill(request.item.table, start, end)
            calls, total, sent, start = calls + 1, total + content(request.item.table), sent + request.ByteSize(), end
    return calls, total, sent


def per_element(contract: Contract, events: list[pa.RecordBatch]) -> tuple[int, int, int]:
    """(calls, content, sent) of a call for each row's JSON, as Beam's MaskDetectedDetails makes them."""
    lines = [line for batch in events for line in json_lines(contract, batch)]
    config = types.DeidentifyContentRequest(parent="projects/penstock-demo", deidentify_config=MASK, inspect_config=inspection(contract))
    size = types.DeidentifyContentRequest.pb(config).ByteSize()
    return len(lines), sum(map(len, lines)), sum(map(len, lines)) + (size + 6) * len(lines)


def json_lines(contract: Contract, batch: pa.RecordBatch) -> list[bytes]:
    return as_json(batch, input_schema(contract).names, range(batch.num_rows))


def inspection(contract: Contract) -> types.InspectConfig:
    return inspect_template(contract.inspect, contract.folder).inspect_config


def ours(contract: Contract, events: list[pa.RecordBatch], address: str, cache: int) -> tuple[int, int, int]:
    """(calls, content, sent) of the engine."""
    clients: list[Counted] = []

    def counted(endpoint: str) -> Any:
        clients.append(Counted(connect(endpoint)))
        return clients[0]

    engine = Dlp(DlpEngine(contract, "penstock-demo", endpoint=address, requests_per_minute=10**7, cache_entries=cache), connect=counted)
    engine.setup()
    for batch in events:
        stored, refused = engine.deidentify(batch)
        assert stored.num_rows + len(refused) == batch.num_rows
    return clients[0].calls, clients[0].content, clients[0].sent


class BeamsOwn(cloud_dlp._DeidentifyFn):
    """Beam's DoFn with a client that speaks to this machine: it cannot be told of one."""

    def __init__(self, address: str, *given: Any) -> None:
        super().__init__(*given)
        self.address = address

    def setup(self) -> None:
        self.client = connect(self.address)
        super().setup()


def kept(path: str) -> list[pa.RecordBatch]:
    """Batches of an Arrow file; as elements of Create they would be pickled into the graph, which takes seconds."""
    with pa.ipc.open_file(path) as file:
        return [file.get_batch(i) for i in range(file.num_record_batches)]


def rows_a_second(latency: float, contract: Contract, events: list[pa.RecordBatch], stored: Path, ring: Keys) -> tuple[float, float]:
    """(Beam's transform, ours) against a server whose calls take `latency` seconds."""
    with Served(ring, latency) as address:
        number = max(40, min(2000, round(2 / (latency + 0.001))))
        texts = [line.decode() for line in json_lines(contract, events[0])[:number]]
        config = {"deidentify_config": MASK, "inspect_config": inspection(contract)}
        took = seconds(beam.Create(texts, reshuffle=False) | beam.ParDo(BeamsOwn(address, config, None, "penstock-demo")))
        engine = DlpEngine(contract, "penstock-demo", endpoint=address, requests_per_minute=10**7)
        mine = seconds(beam.Create([str(stored)], reshuffle=False) | beam.FlatMap(kept) | Deidentify(contract, engine))
        return len(texts) / took, sum(b.num_rows for b in events) / mine


def seconds(transform: Any) -> float:
    """How long a pipeline of one transform takes; an empty one's time is left out."""
    def run(what: Any) -> float:
        start = time.perf_counter()
        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            _ = pipeline | what
        return time.perf_counter() - start
    return run(transform) - run(beam.Create([0], reshuffle=False))


class Served:
    """A DLP server in another process; with Served(...) as address."""

    def __init__(self, ring: Keys, latency: float) -> None:
        self.given, self.pipe = (ring, latency), multiprocessing.Pipe()

    def __enter__(self) -> str:
        self.process = multiprocessing.get_context("spawn").Process(target=_serve, args=(*self.given, self.pipe[1]), daemon=True)
        self.process.start()
        return self.pipe[0].recv()

    def __exit__(self, *raised: Any) -> None:
        self.process.terminate()
        self.process.join()


def _serve(ring: Keys, latency: float, pipe: Any) -> None:
    running, address = serve(Service(ring, latency=latency, inspector=lambda config: Addresses()), workers=64)
    pipe.send(address)
    running.wait_for_termination()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--latencies", default="0,0.05,0.2")
    given = parser.parse_args()
    folder = Path("build/bench-dlp")
    shutil.rmtree(folder, ignore_errors=True)
    keys.make(folder / "keys")
    contract, ring = load("census"), Keys(str(folder / "keys"))
    events = batches(contract, folder, given.rows)
    rows = sum(b.num_rows for b in events)
    print(f"{rows:,} census events in {len(events)} batches; for 1,000 rows:")
    print(f"{'':44}{'calls':>9}{'content':>11}{'sent':>11}{'rows/s at 600 calls a minute':>31}")
    for title, counted in _counts(contract, events, ring):
        calls, read_, sent = (n / rows * 1000 for n in counted)
        print(f"{title:44}{calls:9.2f}{read_:11,.0f}{sent:11,.0f}{10_000 / calls:31,.0f}", flush=True)
    stored = folder / "events.arrow"
    with pa.ipc.new_file(str(stored), events[0].schema) as file:
        for batch in events:
            file.write_batch(batch)
    print(f"\n{'rows/s, one worker; a call takes':44}{'Beam':>9}{'ours':>11}{'times':>9}")
    for latency in map(float, given.latencies.split(",")):
        theirs, mine = rows_a_second(latency, contract, events, stored, ring)
        print(f"{latency * 1000:>41.0f} ms{theirs:9.0f}{mine:11,.0f}{mine / theirs:9,.0f}", flush=True)
    shutil.rmtree(folder)


def _counts(contract: Contract, events: list[pa.RecordBatch], ring: Keys) -> Iterator[tuple[str, tuple[int, int, int]]]:
    yield "a call for each element (MaskDetectedDetails)", per_element(contract, events)
    yield "tables of whole rows", whole_rows(contract, events)
    with Served(ring, 0.0) as address:
        yield "ours, no cache", ours(contract, events, address, 0)
        yield "ours", ours(contract, events, address, 100_000)


if __name__ == "__main__":
    main()
