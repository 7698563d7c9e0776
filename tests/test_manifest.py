"""Manifests: what is there is held against them before anything is read, and the rows before anything is committed."""

import gzip
import json
import re
from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.sinks.lake import Lake
from pipelines.sources.files import listed
from pipelines.sources.manifest import Entry, check, read_manifest
from pipelines.sources.row_check import FileRows, differences
from schemas.errors import Misconfigured
from tests.gcs_emulator import Gate
from tests.test_gcs import batch, gate, in_every_format, rows, storage  # noqa: F401


def test_a_manifest_is_held_against_what_is_there(gate: Gate, rows: list[dict], tmp_path: Path, key_folder: Path, capsys) -> None:  # noqa: F811
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
def test_a_file_cut_between_two_rows_is_noticed_before_the_commit(gate: Gate, rows: list[dict], tmp_path: Path, key_folder: Path, capsys, remote: bool) -> None:  # noqa: F811
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


def test_rows_are_compared_by_file_over_all_its_pieces() -> None:  # noqa: F811
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
