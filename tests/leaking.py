"""What is run and watched for leaks on the ways into BigQuery and back: services that quote rows in their errors and keep what they are sent."""

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import apache_beam as beam
import google.auth
import grpc
from apache_beam.io.gcp.bigquery import WriteToBigQuery
from apache_beam.io.gcp.bigquery_tools import RetryStrategy
from apache_beam.io.gcp.internal.clients import bigquery
from google.auth.credentials import AnonymousCredentials
from google.cloud.bigquery_storage_v1 import types

from pipelines.__main__ import main
from tests.bigquery_server import BigQuery, Fault
from tests.bigquery_store import Refused
from tests.bigquery_write_server import BigQueryWrite
from tests.bigquery_write_server import Fault as WriteFault
from tests.gcs_server import Storage
from tests.key_folders import settled
from tests.pubsub_server import Broker
from tests.replaying import loosened
from tests.runs import Seen, look, run
from tests.secrets import IN_FILES, files, planted, visits
from tests.test_stream_graph import parts_of
from tests.test_stream_graph import run as run_graph
from transforms import keys
from transforms.formats.block import Message
from transforms.keys import Keys

TOLD, REFUSED = "Zebulon Quillfeather, 5550 Larkspur Court", "told to refuse"
"""What the services say of rows, and where they refuse a call."""
SECRETS, VISITS = planted(), visits()
SOME = 4  # of the lines, each such goes through the graphs: on one machine Beam's runner for streams is slow
CONTROL = "---- what Beam says of rejected rows by itself"


class Telling(BigQuery):
    """Jobs that fail say TOLD. What is asked of the jobs in `hangs` is not heard any more, once: they go to `hung`."""

    def __init__(self, gcs: str = "") -> None:
        super().__init__("test-project", gcs)
        self.hangs, self.hung, self._end = set[str](), set[str](), threading.Event()

    def start(self, request: dict[str, Any], content: bytes | None, named: str) -> dict[str, Any]:
        look()  # what is staged for it, before it is gone
        if named in self.hangs - self.hung:
            self.hung.add(named)
            self._end.wait()
            raise Refused(503, "backendError", TOLD)
        job = super().start(request, content, named)
        if "errorResult" in job["status"]:
            job["status"]["errorResult"]["message"] = TOLD
        return job

    def __exit__(self, *given: object) -> None:
        self._end.set()
        super().__exit__(*given)


