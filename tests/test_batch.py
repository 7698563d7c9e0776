"""The batch job by its real flags: files to tables, against the generator's books."""

import csv
import gzip
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import fastavro
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.__main__ import main
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_catalog import load_extensions
from schemas.contract import load
from transforms.seal import private_key, unseal

DAYS = ("2026-03-02", "2026-03-03", "2026-03-04", "2026-03-05")


def batch(capsys, source, output, keys, *more: str) -> dict:
    """Runs the job and answers its ledger row; the exit code must say what the row says."""
    code = main(["batch", "--contract=census", f"--input={source}", f"--output={output}", f"--keys={keys}", "--json", *more])
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == (0 if row["balanced"] else 1)
    return row


def ask(output, sql: str) -> list[dict]:
    return Lake.reader(str(output)).query(sql).to_pylist()


@pytest.fixture(scope="module")
def stored(census, key_folder, tmp_path_factory) -> tuple[Path, dict]:
    """Tables after one run that adds, and its ledger row."""
    output = tmp_path_factory.mktemp("stored") / "OUT"
    done = subprocess.run([sys.executable, "-m", "pipelines", "batch", "--contract=census", f"--input={census}/*.ndjson", f"--output={output}",
                           f"--keys={key_folder}", "--json"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"(\d[\d,]* read   .*\n)*", done.stderr), "nothing, or how far a slow machine has come"
    return output, json.loads(done.stdout.splitlines()[-1])


def test_books_are_the_generators(census, stored) -> None:
    truth = json.loads((census / "truth.json").read_text())
    output, row = stored
    assert {k: row[k] for k in ("read", "stored", "repeated", "refused", "reasons")} == {k: truth[k] for k in ("read", "stored", "repeated", "refused", "reasons")}
    assert row["balanced"] and row["partitions"] == [] and row["contract"] == "census 1.0" and row["job"] == "batch"
    assert {r["d"].isoformat(): r["n"] for r in ask(output, "select d, count(*) as n from events group by d")} == truth["stored_by_day"]
    assert {r["reason"]: r["n"] for r in ask(output, "select reason, count(*) as n from failures group by reason")} == truth["reasons"]
    (kept,) = ask(output, "select * from runs")
    assert (kept["run"], kept["fingerprint"], json.loads(kept["reasons"])) == (row["run"], row["fingerprint"], row["reasons"])


def test_every_row_is_the_first_copy_and_as_the_policy_says(census, stored) -> None:
    first: dict[str, dict] = {}
    for line in next(census.glob("*.ndjson")).open("rb"):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict) and isinstance(row.get("application_id"), str):
            first.setdefault(row["application_id"], row)
    rows = ask(stored[0], "select * from events")
    assert len({r["application_id"] for r in rows}) == len(rows) > 3_000
    clear = ("age", "education", "capital_gain", "sex", "hours_per_week")
    same = [r for r in rows if all(r[c] == first[r["application_id"]].get(c) for c in clear)]
    assert len(same) >= len(rows) - 10, "only ids whose first line was broken may differ"
    for row in rows:
        before = first[row["application_id"]]
        for field in ("full_name", "email", "ssn", "phone"):
            assert row[field] is None or not before.get(field) or row[field] != before[field]
        assert not row["ip"]
        assert row["fnlwgt"] is None or row["fnlwgt"] % 25_000 == 0
        assert 0 <= row["score"] <= 1 and row["label"] == (row["score"] > 0.5)
        assert row["d"].isoformat() == row["submitted_at"].date().isoformat()
    contract = load("census")
    lineage = {(r["contract_version"], r["policy_digest"], r["model_name"], r["model_version"], r["model_digest"]) for r in rows}
    assert lineage == {(contract.version, contract.policy_digest, contract.model.name, contract.model.version, contract.model.sha256)}


def test_columns_are_the_promised_ones(stored) -> None:
    fields = [f.name for f in load("census").fields]
    lineage = ["origin", "d", "score", "label", "contract_version", "policy_digest", "model_name", "model_version", "model_digest", "id_hash", "content_hash", "run", "watermark"]
    assert list(ask(stored[0], "select * from events limit 1")[0]) == fields + lineage
    assert list(ask(stored[0], "select * from failures limit 1")[0]) == ["run", "stage", "reason", "field", "origin", "attempt", "d", "sealed", "key"]
    assert list(ask(stored[0], "select * from runs"))[0].keys() >= {"run", "job", "contract", "read", "stored", "repeated", "refused", "late", "reasons",
                                                                    "fingerprint", "started", "ended", "balanced"}


