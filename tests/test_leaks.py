"""No secret leaves: planted in every field and in lines that are no rows, looked for in everything that a run shows or leaves.

The one place of a row that stands in clear by design is its origin, the path of its file and the offset in it: it tells
where to look. So a secret in the NAME of a file is stored, and none is planted there.
"""

import base64
import bz2
import gzip
import io
import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pipelines import graph
from pipelines.__main__ import COMMANDS
from pipelines.sinks.lake import Lake
from pipelines.sources.files import ReadFiles
from pipelines.sources.listing import listed
from schemas.contract import load
from tests.failing_model import failing_contract
from tests.key_folders import settled
from tests.pubsub_server import Broker
from tests.runs import Seen, run
from tests.scan import Scan, forms, pieces, views
from tests.secrets import ANOTHER_DAY, CRASHES, CUT, FIELDS, KINDS, UNSCORABLE, Planted, files, planted
from transforms import keys as key_folder
from transforms.decode import Decode
from transforms.deduplicate import Deduplicate
from transforms.engines.local import LocalEngine
from transforms.keys import Keys
from transforms.onnx import OnnxHandler
from transforms.park import Park
from transforms.seal import private_key, unseal
from transforms.unquoted import frames

SECRETS = planted()


class Evidence(NamedTuple):
    """The runs by name, all that they showed and left as RUN/NAME, what to look for, and the folder they ran in."""

    runs: dict[str, Seen]
    outputs: dict[str, bytes]
    secrets: dict[str, str | bytes]
    folder: Path

    def opened(self, name: str) -> tuple[list[dict], bytes]:
        """What the private key shows of the failures of a run: each, and all their rows in one."""
        unwrap = private_key((self.folder / "keys" / key_folder.PRIVATE).read_bytes())
        failures = Lake.reader(str(self.folder / name / "out")).query("select * from failures").to_pylist()
        return failures, b"\n".join(unseal(*(f[c] for c in ("sealed", "run", "stage", "reason", "origin")), unwrap) for f in failures if f["sealed"])


@pytest.fixture(scope="module")
def evidence(tmp_path_factory) -> Evidence:
    folder = tmp_path_factory.mktemp("leaks")
    (folder / "in").mkdir()
    for name, content in files(SECRETS).items():
        (folder / "in" / name).write_bytes(content)
    for name in ("keys", "other"):
        settled(folder / name)
    (folder / "a file").touch()
    failing = failing_contract(folder / "failing")

    def batch(name: str, *arguments: str, files: str = "rows*", contract: object = "census", most_bytes: int | None = None) -> Seen:
        return run(folder / name, "batch", f"--contract={contract}", f"--input={folder}/in/{files},{folder}/in/header.csv",
                   f"--output={folder}/{name}/out", f"--keys={folder}/keys", "--json", *arguments, most_bytes=most_bytes)

    jobs = {
        "whole": lambda: batch("whole"),
        "unscorable": lambda: batch("unscorable", "--partition=2026-03-02", contract=failing),
        "bug": lambda: batch("bug", files="*.ndjson", contract=failing),
        "full disk": lambda: batch("full disk", most_bytes=300_000),
        "no output": lambda: run(folder / "no output", "batch", "--contract=census", f"--input={folder}/in/*", f"--output={folder}/a file/out",
                                 f"--keys={folder}/keys"),
        "nothing right": lambda: batch("nothing right", "--runner=none", "--partition=today", "--engine=mine", "--colour=red", files="none", contract="sensus"),
    }
    def stream(broker: Broker, name: str, contract: object, files: str) -> Seen:
        """Every line as a message, half of them again."""
        lines = [line for path in sorted((folder / "in").glob(files)) for line in path.read_bytes().splitlines() if line]
        subscription = f"projects/test-project/subscriptions/{name.replace(' ', '-')}"
        broker.create("projects/test-project/topics/lines", subscription, seconds=1)
        broker.publish("projects/test-project/topics/lines", [line for line in (*lines, *lines[::2]) if len(line) <= 10_000_000])
        return run(folder / name, "stream", f"--contract={contract}", f"--subscription={subscription}", f"--output={folder}/{name}/out",
                   f"--keys={folder}/keys", f"--pubsub_endpoint={broker.host}", "--until_idle=1s", "--wait=100ms", "--max_messages=400", "--json")

    with Broker(shortest_deadline=1) as one, Broker(shortest_deadline=1) as other:
        jobs |= {"stream": lambda: stream(one, "stream", "census", "rows*.ndjson"),
                 "stream bug": lambda: stream(other, "stream bug", failing, "*.ndjson")}
        with ThreadPoolExecutor(2) as two:
            runs = dict(zip(jobs, two.map(lambda job: job(), jobs.values()), strict=True))
    tables = str(folder / "whole" / "out")
    asked = {"a wrong question": ("query", tables, "select cast(note as int) from events where note is not null"),
             "a wrong key": ("open", tables, f"--private_key={folder}/other/{key_folder.PRIVATE}"),
             "help": ("--help",), **{f"help of {name}": (name, "--help") for name in COMMANDS}}
    with ThreadPoolExecutor(2) as two:
        runs |= dict(zip(asked, two.map(lambda arguments: run(folder / "asked", *arguments), asked.values()), strict=True))
    outputs = {f"{name}/{what}": content for name, seen in runs.items() for what, content in seen.outputs.items()}
    return Evidence(runs, outputs, {p.label: p.secret for p in SECRETS} | _keys(folder / "keys"), folder)


