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
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.__main__ import main
from pipelines.sinks.lake import Lake
from pipelines.sources import gcs
from pipelines.sources.files import Range, groups, listed, opened, ranges, read
from pipelines.sources.gcs import Changed, client
from pipelines.sources.manifest import Entry, check, read_manifest
from pipelines.sources.ranged import AHEAD, FIRST, KEPT, STEP, RangedFile
from pipelines.sources.row_check import FileRows, differences
from schemas.contract import load
from schemas.errors import Misconfigured
from tests.gcs_emulator import MISSING, Bucket, Gate, emulator
from tests.runs import run
from tests.scan import Scan
from transforms.formats.block import Block

LINES = b"".join(b'{"n":%d,"pad":"%s"}\n' % (i, b"x" * 80) for i in range(130_000))  # three fetches and more


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


# A file by ranges

@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3 * STEP), st.integers(0, 3 * STEP), st.lists(st.tuples(st.integers(0, 3 * STEP), st.integers(0, 2 * STEP)), max_size=8), st.one_of(st.none(), st.integers(0, 3 * STEP)))
def test_reads_as_a_local_file_does(size: int, start: int, reads: list[tuple[int, int]], until: int | None) -> None:
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    with io.BufferedReader(RangedFile(lambda first, stop: data[first:stop], size, min(start, size), until), 1 << 16) as file:
        for at, length in reads:
            file.seek(at)
            assert file.read(length) == data[at:at + length]
        assert file.seek(0, io.SEEK_END) == size and file.read(1) == b""


def test_what_is_read_on_is_fetched_once_ahead_and_not_kept() -> None:
    fetched: list[tuple[int, int]] = []

    def fetch(start: int, stop: int) -> bytes:
        fetched.append((start, stop))
        return bytes(stop - start)

    size = 3 * KEPT
    file = RangedFile(fetch, size, until=2 * KEPT)
    while file.tell() < 2 * KEPT:
        assert len(file.read(1 << 20)) > 0
        assert sum(s.stop - s.start for s in file._segments) <= KEPT
        assert max(stop for _, stop in fetched) <= file.tell() + (AHEAD + 1) * STEP
    assert sorted(fetched) == [(0, FIRST), *((a, min(a + STEP, 2 * KEPT)) for a in range(FIRST, 2 * KEPT, STEP))]
    file.read(10)
    assert 0 < fetched[-1][1] - 2 * KEPT < FIRST, "beyond, little is fetched"
    file.seek(0)
    file.read(10)
    assert fetched[-1] == (0, FIRST)
    file.close()


def test_an_error_of_a_fetch_is_the_reader_s() -> None:
    def fetch(start: int, stop: int) -> bytes:
        raise Changed("it was replaced")

    with io.BufferedReader(RangedFile(fetch, 100)) as file, pytest.raises(Changed):
        file.read(1)


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
    return code, json.loads(seen.out.splitlines()[-1]) if code == 0 else {}, seen.err


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


# Manifests

def test_a_manifest_is_held_against_what_is_there(gate: Gate, rows: list[dict], tmp_path: Path, key_folder: Path, capsys) -> None:
    content = in_every_format(rows[:20])["a.ndjson"]
    names = ("fine", "generation", "size", "crc32c", "missing")
    for name in names:
        gate.behind.put(f"held/{name}.ndjson", content)
    manifest = tmp_path / "manifest"
    assert main(["manifest", "--input=gs://raw/held/*", f"--output={manifest}", f"--storage_endpoint={gate.url}"]) == 0
    entries = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [e["rows"] for e in entries] == [20] * 5 and {e["size"] for e in entries} == {len(content)}
    changed = {e["object"][14:-7]: e for e in entries}
    changed["generation"]["generation"] -= 1
    changed["size"]["size"] += 1
    changed["crc32c"]["crc32c"] = "AAAAAA=="
    manifest.write_text("".join(json.dumps(e) + "\n" for e in entries))
    gate.behind.delete("held/missing.ndjson")
    gate.behind.put("held/new.ndjson", content)
    gate.ranges.clear()
    code, _, err = batch(capsys, key_folder, "gs://raw/held/*", tmp_path / "OUT", f"--storage_endpoint={gate.url}", f"--manifest={manifest}")
    assert code == 2 and gate.ranges == [] and not (tmp_path / "OUT").exists()
    faults = [re.sub(r"  gs://raw/held/(\w+)\.ndjson:? ", r"\1 ", line) for line in err.splitlines()[1:]]
    assert [f.split(" ")[0] for f in faults] == ["crc32c", "generation", "new", "size", "missing"]
    for fault, words in zip(faults, ("another crc32c", "another generation", "not in the manifest", f"{len(content):,} bytes", "no such file")):
        assert words in fault