def test_origin_names_the_line(census, stored) -> None:
    path = next(census.glob("*.ndjson"))
    content = path.read_bytes()
    for row in ask(stored[0], "select origin, application_id from events using sample 50"):
        file, _, offset = row["origin"].rpartition(":")
        assert file == str(path) and orjson.loads(content[int(offset):].split(b"\n")[0])["application_id"] == row["application_id"]


def test_failures_open_with_the_private_key_alone(census, stored, key_folder, capsys) -> None:
    output, row = stored
    lines = next(census.glob("*.ndjson")).read_bytes().split(b"\n")
    unwrap = private_key((key_folder / "failures.private.pem").read_bytes())
    for f in ask(output, "select * from failures where reason = 'malformed'"):
        assert unseal(f["sealed"], f["run"], f["stage"], f["reason"], f["origin"], unwrap) in lines
    assert main(["open", str(output), f"--private_key={key_folder}/failures.private.pem", "--reason=conflict"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(shown) == row["reasons"]["conflict"]
    assert all(orjson.loads(s["row"])["application_id"] and s["stage"] == "deduplicate" for s in shown)


def test_adding_again_repeats_every_row(census, stored, key_folder, tmp_path, capsys) -> None:
    output = tmp_path / "OUT"
    shutil.copytree(stored[0], output)
    before = ask(output, "select * from events order by application_id")
    row = batch(capsys, f"{census}/*.ndjson", output, key_folder)
    assert (row["stored"], row["repeated"], row["refused"]) == (0, stored[1]["stored"] + stored[1]["repeated"], stored[1]["refused"])
    assert ask(output, "select * from events order by application_id") == before


def test_replacing_gives_the_same_table_each_time(census, key_folder, tmp_path, capsys) -> None:
    output, other, empty = tmp_path / "OUT", tmp_path / "other.ndjson", tmp_path / "empty.ndjson"
    lines = [line for line in next(census.glob("*.ndjson")).read_bytes().split(b"\n") if line]
    other.write_bytes(b"\n".join(lines[:1500]) + b"\n")
    empty.write_bytes(b"")
    prints = {}
    for source in ("A", "A", "B", "A", "empty", "A"):
        path = {"A": f"{census}/*.ndjson", "B": other, "empty": empty}[source]
        row = batch(capsys, path, output, key_folder, f"--partition={','.join(DAYS[:2])}")
        rows = ask(output, "select * from events order by application_id")
        assert len(rows) == row["stored"] and {r["d"].isoformat() for r in rows} <= set(DAYS[:2])
        assert prints.setdefault(source, (row["fingerprint"], rows)) == (row["fingerprint"], rows)
    assert prints["empty"][1] == [] and len({p for p, _ in prints.values()}) == 3
    assert row["partitions"] == list(DAYS[:2]) and row["reasons"]["other_partition"] > 1_000
    assert row["read"] == row["stored"] + row["repeated"] + row["refused"]


def test_replacing_leaves_other_days_alone(census, stored, key_folder, tmp_path, capsys) -> None:
    output = tmp_path / "OUT"
    shutil.copytree(stored[0], output)
    others = f"select * from events where d <> '{DAYS[1]}' order by application_id"
    before = ask(output, others)
    (tmp_path / "empty.ndjson").write_bytes(b"")
    batch(capsys, tmp_path / "empty.ndjson", output, key_folder, f"--partition={DAYS[1]}")
    assert ask(output, others) == before and len(before) > 2_000
    assert ask(output, f"select count(*) as n from events where d = '{DAYS[1]}'") == [{"n": 0}]


def as_csv(rows: list[dict], names: list[str]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)
    return text.getvalue().encode()


@pytest.mark.parametrize("form", ["ndjson.gz", "csv", "csv.gz", "avro", "parquet"])
def test_every_format_stores_the_same_rows(form, census, key_folder, tmp_path, capsys) -> None:
    fields = load("census").fields
    names = [f.name for f in fields]
    rows, seen = [], set()
    for line in next(census.glob("*.ndjson")).open("rb"):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict) and set(row) <= set(names) and row.get("note") != "" and str(row.get("application_id")) not in seen and len(line) < 5_000:
            if all(type(row.get(f.name)) in ((int, type(None)) if f.type == "int" else (str,) if not f.nullable else (str, type(None)))
                   for f in fields) and all(not isinstance(v, int) or abs(v) < 2**31 for v in row.values()) and "" not in row.values():
                seen.add(row["application_id"])
                rows.append({n: row.get(n) for n in names})
    rows = rows[:800]
    plain = tmp_path / "rows.ndjson"
    plain.write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in rows))
    path = tmp_path / f"rows.{form}"
    content = as_csv(rows, names) if form.startswith("csv") else plain.read_bytes()
    if form == "avro":
        schema = {"type": "record", "name": "e", "fields": [{"name": f.name, "type": ["null", "int" if f.type == "int" else "string"]} for f in fields]}
        with path.open("wb") as file:
            fastavro.writer(file, schema, rows, codec="deflate")
    elif form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_bytes(gzip.compress(content) if form.endswith(".gz") else content)
    reference = batch(capsys, plain, tmp_path / "PLAIN", key_folder)
    row = batch(capsys, path, tmp_path / "OUT", key_folder)
    assert (row["read"], row["stored"], row["refused"], row["fingerprint"]) == (len(rows), reference["stored"], reference["refused"], reference["fingerprint"])
    assert row["stored"] > 700


