"""No secret leaves on the ways into BigQuery and back: planted as in test_leaks, looked for in what runs show, leave, stage and send, and in tables.

The BigQuery of these tests quotes rows in its errors, as Google's does: its words are looked for like secrets.
"""

import base64
import gzip
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.cloud.bigquery_storage_v1 import types

from tests.bigquery_server import BigQuery
from tests.leaking import CONTROL, REFUSED, SECRETS, SOME, TOLD, VISITS, World, cells
from tests.runs import Seen
from tests.scan import Scan
from tests.secrets import CRASHES, IN_FILES, KINDS
from tests.test_leaks import _keys
from transforms import keys
from transforms.seal import private_key, unseal


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
        yield Evidence(runs, outputs | dict(world.held()), control, secrets | _keys(world.folder / "keys") | {"what BigQuery told": TOLD, "why it refused": REFUSED}, world)


def test_nothing_that_a_run_shows_leaves_stages_or_sends_holds_a_secret(evidence) -> None:
    found = Scan(evidence.secrets).of(evidence.outputs)
    assert not found, "\n".join(f"{label}: {name}" for name, label in sorted(found))


def test_the_runs_went_as_they_should(evidence) -> None:
    runs, ask = evidence.runs, evidence.world.service.ask
    assert {name: seen.code for name, seen in runs.items()} == {
        "batch killed": -9, "batch fails": 1, "batch mended": 0, "no dataset": 2, "batch": 0, "replay killed": -9, "replay fails": 1, "replay": 0, "a wrong key": 1, "graph": 0, "stream": 0,
        "visits killed": -9, "visits": 0}
    assert "refused to load fails.failures: invalid" in runs["batch fails"].text() and "quotaExceeded" in runs["replay fails"].text()
    books = {name: json.loads(runs[name].outputs["stdout"].splitlines()[-1]) for name in ("batch mended", "batch", "replay", "stream", "visits")}
    assert all(b["balanced"] for b in books.values()) and books["batch"]["refused"] > 500 and books["batch"]["stored"] > 30 and books["replay"]["read"] > 500
    assert books["replay"]["stored"] >= len(KINDS) and books["stream"]["reasons"]["rejected_by_sink"] > 5
    assert not any(fault.times
                   for faults in (*(s.faults for s in evidence.world.services), *(w.faults for w in evidence.world.writes)) for fault in faults)
    for table, least in (("whole.replays", 500), ("stream.events", 50), ("visits.events", 5), ("visits.windows", 5)):
        assert ask(f"SELECT count(*) AS n FROM {table}")[0]["n"] >= least, table
    for service in (evidence.world.appended, evidence.world.inserted):
        found = {r["reason"]: r["n"] for r in service.ask("SELECT reason, count(*) AS n FROM tables.failures GROUP BY reason")}
        assert len(found) >= 7 and found["rejected_by_sink"] > 0 < service.ask("SELECT count(*) AS n FROM tables.events")[0]["n"]
        assert service.ask("SELECT sum(refused) AS n FROM tables.runs")[0]["n"] == sum(found.values())


@pytest.mark.parametrize("start", ["batch killed/tmp/penstock-", "batch fails/staging/penstock-", "batch mended/tmp/penstock-", "batch/bucket/raw/waits/", "replay killed/tmp/", "replay/tmp/"])
def test_what_is_staged_was_looked_into(evidence, start) -> None:
    assert any(name.startswith(start) and ".parquet" in name and content.startswith(b"PAR1") for name, content in evidence.outputs.items())


def test_what_a_killed_run_leaves_is_staged_or_parked(evidence) -> None:
    """And nothing but staged files waits in its folder; a run that ends, ends without any."""
    folder = evidence.world.folder
    left = {path.suffix for path in (folder / "batch killed" / "tmp").rglob("*") if path.is_file()}
    assert ".parquet" in left <= {".parquet", ".parked", ".upload"}
    assert any(name.startswith("batch killed/tmp/") and ".parked" in name for name in evidence.outputs)
    assert {path.suffix for path in (folder / "replay killed" / "tmp").rglob("*") if path.is_file()} <= {".parquet", ".events", ".failures"}
    for place in ("batch fails/tmp", "batch fails/staging", "batch mended/tmp", "batch/tmp", "batch/bucket/raw", "replay fails/tmp", "replay/tmp", "stream/tmp", "visits/tmp", "graph/tmp"):
        assert [path for path in (folder / place).rglob("*") if path.is_file()] == [], place
    assert list((folder / "batch mended" / "tmp").iterdir()) == [], "nor any folder"


def test_what_may_not_be_stored_was_sealed_on_each_way(evidence) -> None:
    world, sent = evidence.world, [p for p in SECRETS if p.place not in IN_FILES]
    for service, dataset, some in ((world.service, "whole", sent), (world.service, "stream", sent), (world.appended, "tables", sent[::SOME]),
                                   (world.inserted, "tables", sent[::SOME])):
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
        """The first whole file with rows: some were seen while they were written."""
        whole = (c for n, c in evidence.outputs.items() if n.startswith(start) and c[:4] == c[4:][-4:] == b"PAR1")
        return next(c for c in whole if pq.read_metadata(io.BytesIO(c)).num_rows)

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
        ("tables: a failure that is not sealed", b"\n".join(cells([{"sealed": chosen[11].line, "reason": "malformed"}]))),
        ("tables: the description of a table", json.dumps([{"description": json.dumps({"run": "r", "last": s[12]})}]).encode()),
        ("tables: the key of a window", b"\n".join(cells([{"key": visit.secret, "pane": 0}])))]
    labels = [*(p.label for p in chosen), visit.label]
    found = Scan(evidence.secrets).of(dict(made))
    assert found == {(name, label) for (name, _), label in zip(made, labels, strict=True)}