@pytest.mark.parametrize("remote", [True, False])
def test_a_file_cut_between_two_rows_is_noticed_before_the_commit(gate: Gate, rows: list[dict], tmp_path: Path, key_folder: Path, capsys, remote: bool) -> None:
    lines = in_every_format(rows[:20])["a.ndjson"].splitlines(keepends=True)
    (tmp_path / "cut.ndjson").write_bytes(b"".join(lines[:-1]))
    gate.behind.put("cut/cut.ndjson", b"".join(lines[:-1]))
    path = "gs://raw/cut/cut.ndjson" if remote else f"{tmp_path}/cut.ndjson"
    manifest = Entry(path, rows=20).to_json()
    gate.behind.put("manifest", manifest.encode())
    (tmp_path / "manifest").write_text(f"[{manifest}]")
    more = [f"--storage_endpoint={gate.url}", f"--manifest={'gs://raw/manifest' if remote else tmp_path / 'manifest'}"]
    code, _, err = batch(capsys, key_folder, path, tmp_path / "OUT", *more)
    assert (code, err) == (1, f"penstock batch failed; the tables are as they were: {path} has 19 rows, the manifest says 20\n")
    assert Lake.reader(str(tmp_path / "OUT")).query("select 1 from events union all select 1 from runs union all select 1 from failures").num_rows == 0


def test_rows_are_compared_by_file_over_all_its_pieces() -> None:
    expected = {0: ("a", 3), 1: ("b", 2), 2: ("c", 0), 4: ("e", 2)}
    counted = [FileRows(0, 1, 0), FileRows(1, 2, 0), FileRows(0, 2, 0), FileRows(2, 0, 0), FileRows(3, 9, 0), FileRows(4, 2, 1)]
    assert differences(expected, counted) == ["e is damaged after 2 rows, the manifest says 2"]
    assert differences(expected, [*counted, FileRows(2, 1, 0)])[0] == "c has 1 rows, the manifest says 0"
    assert len(differences(expected, [])) == 3


@pytest.mark.parametrize(("text", "where"), [
    ("", ["--manifest"]), ("{", ["--manifest, line 1"]), ("[{]", ["--manifest"]), ("[]", ["--manifest"]), ('{"object":"a"}\n\n{"object":"a"}', ["--manifest, entry 3"]),
    ('{"object":"a","rows":-1,"size":"1","crc32c":5}\n5\n{"size":1}\n{"object":"b","md5":""}', ["--manifest, entry 1", "--manifest, entry 2", "--manifest, entry 3", "--manifest, entry 4"]),
    ('{"object":"a","rows":true}', ["--manifest, entry 1"])])
def test_manifests_that_are_none(tmp_path: Path, text: str, where: list[str]) -> None:
    (tmp_path / "m").write_text(text)
    with pytest.raises(Misconfigured) as raised:
        read_manifest(str(tmp_path / "m"))
    assert [f.where for f in raised.value.faults] == where
    with pytest.raises(Misconfigured):
        read_manifest(str(tmp_path / "none"))


def test_a_manifest_of_local_files(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(b"{}\n" * 3)
    assert main(["manifest", f"--input={tmp_path}/*.ndjson", f"--output={tmp_path}/m"]) == 0
    (entry,) = read_manifest(str(tmp_path / "m")).values()
    assert entry == Entry(f"{tmp_path}/a.ndjson", None, 9, "C1ZXvQ==", 3)
    assert check(listed(f"{tmp_path}/*.ndjson"), {entry.object: entry}) == {0: (entry.object, 3)}
    (tmp_path / "a.ndjson").write_bytes(b"{}\n" * 2 + b"[]\n")
    with pytest.raises(Misconfigured, match="crc32c"):
        check(listed(f"{tmp_path}/*.ndjson"), {entry.object: entry})
    (tmp_path / "b.ndjson.gz").write_bytes(gzip.compress(b"{}\n")[:-4])
    assert main(["manifest", f"--input={tmp_path}/*.gz", f"--output={tmp_path}/n"]) == 1
    assert not (tmp_path / "n").exists()


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