def _keys(folder: Path) -> dict[str, bytes]:
    """What must stay in the key folder, and the key of the digests, which is made of it."""
    private = load_pem_private_key((folder / key_folder.PRIVATE).read_bytes(), None).private_numbers()
    return {"the master key": Keys(str(folder)).master(), "the key of digests": Keys(str(folder)).derive("row digests"),
            "the private key": private.d.to_bytes(384, "big")[:64], "a prime of the private key": private.p.to_bytes(192, "big")[:64]}


def test_the_secrets_are_of_at_least_sixteen_kinds_and_stand_in_every_field() -> None:
    assert len(KINDS) >= 16 and len({p.secret for p in SECRETS}) == len(SECRETS) == len({p.mark for p in SECRETS})
    for kind in KINDS:
        places = {p.place.removesuffix(" 0") for p in SECRETS if p.kind == kind}
        assert places >= set(FIELDS) - {"note"}
        assert "note" in places or kind in ("link", "api_key")
    assert {f.name for f in load("census").fields} == set(FIELDS)


def test_nothing_that_a_run_shows_or_leaves_holds_a_secret(evidence) -> None:
    found = Scan(evidence.secrets).of(evidence.outputs)
    assert not found, "\n".join(f"{label}: {name}" for name, label in sorted(found))


def test_the_runs_went_as_they_should(evidence) -> None:
    codes = {name: seen.code for name, seen in evidence.runs.items() if not name.startswith("help")}
    assert codes == {"whole": 0, "unscorable": 0, "bug": 1, "full disk": 1, "no output": 2, "nothing right": 2, "stream": 0, "stream bug": 1,
                     "a wrong question": 2, "a wrong key": 1}
    assert {seen.code for name, seen in evidence.runs.items() if name.startswith("help")} == {0}
    assert "IndexError" in evidence.runs["bug"].text() and "infer.py" in evidence.runs["bug"].text()
    assert "failed" in evidence.runs["full disk"].text()
    assert "IndexError" in evidence.runs["stream bug"].text() and "is tried again" in evidence.runs["stream bug"].text()
    streamed = json.loads(evidence.runs["stream"].outputs["stdout"].splitlines()[-1])
    assert streamed["balanced"] and streamed["stored"] > 100 and streamed["repeated"] > 50 and len(streamed["reasons"]) >= 5
    books = {name: json.loads(evidence.runs[name].outputs["stdout"].splitlines()[-1]) for name in ("whole", "unscorable")}
    assert all(b["balanced"] for b in books.values())
    assert books["whole"]["repeated"] == 15 and books["whole"]["reasons"]["conflict"] == 14
    assert {"malformed", "truncated", "too_large", "unknown_field", "wrong_type", "out_of_range", "missing_field"} <= books["whole"]["reasons"].keys()
    assert books["unscorable"]["reasons"]["unscorable"] == len(KINDS) == books["unscorable"]["reasons"]["other_partition"]


def test_every_planted_row_was_read_and_what_may_not_be_stored_was_sealed(evidence) -> None:
    failures, rows = evidence.opened("whole")
    stored = {r["application_id"] for r in Lake.reader(str(evidence.folder / "whole" / "out")).query("select application_id from events").to_pylist()}
    fates = {p.label: (p.mark.encode() in rows, p.mark in stored) for p in SECRETS if p.place not in CUT and p.place != CRASHES and p.place != "note 0"}
    assert [label for label, fate in fates.items() if sum(fate) != 1] == []
    assert [p.label for p in SECRETS if not p.may_store and p.mark in stored] == []
    assert all(fates[p.label][1] for p in SECRETS if p.place in (ANOTHER_DAY, UNSCORABLE, "full_name", "email"))
    assert {f["reason"] for f in failures if f["origin"].split(":")[0].endswith(tuple(CUT))} == {"truncated", "out_of_range"}
    _, rows = evidence.opened("unscorable")
    assert all(p.secret.encode() in rows for p in SECRETS if p.place in (ANOTHER_DAY, UNSCORABLE))


def test_a_run_leaves_nothing_outside_its_output(evidence) -> None:
    """Nor does anything appear there while it lasts: no spilled rows, no cache, no telemetry of a library."""
    outside = {name: content for name, content in evidence.outputs.items() if name.split("/")[1] not in ("stdout", "stderr", "out")}
    # Python tries whether it may write to TMPDIR with a file that holds "blat" for a moment (tempfile._get_default_tempdir).
    assert {name for name, content in outside.items() if "/tmp/" not in name or content not in (b"", b"blat")} == set()


