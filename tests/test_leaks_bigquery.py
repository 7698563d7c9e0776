"""No secret leaves on the ways into BigQuery and back: planted as in test_leaks, looked for in what runs show, leave, stage and send, and in tables.

The BigQuery of these tests quotes rows in its errors, as Google's does: its words (TOLD) are looked for like a secret.
"""

import base64
import gzip
import io
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import google.auth
import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
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
from tests.pubsub_server import Broker
from tests.replaying import loosened
from tests.runs import Seen, run
from tests.scan import Scan
from tests.secrets import CRASHES, IN_FILES, KINDS, files, planted, visits
from tests.test_leaks import _keys
from tests.test_stream_graph import parts_of
from tests.test_stream_graph import run as run_graph
from transforms import keys
from transforms.formats.block import Message
from transforms.keys import Keys
from transforms.seal import private_key, unseal

TOLD = "Zebulon Quillfeather, 5550 Larkspur Court"
SECRETS, VISITS = planted(), visits()
_SOME = 4  # of the lines, each such goes through the graphs: on one machine Beam's runner for streams is slow
CONTROL = "---- what Beam says of rejected rows by itself"


class Telling(BigQuery):
    """Jobs that fail say TOLD. What is asked of the jobs in `hangs` is not heard any more, once: they go to `hung`."""

    def __init__(self, gcs: str = "") -> None:
        super().__init__("test-project", gcs)
        self.hangs, self.hung, self._end = set[str](), set[str](), threading.Event()

    def start(self, request: dict[str, Any], content: bytes | None, named: str) -> dict[str, Any]:
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
        self.service.faults = [Fault("load fails.failures", "fails", "invalid")]
        self.write.faults = [WriteFault("^append .*/stream/.*events", "lost"), WriteFault("^commit .*/stream/", "lost"),
                             WriteFault("^commit .*/visits/tables/failures", "slow", seconds=8.0)]
        for service in self.services:
            service.store.rejects = fifth_in_words if service is self.inserted else fifth

    def _make(self) -> None:
        """Keys, input, tables, and messages."""
        for name in ("keys", "other"):
            keys.make(self.folder / name)
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
        sent = lines()
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
             "batch fails": lambda: batch("batch fails", "fails", f"--staging={folder}/batch fails/staging"),
             "batch": lambda: batch("batch", "whole", "--staging=gs://raw/waits", f"--storage_endpoint={self.bucket.url}"),
             "replay killed": lambda: replay("replay killed", dies=lambda: "load whole.events" in service.hung),
             "replay fails": lambda: replay("replay fails", Fault("load whole.failures", "fails", "invalid")),
             "replay": lambda: replay("replay"),
             "a wrong key": lambda: job("open", "open", "bq://test-project.whole", private.replace("keys", "other"))},
            {"graph": lambda: run(folder / "graph", self.append.host, self.inserted.url, str(folder),
                                  command=("-c", "from tests.test_leaks_bigquery import graphs; graphs()")),
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
                yield f"{name}/{dataset}.{table}", b"\n".join(_cells(service.ask(f'SELECT * FROM "{dataset}"."{table}"')))
        for name, write in zip(("all", "graph by AppendRows"), self.writes, strict=True):
            yield f"{name}/appends", "\n".join(write.calls).encode()
            yield from ((f"{name}/append {n}", body) for n, body in enumerate(write.bodies))


def _cells(rows: list[dict[str, Any]]) -> Iterator[bytes]:
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
    messages = [Message(line, str(n), at, {}) for n, line in enumerate(lines()[::_SOME])]
    ring = Keys(f"{folder}/keys")
    run_graph(parts_of("census", messages, ring, bigquery_storage_endpoint=host))
    run_graph(parts_of("census", messages, ring, write="insert_all"))
    print(CONTROL, file=sys.stderr, flush=True)
    logging.getLogger("apache_beam.io.gcp.bigquery").disabled = False
    with beam.Pipeline("FnApiRunner") as pipeline:
        pipeline | beam.Create([{"row": "any"}]) | WriteToBigQuery(
            "test-project:tables.control", method=WriteToBigQuery.Method.STREAMING_INSERTS, create_disposition="CREATE_NEVER",
            insert_retry_strategy=RetryStrategy.RETRY_ON_TRANSIENT_ERROR)


class Evidence(NamedTuple):
    """The runs by name; all that they showed, left, staged and sent, and what the services hold, as PLACE/NAME; what Beam logged by
    itself; what to look for; and the services."""

    runs: dict[str, Seen]
    outputs: dict[str, bytes]
    control: bytes
    secrets: dict[str, str | bytes]
    world: World

    def opened(self, service: BigQuery, dataset: str) -> bytes:
        """What the private key shows of the failures in a dataset: all their rows in one."""
        unwrap = private_key((self.world.folder / "keys" / keys.PRIVATE).read_bytes())
        return b"\n".join(unseal(*(f[c] for c in ("sealed", "run", "stage", "reason", "origin")), unwrap)
                          for f in service.ask(f"SELECT * FROM {dataset}.failures WHERE sealed IS NOT NULL"))


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    with ExitStack() as stack:
        world = World(tmp_path_factory.mktemp("leaks"), stack)
        with ThreadPoolExecutor(2) as two:
            seen = [*two.map(lambda row: {name: go() for name, go in row.items()}, world.rows())]
        runs = {name: each for row in seen for name, each in row.items()}
        outputs = {f"{name}/{what}": content for name, each in runs.items() for what, content in each.outputs.items()}
        outputs["graph/stderr"], _, control = outputs["graph/stderr"].partition(CONTROL.encode())
        secrets: dict[str, str | bytes] = {p.label: p.secret for p in (*SECRETS, *VISITS)}
        yield Evidence(runs, outputs | dict(world.held()), control, secrets | _keys(world.folder / "keys") | {"what BigQuery told": TOLD}, world)


def test_nothing_that_a_run_shows_leaves_stages_or_sends_holds_a_secret(evidence) -> None:
    found = Scan(evidence.secrets).of(evidence.outputs)
    assert not found, "\n".join(f"{label}: {name}" for name, label in sorted(found))


def test_the_runs_went_as_they_should(evidence) -> None:
    runs, ask = evidence.runs, evidence.world.service.ask
    assert {name: seen.code for name, seen in runs.items()} == {
        "batch killed": -9, "batch fails": 1, "batch": 0, "replay killed": -9, "replay fails": 1, "replay": 0, "a wrong key": 1, "graph": 0, "stream": 0,
        "visits killed": -9, "visits": 0}
    assert "refused to load fails.failures: invalid" in runs["batch fails"].text() and "refused to load whole.failures: invalid" in runs["replay fails"].text()
    books = {name: json.loads(runs[name].outputs["stdout"].splitlines()[-1]) for name in ("batch", "replay", "stream", "visits")}
    assert all(b["balanced"] for b in books.values()) and books["batch"]["refused"] > 500 and books["replay"]["read"] > 500
    assert books["replay"]["stored"] >= len(KINDS) and books["stream"]["reasons"]["rejected_by_sink"] > 5
    assert not any(fault.times for fault in (*evidence.world.service.faults, *evidence.world.write.faults))
    for table, least in (("whole.replays", 500), ("stream.events", 50), ("visits.events", 5), ("visits.windows", 5)):
        assert ask(f"SELECT count(*) AS n FROM {table}")[0]["n"] >= least, table
    for service in (evidence.world.appended, evidence.world.inserted):
        found = {r["reason"]: r["n"] for r in service.ask("SELECT reason, count(*) AS n FROM tables.failures GROUP BY reason")}
        assert len(found) >= 7 and found["rejected_by_sink"] > 0 < service.ask("SELECT count(*) AS n FROM tables.events")[0]["n"]
        assert service.ask("SELECT sum(refused) AS n FROM tables.runs")[0]["n"] == sum(found.values())


@pytest.mark.parametrize("start", ["batch killed/tmp/penstock-", "batch fails/staging/penstock-", "batch/bucket/raw/waits/", "replay killed/tmp/", "replay/tmp/"])
def test_what_is_staged_was_looked_into(evidence, start) -> None:
    assert any(name.startswith(start) and ".parquet" in name and content.startswith(b"PAR1") for name, content in evidence.outputs.items())


def test_what_a_killed_run_leaves_is_staged_or_parked(evidence) -> None:
    """And nothing but staged files waits in its folder; a run that ends, ends without any."""
    folder = evidence.world.folder
    left = {path.suffix for path in (folder / "batch killed" / "tmp").rglob("*") if path.is_file()}
    assert ".parquet" in left <= {".parquet", ".parked", ".upload"}
    assert any(name.startswith("batch killed/tmp/") and ".parked" in name for name in evidence.outputs)
    assert {path.suffix for path in (folder / "replay killed" / "tmp").rglob("*") if path.is_file()} <= {".parquet", ".events", ".failures"}
    for place in ("batch fails/tmp", "batch fails/staging", "batch/tmp", "batch/bucket/raw", "replay fails/tmp", "replay/tmp", "stream/tmp", "visits/tmp", "graph/tmp"):
        assert [path for path in (folder / place).rglob("*") if path.is_file()] == [], place


def test_what_may_not_be_stored_was_sealed_on_each_way(evidence) -> None:
    world, sent = evidence.world, [p for p in SECRETS if p.place not in IN_FILES]
    for service, dataset, some in ((world.service, "whole", sent), (world.service, "stream", sent), (world.appended, "tables", sent[::_SOME]),
                                   (world.inserted, "tables", sent[::_SOME])):
        rows = evidence.opened(service, dataset)
        refused = [p for p in some if not p.may_store and p.place not in (CRASHES, "an unknown field", "the name of a field")]
        assert len(refused) > 100 and [p.label for p in refused if p.mark.encode() not in rows] == []


def test_what_a_worker_logs_of_rejected_rows_is_ours(evidence) -> None:
    """A control that is real: left to itself, Beam's sink logs what BigQuery says, and the scan sees it."""
    scan = Scan(evidence.secrets)
    assert scan.labels(evidence.control) == {"what BigQuery told"} and b"apache_beam.io.gcp.bigquery" in evidence.control
    assert b"INFO:apache_beam" in evidence.outputs["graph/stderr"], "the process logged as a worker does"
    assert b"errors inserting" not in evidence.outputs["graph/stderr"]


def _column(content: bytes, value: object) -> bytes:
    table, file = pq.read_table(io.BytesIO(content)), io.BytesIO()
    pq.write_table(table.append_column("hint", pa.array([value] * table.num_rows)), file, compression="zstd")
    return file.getvalue()


def test_a_leak_on_each_way_is_found_by_its_name(evidence) -> None:
    def output(start: str, ending: str = "") -> bytes:
        return next(c for n, c in reversed(evidence.outputs.items()) if n.startswith(start) and ending in n)

    def staged(start: str) -> bytes:
        return next(c for n, c in evidence.outputs.items() if n.startswith(start) and c.startswith(b"PAR1") and pq.read_metadata(io.BytesIO(c)).num_rows)

    def sent(line: bytes) -> bytes:
        rows = pa.RecordBatch.from_pydict({"origin": ["a", "b"], "note": [line.decode()] * 2})
        return types.AppendRowsRequest.serialize(types.AppendRowsRequest(write_stream="s", arrow_rows={
            "writer_schema": {"serialized_schema": rows.schema.serialize().to_pybytes()}, "rows": {"serialized_record_batch": rows.serialize().to_pybytes()}}))

    chosen = [next(p for p in SECRETS if p.kind == kind and p.place == "full_name")
              for kind in ("name", "ssn", "card", "iban", "email", "address", "phone", "mac", "link", "api_key", "ipv4", "passport", "licence")]
    s, visit = [p.secret for p in chosen], next(p for p in VISITS if p.place.startswith("ip "))
    upload = b"--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\nContent-Type: */*\r\n\r\n%s\r\n--b--"
    made = [
        ("batch: a clear column of a file in the default staging", _column(staged("batch killed/tmp/penstock-"), s[0])),
        ("batch: a clear column of a file in --staging", _column(staged("batch fails/staging/penstock-"), s[1].encode())),
        ("batch: an object in a bucket", gzip.compress(chosen[2].line)),
        ("batch: why a run failed", output("batch fails/stderr") + f"invalid: cannot convert value: {s[3]}".encode()),
        ("stream: what is in hand", output("stream/cwd/.penstock/", "stream.trying").replace(b'"deaths"', json.dumps(s[4]).encode() + b':1,"deaths"')),
        ("stream: an append", sent(chosen[5].line)),
        ("replay: an opened row in a temporary file", base64.b64encode(b"opened " + chosen[6].line)),
        ("replay: a log line", output("replay killed/stderr") + f"WARNING row {s[7].upper()} is refused again".encode()),
        ("graph: what BigQuery says of a row", output("graph/stderr") + repr([{"index": 0, "errors": [{"message": f"bad value: {s[8]}"}]}]).encode()),
        ("graph: a request of insertAll", json.dumps({"rows": [{"insertId": "1", "json": {"note": s[9]}}]}).encode()),
        ("a request of a load", upload % _column(staged("batch killed/tmp/penstock-"), s[10])),
        ("tables: a failure that is not sealed", b"\n".join(_cells([{"sealed": chosen[11].line, "reason": "malformed"}]))),
        ("tables: the description of a table", json.dumps([{"description": json.dumps({"run": "r", "last": s[12]})}]).encode()),
        ("tables: the key of a window", b"\n".join(_cells([{"key": visit.secret, "pane": 0}])))]
    labels = [*(p.label for p in chosen), visit.label]
    found = Scan(evidence.secrets).of(dict(made))
    assert found == {(name, label) for (name, _), label in zip(made, labels, strict=True)}