class Heard(BigQueryWrite):
    """Keeps what it is sent, and says TOLD of rows that it rejects."""

    def __init__(self, service: BigQuery) -> None:
        super().__init__(service.store)
        self.bodies = list[bytes]()

    def _append(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[types.AppendRowsResponse]:
        for answer in super()._append(self._kept(requests), context):
            told = types.AppendRowsResponse.pb(answer)
            for error in (*told.row_errors, *([told.error] if told.error.code else [])):
                error.message = TOLD
            yield answer

    def _kept(self, requests: Iterator[bytes]) -> Iterator[bytes]:
        for request in requests:
            look()
            self.bodies.append(request)
            yield request


def fifth(table: tuple[str, str], row: dict[str, Any]) -> bool:
    return table[1] == "events" and row["id_hash"] % 5 == 0


def fifth_in_words(table: tuple[str, str], row: dict[str, Any]) -> bool:
    if table[1] == "control" or fifth(table, row):
        raise Refused(400, "invalid", TOLD)
    return False


class World:
    """The services, and what is run against them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, enter = folder, stack.enter_context
        self.bucket = enter(Storage(folder / "batch" / "bucket", "raw"))
        self.services = self.service, self.appended, self.inserted = [enter(Telling(str(self.bucket.folder))) for _ in range(3)]
        self.writes = self.write, self.append = enter(Heard(self.service)), enter(Heard(self.appended))
        self.broker = enter(Broker(shortest_deadline=1))
        self._make()
        self.service.hangs = {"load killed.failures", "load whole.events"}
        self.service.faults = [Fault("load fails.failures", "fails", "invalid"), Fault("^GET .*/queries/", 503, times=2), Fault("^PUT /upload/", "lost")]
        self.append.faults = [WriteFault("^append .*events", "INTERNAL"), WriteFault("^append .*failures", "RESOURCE_EXHAUSTED", inline=True)]
        self.inserted.faults = [Fault("insertAll", 503, times=2)]
        self.write.faults = [WriteFault("^append .*/stream/.*runs", "INTERNAL"), WriteFault("^commit .*/stream/.*runs", "UNAVAILABLE"), WriteFault("^append .*/stream/.*events", "lost"), WriteFault("^commit .*/stream/", "lost"),
                             WriteFault("^commit .*/visits/tables/failures", "slow", seconds=200.0)]
        for service in self.services:
            service.store.rejects = fifth_in_words if service is self.inserted else fifth

    def _make(self) -> None:
        """Keys, input, tables and messages."""
        for name in ("keys", "other"):
            settled(self.folder / name)
        (self.folder / "in").mkdir()
        for name, content in files(SECRETS).items():
            (self.folder / "in" / name).write_bytes(content)
        loosened(self.folder / "next")
        for service, datasets in zip(self.services, ({"killed": "census", "fails": "census", "whole": "census", "stream": "census", "visits": "weblog"},
                                                     {"tables": "census"}, {"tables": "census"}), strict=True):
            for dataset, contract in datasets.items():
                service.store.make_dataset(dataset, {})
                assert main(["tables", f"--contract={contract}", f"--output=bq://test-project.{dataset}", f"--bigquery_endpoint={service.url}", "--apply"]) == 0
        self.inserted.store.make_table("tables", "control", {"schema": {"fields": [{"name": "row", "type": "STRING"}]}})
        sent = [line for name, content in files(SECRETS).items() if name.endswith(".ndjson") for line in content.splitlines() if line]
        for name, messages in {"stream": [*sent, *sent[::2]], "visits": [p.line for p in VISITS]}.items():
            self.broker.create(f"projects/test-project/topics/{name}", f"projects/test-project/subscriptions/{name}", seconds=1)
            self.broker.publish(f"projects/test-project/topics/{name}", messages)

    def rows(self) -> list[dict[str, Callable[[], Seen]]]:
        """Runs by name; those of a dict go one after the other."""
        folder, service = self.folder, self.service
        private = f"--private_key={folder}/keys/{keys.PRIVATE}"

        def job(name: str, command: str, *arguments: str, dies: Callable[[], bool] | None = None) -> Seen:
            return run(folder / name, command, *arguments, f"--bigquery_endpoint={service.url}", dies=dies)

        def batch(name: str, dataset: str, *more: str, dies: Callable[[], bool] | None = None) -> Seen:
            return job(name, "batch", "--contract=census", f"--input={folder}/in/rows*,{folder}/in/header.csv", f"--output=bq://test-project.{dataset}",
                       "--partition=2026-03-02,2026-03-03,2026-03-04", f"--keys={folder}/keys", "--json", *more, dies=dies)

        def replay(name: str, *faults: Fault, dies: Callable[[], bool] | None = None) -> Seen:
            service.faults += faults
            return job(name, "replay", "--failures=bq://test-project.whole", f"--contract={folder}/next", f"--keys={folder}/keys", private, "--json", dies=dies)

        def stream(name: str, contract: str, dies: Callable[[], bool] | None = None) -> Seen:
            return job(name, "stream", f"--contract={contract}", f"--subscription=projects/test-project/subscriptions/{name}", f"--keys={folder}/keys",
                       f"--output=bq://test-project.{name}", f"--bigquery_storage_endpoint={self.write.host}", f"--pubsub_endpoint={self.broker.host}",
                       "--until_idle=1s", "--wait=100ms", "--max_messages=400", "--json", dies=dies)

        return [
            {"batch killed": lambda: batch("batch killed", "killed", dies=lambda: "load killed.failures" in service.hung),
             "batch fails": lambda: batch("batch fails", "fails", f"--staging={folder}/batch fails/staging", "--run=mine"),
             "batch mended": lambda: batch("batch mended", "fails", "--run=mine"),
             "no dataset": lambda: batch("no dataset", "none"),
             "batch": lambda: batch("batch", "whole", "--staging=gs://raw/waits", f"--storage_endpoint={self.bucket.url}"),
             "replay killed": lambda: replay("replay killed", dies=lambda: "load whole.events" in service.hung),
             "replay fails": lambda: replay("replay fails", Fault("^PUT /upload/", 403, "quotaExceeded")),
             "replay": lambda: replay("replay"),
             "a wrong key": lambda: job("open", "open", "bq://test-project.whole", private.replace("keys", "other"))},
            {"graph": lambda: run(folder / "graph", self.append.host, self.inserted.url, str(folder),
                                  command=("-c", "from tests.leaking import graphs; graphs()")),
             "stream": lambda: stream("stream", "census"),
             "visits killed": lambda: stream("visits", "weblog", lambda: any("commit" in c and "/visits/tables/failures" in c for c in self.write.calls)),
             "visits": lambda: stream("visits", "weblog")}]

    def held(self) -> Iterator[tuple[str, bytes]]:
        """What the services were sent, and hold."""
        for name, service in zip(("all", "graph by AppendRows", "graph by insertAll"), self.services, strict=True):
            yield f"{name}/calls", "\n".join(service.calls).encode()
            yield from ((f"{name}/request {n}", body) for n, body in enumerate(service.bodies))
            yield f"{name}/jobs", json.dumps([{k: v for k, v in each.items() if k != "status"} for each in service.jobs.values()]).encode()
            yield f"{name}/answers", repr(service.answers).encode()
            yield f"{name}/resources", json.dumps(list(service.store.tables.values())).encode()
            for dataset, table in service.store.tables:
                yield f"{name}/{dataset}.{table}", b"\n".join(cells(service.ask(f'SELECT * FROM "{dataset}"."{table}"')))
        for name, write in zip(("all", "graph by AppendRows"), self.writes, strict=True):
            yield f"{name}/appends", "\n".join(write.calls).encode()
            yield from ((f"{name}/append {n}", body) for n, body in enumerate(write.bodies))


def cells(rows: list[dict[str, Any]]) -> Iterator[bytes]:
    """Each value of each row."""
    for row in rows:
        yield from (value if isinstance(value, bytes) else str(value).encode() for value in row.values())


def lines() -> list[bytes]:
    """Each planted line that may be a message."""
    return [p.line for p in SECRETS if p.place not in IN_FILES]


def graphs() -> None:
    """The streaming graph with both of its sinks, in a process of its own that logs as a worker does; then Beam's sink as it comes."""
    host, url, folder = sys.argv[1:]
    logging.basicConfig(level=logging.INFO)
    os.environ["BIGQUERY_EMULATOR_HOST"] = url
    google.auth.default = lambda *_, **__: (AnonymousCredentials(), "test-project")
    bigquery.BigqueryV2.BASE_URL = f"{url}/bigquery/v2/"
    at = 1_772_445_602_000_000  # 2026-03-02T10:00:02Z
    messages = [Message(line, str(n), at, {}) for n, line in enumerate(lines()[::SOME])]
    ring = Keys(f"{folder}/keys")
    run_graph(parts_of("census", messages, ring, bigquery_storage_endpoint=host))
    run_graph(parts_of("census", messages, ring, write="insert_all"))
    print(CONTROL, file=sys.stderr, flush=True)
    logging.getLogger("apache_beam.io.gcp.bigquery").disabled = False
    with beam.Pipeline("FnApiRunner") as pipeline:
        pipeline | beam.Create([{"row": "any"}]) | WriteToBigQuery(
            "test-project:tables.control", method=WriteToBigQuery.Method.STREAMING_INSERTS, create_disposition="CREATE_NEVER",
            insert_retry_strategy=RetryStrategy.RETRY_ON_TRANSIENT_ERROR)