def test_the_pipeline_that_a_runner_is_given_holds_no_secret_and_no_key(evidence, tmp_path) -> None:
    contract, keys = load("census"), Keys(str(evidence.folder / "keys"))
    pipeline = beam.Pipeline("FnApiRunner")
    with Lake.writer(str(tmp_path / "out"), contract, "run") as lake:
        graph.build(pipeline, graph.Parts(
            contract=contract, read=ReadFiles(listed(f"{evidence.folder}/in/*"), contract.max_row_bytes), decode=Decode(contract, keys),
            deduplicate=Deduplicate(contract, Park(lake.parked), lake.stored(())), engine=LocalEngine(contract, keys),
            handler=OnnxHandler(contract.model), public_pem=keys.public_pem(), run="run", events=lake.write_events(),
            failures=lake.write_failures(), outcome=lake.commit("batch", (), datetime(2026, 3, 4, tzinfo=timezone.utc))))
    proto = pipeline.to_runner_api().SerializeToString()
    assert any(b"census" in view for view in list(views(proto))[1:])  # what is pickled in it is seen
    assert Scan(evidence.secrets).labels(b"\n".join(views(proto))) == set()


def test_where_an_error_happened_is_told_without_its_text() -> None:
    secret = SECRETS[0].secret
    try:
        try:
            raise ValueError(secret)
        except ValueError:
            raise KeyError(secret)  # noqa: B904
    except KeyError as error:
        assert "KeyError from ValueError" in frames(error) and not Scan({"it": secret}).labels(frames(error).encode())


def _leaks(evidence: Evidence, chosen: list[Planted]) -> dict[str, tuple[str, bytes]]:
    """Ten leaks: the secret, by its label, in an output as it would be with the leak."""
    def output(ending: str, start: str = "whole/") -> bytes:
        return next(c for n, c in reversed(evidence.outputs.items()) if n.startswith(start) and ending in n)

    def column(content: bytes, name: str, value: object) -> bytes:
        table, file = pq.read_table(io.BytesIO(content)), io.BytesIO()
        pq.write_table(table.append_column(name, pa.array([value] * table.num_rows)), file, compression="zstd")
        return file.getvalue()

    def catalog(secret: str) -> bytes:
        path = evidence.folder / "leaking.sqlite"
        shutil.copy(evidence.folder / "whole" / "out" / "catalog.sqlite", path)
        connection = sqlite3.connect(path)
        with connection:
            assert connection.execute("UPDATE ducklake_file_column_stats SET max_value = ? WHERE min_value IS NOT NULL", [secret]).rowcount
        connection.close()
        return path.read_bytes()

    def proto(line: bytes) -> bytes:
        pipeline = beam.Pipeline("FnApiRunner")
        _ = pipeline | beam.Create([line])
        return pipeline.to_runner_api().SerializeToString()

    stdout, stderr, s = output("stdout"), output("stderr"), [p.secret for p in chosen]
    made = [
        ("a row printed to stderr", stderr + chosen[0].line),
        ("a clear column in a table", column(output(".parquet", "whole/out/data/main/events/"), "hint", s[1])),
        ("base64 in a log line", stderr + b"retrying dGVzdA" + base64.b64encode(b"bundle of " + s[2].encode())),
        ("a temporary file", gzip.compress(f"row={s[3].upper()}".encode("utf-16-le"))),
        ("a constant of the pipeline", proto(chosen[4].line)),
        ("the text of an exception", stderr + f"KeyError: {chosen[5].line!r}".encode()),
        ("statistics of the catalog", catalog(s[6])),
        ("an unsealed failure", column(output(".parquet", "whole/out/data/main/failures/"), "sealed again", s[7].encode())),
        ("a link in the ledger", stdout + f'{{"see": "https://logs.example.org/?q={quote(s[8])}"}}'.encode()),
        ("a name of a metric", bz2.compress(b"rows_" + s[9][len(s[9]) // 2:].encode().hex().encode())),
    ]
    return {name: (p.label, content) for (name, content), p in zip(made, chosen, strict=True)}


def test_ten_seeded_leaks_are_found_each_by_its_name(evidence) -> None:
    chosen = [next(p for p in SECRETS if p.kind == kind and p.place == "full_name")
              for kind in ("name", "ssn", "card", "iban", "email", "address", "phone", "mac", "link", "api_key")]
    leaks = _leaks(evidence, chosen)
    assert len(leaks) == 10
    found = Scan(evidence.secrets).of(evidence.outputs | {name: content for name, (_, content) in leaks.items()})
    assert found == {(name, label) for name, (label, _) in leaks.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_scan_finds_a_secret_in_every_form(kind) -> None:
    secret = KINDS[kind](3)
    scan = Scan({"it": secret, "another": KINDS["email"](9)})
    for form in forms(secret):
        assert scan.labels(b"before " + form + b" after") == {"it"} == scan.labels(form.upper())
        assert scan.labels(form[:-1]) <= {"it"} and scan.labels(b"") == set()
    for shift in range(3):
        assert scan.labels(base64.b64encode(b"x" * shift + secret.encode() + b" and more")) == {"it"}
    assert {"it"} == set.union(*(scan.labels(p.encode("utf-16")) for p in pieces(secret)))
