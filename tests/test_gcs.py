"""Input from GCS: Google's client against an emulator, behind a gate that is as strict about generations as GCS is."""

import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import fastavro
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.__main__ import main
from pipelines.sinks.lake import Lake
from pipelines.sources import gcs
from pipelines.sources.files import Range, groups, listed, opened, ranges, read
from pipelines.sources.gcs import Changed, client
from pipelines.sources.manifest import read_manifest
from pipelines.sources.ranged import STEP
from schemas.contract import load
from schemas.errors import Misconfigured
from tests.gcs_emulator import MISSING, Bucket, Gate, emulator
from tests.runs import run
from tests.scan import Scan
from transforms.formats.block import Block

LINES = b"".join(b'{"n":%d,"pad":"%s"}\n' % (i, b"x" * 80) for i in range(3 * STEP // 90))  # three fetches and more


@pytest.fixture(scope="module")
def storage() -> Iterator[Bucket]:
    with emulator() as bucket:
        if bucket is None:
            pytest.skip(MISSING)
        yield bucket


@pytest.fixture
def gate(storage: Bucket) -> Iterator[Gate]:
    with Gate(storage) as gate:
        yield gate


# Which objects

def test_listed(gate: Gate, tmp_path: Path) -> None:
    local = tmp_path / "x.csv"
    local.write_bytes(b"id\n1\n")
    for name in ("day/a.ndjson", "day/b.json.gz", "day/sub/c.avro", "day/sub/deep/d.parquet", "day/plain", "day/odd [1] é.csv", "day/folder/"):
        gate.behind.put(name, b'{"a":1}\n' if name == "day/plain" else b"" if name == "day/folder/" else b"1")
    gate.behind.put("day/packed.ndjson", gzip.compress(b"{}\n"), encoding="gzip")

    def names(patterns: str) -> list[tuple[str, str]]:
        return [(f.path.removeprefix("gs://raw/day/"), f.format) for f in listed(patterns, gate.url)]

    assert names("gs://raw/day/*") == [("a.ndjson", "ndjson"), ("b.json.gz", "ndjson.gz"), ("odd [1] é.csv", "csv"), ("packed.ndjson", "ndjson.gz"), ("plain", "ndjson")]
    assert names("gs://raw/day/sub/**, gs://raw/day/?.ndjson") == [("a.ndjson", "ndjson"), ("sub/c.avro", "avro"), ("sub/deep/d.parquet", "parquet")]
    assert names(f"{local},gs://raw/day/a*") == [(str(local), "csv"), ("a.ndjson", "ndjson")]
    assert [name for name, *_ in gate.ranges] == ["day%2Fplain"], "only where the name does not tell the format is an object read"
    file = listed("gs://raw/day/a*", gate.url)[0]
    assert file.generation and file.crc32c == "kPWZ4w==" and file.size == 1
    assert b"".join(p.data for r in ranges(listed("gs://raw/day/packed*", gate.url)) for p in read(r, endpoint=gate.url) if isinstance(p, Block)) == b"{}\n"


def test_listed_tells_every_fault(gate: Gate) -> None:
    gate.behind.put("faults/a.txt", b"")
    with pytest.raises(Misconfigured) as raised:
        listed("gs://raw/faults/*,gs://raw/faults/none*,gs://nowhere/*,gs://,gs://ra*/x,/none/*", gate.url)
    assert [f.problem for f in raised.value.faults] == [
        "gs://raw/faults/none* matches no file", "gs://nowhere/* cannot be listed", "gs:// cannot be listed", "gs://ra*/x cannot be listed", "/none/* matches no file",
        "gs://raw/faults/a.txt has no known format"]
    with pytest.raises(Misconfigured, match="^--manifest: gs://nowhere/m cannot be listed"):
        read_manifest("gs://nowhere/m", gate.url)


@pytest.mark.parametrize(("endpoint", "environment", "right"), [
    ("http://localhost:1", {}, True), ("http://127.0.0.1:1/", {}, True), ("http://[::1]:1", {}, True), ("", {gcs.EMULATOR: "localhost:1"}, True),
    ("", {gcs.EMULATOR: "http://127.0.0.1:1"}, True), ("http://localhost:1", {gcs.EMULATOR: "http://example.org"}, True),
    ("http://storage.googleapis.com", {}, False), ("http://example.org", {}, False), ("https://example.org", {}, False), ("localhost:1@example.org", {}, False),
    ("http://localhost:1@example.org", {}, False), ("", {gcs.EMULATOR: "example.org:80"}, False), ("https://storage.googleapis.com.example.org", {}, False),
    ("ftp://localhost", {}, False)])
def test_plain_http_leads_to_this_machine_alone(endpoint: str, environment: dict[str, str], right: bool) -> None:
    if right:
        made = client(endpoint, environment)
        assert made._connection.API_BASE_URL.startswith("http://") and not made._http.trust_env
        return
    with pytest.raises(Misconfigured) as raised:
        client(endpoint, environment)
    assert raised.value.faults[0].where == ("--storage_endpoint" if endpoint else gcs.EMULATOR)


# What is read

FIELDS = load("census").fields


def in_every_format(rows: list[dict]) -> dict[str, bytes]:
    avro, parquet = io.BytesIO(), io.BytesIO()
    fastavro.writer(avro, {"type": "record", "name": "e", "fields": [
        {"name": f.name, "type": ["null", "int" if f.type == "int" else "string"]} for f in FIELDS]}, rows, codec="deflate", sync_interval=4000)
    pq.write_table(pa.Table.from_pylist(rows), parquet, row_group_size=50)
    lines = b"".join(orjson.dumps(r) + b"\n" for r in rows)

    def cell(value: object) -> str:
        return "" if value is None else '"' + str(value).replace('"', '""') + '"'
    names = [f.name for f in FIELDS]
    csv = "".join(",".join(cells) + "\n" for cells in [names, *([cell(r[n]) for n in names] for r in rows)]).encode()
    return {"a.ndjson": lines, "b.ndjson.gz": gzip.compress(lines), "c.csv": csv, "d.csv.gz": gzip.compress(csv), "e.avro": avro.getvalue(), "f.parquet": parquet.getvalue()}


@pytest.fixture(scope="module")
def rows(census: Path) -> list[dict]:
    kinds = {f.name: int if f.type == "int" else str for f in FIELDS}
    found: dict[str, dict] = {}
    for line in next(census.glob("*.ndjson")).open("rb"):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict) and set(row) == set(kinds) and all(isinstance(v, (str, int)) and v != "" and v != 2**31 for v in row.values()) and len(line) < 5_000:
            found.setdefault(str(row["application_id"]), row)
    return [r for r in found.values() if all(type(r[name]) is kind for name, kind in kinds.items())]


def test_every_format_is_read_as_the_local_file(gate: Gate, rows: list[dict], tmp_path: Path) -> None:
    for name, content in in_every_format(rows[:400]).items():
        (tmp_path / name).write_bytes(content)
        gate.behind.put(f"formats/{name}", content)

    def blocks(pattern: str, size: int) -> list[tuple]:
        return [(Path(p.path).name, p.format, p.start, p.rows, p.data, p.head) for piece in ranges(listed(pattern, gate.url), size)
                for p in read(piece, 20_000, gate.url) if isinstance(p, Block)]

    for size in (30_000, 1 << 20):
        there = blocks("gs://raw/formats/*", size)
        assert there == blocks(f"{tmp_path}/*", size) and sum(b[3] for b in there) == 6 * 400
    assert gate.unpinned == 0


def test_small_objects_are_read_together_and_large_and_local_ones_alone() -> None:
    def piece(size: int, generation: int | None = 1) -> Range:
        return Range("x", "csv", 0, 0, size, size, generation)

    pieces = [piece(5), piece(5), piece(1), piece(7, None), piece(0), piece(20), piece(3)]
    assert [[p.stop for p in group] for group in groups(pieces, 10)] == [[5, 5], [1], [7], [0, 20], [3]]
    assert list(groups([])) == []


def test_many_small_objects(gate: Gate) -> None:
    """Each is asked for once, the next ones while one is read."""
    for i in range(12):
        gate.behind.put(f"many/{i:02}.ndjson", b'{"n":1}\n' * i)
    files = listed("gs://raw/many/*", gate.url)
    (group,) = groups(ranges(files))
    seen = []
    for piece, file in opened(group, gate.url):
        assert piece.size == 0 or file.peek(1)
        seen.append((len(list(read(piece, file=file))), piece.index))
        assert file.closed
    assert seen == [(int(i > 0), i) for i in range(12)]
    assert sorted(gate.ranges) == [(f"many%2F{i:02}.ndjson", 0, 8 * i - 1) for i in range(1, 12)] and gate.unpinned == 0


def batch(capsys, keys: Path, source: str, output: Path, *more: str) -> tuple[int, dict, str]:
    code = main(["batch", "--contract=census", f"--input={source}", f"--output={output}", f"--keys={keys}", "--json", *more])
    seen = capsys.readouterr()
    err = re.sub(r"(?m)^\d[\d,]* read   .*\n", "", seen.err)  # how far a slow machine has come
    return code, json.loads(seen.out.splitlines()[-1]) if code == 0 else {}, err


def test_the_job_stores_what_it_stores_of_local_files(gate: Gate, rows: list[dict], tmp_path: Path, key_folder: Path, capsys) -> None:
    (tmp_path / "in").mkdir()
    for i, name in enumerate(in_every_format(rows[:1])):
        content = in_every_format(rows[i * 100:(i + 1) * 100])[name]
        (tmp_path / "in" / name).write_bytes(content)
        gate.behind.put(f"job/{name}", content)
    assert main(["manifest", "--input=gs://raw/job/*", f"--output={tmp_path}/manifest", f"--storage_endpoint={gate.url}"]) == 0
    assert "6 files" in capsys.readouterr().out
    _, local, _ = batch(capsys, key_folder, f"{tmp_path}/in/*", tmp_path / "LOCAL")
    gate.failures = 1  # one 503: tried again
    code, remote, _ = batch(capsys, key_folder, "gs://raw/job/*", tmp_path / "OUT", f"--storage_endpoint={gate.url}", f"--manifest={tmp_path}/manifest")
    assert code == 0 and gate.failures == 0 and gate.unpinned == 0
    assert remote["stored"] == local["stored"] == 600
    assert remote["fingerprint"] == local["fingerprint"] != "0" * 32
    origins = {o.rpartition(":")[0] for o in Lake.reader(str(tmp_path / "OUT")).query("select origin from events")["origin"].to_pylist()}
    assert origins == {f"gs://raw/job/{name}" for name in in_every_format(rows[:1])}


# What changes meanwhile

def _replaced(gate: Gate, name: str, content: bytes) -> None:
    gate.behind.put(name, content)


@pytest.mark.parametrize("change", ["replaced", "deleted"])
def test_an_object_that_changes_while_it_is_read_is_noticed(gate: Gate, change: str) -> None:
    gate.behind.put("long.ndjson", LINES)
    (piece,) = ranges(listed("gs://raw/long.ndjson", gate.url))

    def meddle(reads: int) -> None:
        if reads == 3:
            gate.behind.delete("long.ndjson") if change == "deleted" else gate.behind.put("long.ndjson", LINES.replace(b'"n"', b'"m"'))

    gate.before = meddle
    found: list[Block] = []
    with pytest.raises(Changed, match="gs://raw/long.ndjson was replaced or deleted while it was read"):
        for part in read(piece, 100_000, gate.url):
            assert isinstance(part, Block)
            found.append(part)
    data = b"".join(b.data for b in found)
    assert found and LINES.startswith(data), "what was read before is of one generation"


def test_the_run_fails_and_stores_nothing(gate: Gate, rows: list[dict], tmp_path: Path, key_folder: Path, capsys) -> None:
    content = in_every_format(rows[:50])["a.ndjson"]
    for name in ("first", "second"):
        gate.behind.put(f"changing/{name}.ndjson", content)
    gate.before = lambda reads: _replaced(gate, "changing/second.ndjson", content) if reads == 0 else None
    code, _, err = batch(capsys, key_folder, "gs://raw/changing/*", tmp_path / "OUT", f"--storage_endpoint={gate.url}")
    assert code == 1 and err == ("penstock batch failed; the tables are as they were: gs://raw/changing/second.ndjson was replaced or deleted while it was read\n")
    assert Lake.reader(str(tmp_path / "OUT")).query("select 1 from events union all select 1 from runs").num_rows == 0


# Leaks

def test_no_row_is_shown_when_reading_fails(gate: Gate, rows: list[dict], tmp_path: Path, key_folder: Path) -> None:
    secret = "Wilhelmina Quastenbeck-Ottosen"
    content = b"".join(orjson.dumps(r | {"full_name": secret}) + b"\n" for r in rows[:200])
    gate.behind.put("leak/a.ndjson", content)
    gate.behind.put("leak/b.ndjson.gz", gzip.compress(content)[:-8])
    gate.behind.put("leak/c.avro", in_every_format([r | {"full_name": secret} for r in rows[:20]])["e.avro"][:-7])
    arguments = ["--contract=census", "--input=gs://raw/leak/*", f"--keys={key_folder}", f"--storage_endpoint={gate.url}"]
    whole = run(tmp_path / "whole", "batch", *arguments, f"--output={tmp_path}/whole/out")
    assert whole.code == 0 and "truncated 2" in whole.text()
    reads = len(gate.ranges)
    gate.before = lambda now: _replaced(gate, "leak/b.ndjson.gz", b"") if now == reads else None
    failed = run(tmp_path / "failed", "batch", *arguments, f"--output={tmp_path}/failed/out")
    assert failed.code == 1 and "was replaced or deleted" in failed.text()
    assert not Scan({"it": secret}).of(whole.outputs) | Scan({"it": secret}).of(failed.outputs)