def test_opens_in_plain_duckdb(stored) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    (block,) = re.findall(r"```sql\n(.*?)```", readme, re.DOTALL)
    install, attach, select = block.strip().splitlines()
    assert install == "INSTALL ducklake; INSTALL sqlite;"  # needs a network; the wheels hold the same extensions
    plain = duckdb.connect()
    load_extensions(plain)
    plain.execute(attach.replace("OUT", str(stored[0])))
    assert len(plain.execute(select).fetchall()) == 1
    assert plain.execute("select count(*) from lake.events").fetchone() == (stored[1]["stored"],)


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--contract=nowhere", "--input=/none/*.ndjson", "--output=x"], ["--contract", "--input"]),
    (["--contract=census", "--input=/none/*.ndjson", "--output=x", "--runner=SparkRunner"], ["--input", "--runner"]),
    (["--contract=census", "--input=/none/*.ndjson", "--output=x", "--direct_running_mode=multi_processing"], ["--input", "--direct_running_mode"]),
    (["--contract=census"], ["--input", "--output"]),
])
def test_what_cannot_run_says_all_that_is_wrong(arguments, expected, key_folder, capsys) -> None:
    assert main(["batch", *arguments, f"--keys={key_folder}"]) == 2
    told = capsys.readouterr().err
    assert all(f"  {where}: " in told for where in expected), told


def test_a_contract_with_faults_is_refused_whole(tmp_path, census, key_folder, capsys) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(Path(load("census").folder), folder)
    schema = json.loads((folder / "event.avsc").read_text())
    del schema["fields"][2]["privacy"]
    (folder / "event.avsc").write_text(json.dumps(schema))
    policy = (folder / "deidentify.json").read_text().replace('"redactConfig"', '"redactConfg"')
    (folder / "deidentify.json").write_text(policy)
    (folder / "model.onnx").write_bytes(b"another model")
    assert main(["batch", f"--contract={folder}", f"--input={census}/*.ndjson", f"--output={tmp_path}/OUT", f"--keys={key_folder}"]) == 2
    told = capsys.readouterr().err
    assert "event.avsc" in told and "redactConfg" in told and "model" in told
    assert not (tmp_path / "OUT").exists()


def test_broken_files_are_noticed_and_the_others_stored(census, key_folder, tmp_path, capsys) -> None:
    source = tmp_path / "in"
    source.mkdir()
    packed = gzip.compress(next(census.glob("*.ndjson")).read_bytes())
    (source / "cut.ndjson.gz").write_bytes(packed[: len(packed) // 2])
    (source / "junk.avro").write_bytes(b"Obj\x01junk")
    (source / "junk.parquet").write_bytes(b"PAR1junk")
    shutil.copy(next(census.glob("*.ndjson")), source / "whole.ndjson")
    row = batch(capsys, f"{source}/*", tmp_path / "OUT", key_folder)
    truth = json.loads((census / "truth.json").read_text())
    assert row["stored"] == truth["stored"] and row["repeated"] > truth["repeated"]
    told = {(r["reason"], r["origin"].rpartition("/")[2].split(":")[0]) for r in ask(tmp_path / "OUT", "select * from failures where stage = 'read'")}
    assert {name for _, name in told} == {"cut.ndjson.gz", "junk.avro", "junk.parquet"} and ("truncated", "cut.ndjson.gz") in told


def test_a_bomb_is_refused_in_bounded_memory(key_folder, tmp_path) -> None:
    with gzip.open(tmp_path / "bomb.ndjson.gz", "wb", 9) as file:
        for _ in range(300):
            file.write(bytes(1_000_000))
    # VmHWM is the peak of this program alone; what getrusage tells is inherited from the process that started it.
    program = ("import re, sys; from pipelines.__main__ import main; code = main(sys.argv[1:]);"
               "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024); sys.exit(code)")
    done = subprocess.run([sys.executable, "-c", program, "batch", "--contract=census", f"--input={tmp_path}/*.gz", f"--output={tmp_path}/OUT",
                           f"--keys={key_folder}"], capture_output=True, text=True, check=True)
    assert "1 read = 0 stored + 0 repeated + 1 refused (too_large 1)" in done.stdout
    assert int(done.stdout.splitlines()[-1]) < 512
