"""The reidentify job on a dataset of BigQuery, by its real flags: values into a restricted table, the audit row before them, and nothing anywhere else."""

import getpass
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.__main__ import main
from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import connect
from pipelines.sinks.bigquery_jobs import Failed
from pipelines.sources.query_bigquery import Question, _AskFn, columns_of
from tests.bigquery_emulator import MISSING, emulator
from tests.reidentifying import SQL, World, world_of
from tests.runs import run
from tests.scan import Scan
from transforms import keys


@pytest.fixture(scope="module")
def filled(key_folder, tmp_path_factory) -> Iterator[World]:
    with world_of(key_folder, tmp_path_factory.mktemp("filled")) as world:
        yield world


@pytest.fixture
def world_of_tables(filled) -> Iterator[World]:
    """With faults of its own."""
    yield filled
    filled.bigquery.faults.clear()
    filled.write.faults.clear()


@pytest.mark.parametrize("engine", ["local", "dlp"])
def test_values_come_back_into_the_table(engine, world_of_tables, capsys, world) -> None:
    w, table = world_of_tables, f"case_{engine}"
    before = len(w.audit())
    more = ["--engine=dlp", "--project=penstock-demo", f"--dlp_endpoint={world.address}"] if engine == "dlp" else []
    assert main(w.job(table, "--json", "--requested_by=ann@bank", *more)) == 0
    shown = capsys.readouterr()
    stored, result = w.bigquery.ask("select application_id, age, submitted_at, d from ds.events order by all"), w.rows(table)
    assert len(result) == len(stored) > 200
    assert [{name: r[name] for name in ("application_id", "age", "submitted_at", "d")} for r in result] == stored
    assert w.as_read(result)
    values = sum(r[c] not in (None, "") for r in result for c in ("email", "ssn"))
    row = w.audit()[before]
    assert row | {"columns": json.loads(row["columns"])} == {
        "run": row["run"], "who": "ann@bank", "account": getpass.getuser(), "purpose": "fraud case 4711", "columns": ["email", "ssn"],
        "contract": "census 1.0", "engine": engine, "query": hashlib.sha256(SQL.encode()).hexdigest(), "destination": f"bq://project.clear.{table}",
        "rows": len(result), "turned_back": values, "no_token": 0, "started": row["started"], "ended": row["ended"]}
    assert row["started"] < row["ended"] and len(w.audit()) == before + 1
    last = json.loads(shown.out.splitlines()[-1])
    assert (last["run"], last["turned_back"], last["columns"]) == (row["run"], values, ["email", "ssn"])
    assert f"result: bq://project.clear.{table}" in shown.out
    assert not any(r["email"] and r["email"] in shown.out + shown.err for r in result)
    assert len(world.service.calls) == (0 if engine == "local" else 1)


def test_a_wrong_key_opens_nothing_says_so_and_is_audited(world_of_tables, tmp_path, capsys) -> None:
    w = world_of_tables
    keys.make(tmp_path / "other")
    assert main(w.job("wrong", keys=tmp_path / "other")) == 1
    shown = capsys.readouterr()
    row = w.audit()[-1]
    assert row["turned_back"] == 0 and row["no_token"] > 400 and f"{row['no_token']:,} were no token" in shown.out and "not one token opened" in shown.err
    assert {r["ssn"] for r in w.rows("wrong")} <= {None, ""} and {r["email"] for r in w.rows("wrong")} <= {None, ""}


def test_an_answer_without_rows_is_a_result_too(world_of_tables) -> None:
    w = world_of_tables
    assert main(w.job("empty", sql="select email from events where false", columns="email")) == 0
    assert ("clear", "empty") in w.bigquery.store.tables and w.rows("empty") == [] and w.audit()[-1]["rows"] == 0
    assert main(w.job("empty", sql="select email from events where email is not null limit 3", columns="email")) == 0, "an empty table is taken over"
    assert len(w.rows("empty")) == 3 and all("@" in r["email"] for r in w.rows("empty"))


def test_every_fault_is_told_at_once_and_nothing_is_made(world_of_tables, tmp_path, capsys) -> None:
    w = world_of_tables
    before, tables, calls = w.audit(), set(w.bigquery.store.tables), len(w.write.calls)
    assert main(w.job("bq://project.ds.case", keys=tmp_path / "none", sql="select application_id from events", columns="email,phone,nope", purpose=" ")) == 2
    told = capsys.readouterr().err
    for part in ("--purpose: is empty", "--destination: lies in the dataset of the tables", "--keys: there is no key folder", "nope is no field",
                 "phone cannot be turned back: characterMaskConfig", "does not answer the column email"):
        assert part in told
    assert (w.audit(), set(w.bigquery.store.tables), len(w.write.calls)) == (before, tables, calls)


@pytest.mark.parametrize(("changed", "told"), [
    ({"sql": "select 1; select 2"}, "SQL: is not one SELECT"), ({"sql": "delete from events where true"}, "SQL: is not one SELECT"),
    ({"sql": "select nope from events"}, "SQL: cannot be run: "), ({"sql": "select email, ssn, ssn as SSN from events"}, "two columns named ssn"),
    ({"sql": "select email, 5 as ssn from events"}, "answers ssn as int64"), ({"sql": "select email, ssn, 1.5::DECIMAL as x from events"}, "answers x as BIGNUMERIC"),
    ({"columns": "email,email"}, "names a column twice"), ({"columns": ","}, "names none"), ({"purpose": " "}, "--purpose: is empty"),
    ({"table": "bq://project.public.case"}, "--destination: lies in a dataset that allAuthenticatedUsers may read"),
    ({"table": "bq://project.nowhere.case"}, "bq://project.nowhere: is no dataset"), ({"table": "bq://project.clear"}, "--destination: is no "),
    ({"table": "bq://project.ds.events"}, "--destination: lies in the dataset"), ({"table": "bq://PROJECT.ds.events"}, "--destination: is no "),
])
def test_requests_that_cannot_run(changed, told, world_of_tables, capsys) -> None:
    w, before = world_of_tables, set(world_of_tables.bigquery.store.tables)
    assert main(w.job(changed.pop("table", "never"), **changed)) == 2
    assert told in capsys.readouterr().err and set(w.bigquery.store.tables) == before


def test_tables_that_cannot_take_the_result(world_of_tables, capsys) -> None:
    w = world_of_tables
    field = {"name": "email", "type": "STRING"}
    for name, fields in (("full", [field]), ("other", [field, {"name": "x", "type": "STRING"}]), ("strict", [{**field, "mode": "REQUIRED"}]), ("fit", [field])):
        w.bigquery.store.make_table("clear", name, {"schema": {"fields": fields}})
    w.bigquery.store.db.execute("INSERT INTO clear.full VALUES ('a')")
    asked = {"sql": "select email from events", "columns": "email"}
    for name, told in (("full", "is not empty"), ("other", "x is not declared"), ("strict", "email is STRING NOT NULL and declared STRING")):
        assert main(w.job(name, **asked)) == 2
        assert f"--destination: {'' if name == 'full' else 'has other columns than the answer: '}{told}" in capsys.readouterr().err
    assert main(w.job("fit", **asked)) == 0 and len(w.rows("fit")) > 200, "one that somebody made, with its own description and tags"
    assert main(w.job("fit", **asked)) == 2


def test_tables_of_another_contract(world_of_tables, capsys) -> None:
    assert main(world_of_tables.job("never", contract="gaming")) == 2
    assert "is gaming, and the tables hold events of census" in capsys.readouterr().err


def test_a_folder_may_take_what_bigquery_answers(world_of_tables, tmp_path, capsys) -> None:
    w = world_of_tables
    assert main(w.job(str(tmp_path / "private"))) == 0
    result = pq.read_table(tmp_path / "private" / "result.parquet")
    assert result.num_rows == w.audit()[-1]["rows"] > 200 and any("@" in (e or "") for e in result["email"].to_pylist())
    assert w.audit()[-1]["destination"] == str(tmp_path / "private")


def test_a_table_may_take_what_a_folder_of_tables_answers(world_of_tables, tmp_path, capsys) -> None:
    w, before = world_of_tables, len(world_of_tables.audit())
    assert main(["batch", "--contract=census", f"--input={w.input}", f"--output={tmp_path}/out", f"--keys={w.keys}"]) == 0
    job = w.job("from_folder", "--json", sql="select application_id, email, ssn, age, d from events")
    assert main([job[0], f"{tmp_path}/out", *job[2:]]) == 0
    audit = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(w.rows("from_folder")) == audit["rows"] > 250 and w.as_read(w.rows("from_folder"))
    assert len(w.audit()) == before, "the audit row stands where the tables are"
    job = w.job("from_folder_too", sql="select email, ssn, sum(age) as ages, list(age) as each from events group by all")
    assert main([job[0], f"{tmp_path}/out", *job[2:]]) == 2
    assert "SQL: answers ages as decimal128(38, 0), each as list<" in capsys.readouterr().err


def test_numbers_are_read_as_they_were(world_of_tables) -> None:
    """A context is hashed as the text of the number that was read: BigQuery has but 64 bits, the contract 32."""
    w = world_of_tables
    question = Question(Dataset("project", "ds"), "EU", "select age, 0.1::DOUBLE as x, age as n from events order by age limit 3", w.bigquery.url)
    schema = columns_of(question, pa.schema([("age", pa.int32()), ("x", pa.float32()), ("other", pa.int32())]))
    assert schema.types == [pa.int32(), pa.float32(), pa.int64()]
    batches = list(_AskFn(replace(question, most=2), schema).process(b""))
    assert [b.num_rows for b in batches] == [0, 2, 1] and all(b.schema == schema for b in batches)
    assert batches[1]["x"].to_pylist() == [pa.scalar(0.1, pa.float32()).as_py()] * 2
    with pytest.raises(Failed, match="numbers that their fields in the contract cannot"):
        list(_AskFn(replace(question, sql="select 5000000000 as age"), pa.schema([("age", pa.int32())])).process(b""))


def test_bqemulator_gives_the_same(world_of_tables) -> None:
    """Somebody else's idea of GoogleSQL, of dry runs and of pending streams."""
    w = world_of_tables
    assert main(w.job("ours")) == 0
    with emulator("project") as there:
        if there is None:
            pytest.skip(MISSING)
        client, url, host = connect("project", there[0]), *there
        for name in ("ds", "clear"):
            client.create_dataset(name)
        assert main(["tables", "--contract=census", "--output=bq://project.ds", f"--bigquery_endpoint={url}", "--apply"]) == 0
        events = [{name: value for name, value in row.items() if value is not None} for row in w.bigquery.ask("select * from ds.events")]
        rows = json.loads(json.dumps(events, default=lambda at: at.isoformat()))
        assert client.insert_rows_json("project.ds.events", rows, retry=None) == []
        flags = [f for f in w.job("theirs") if "endpoint" not in f]
        assert main([*flags, f"--bigquery_endpoint={url}", f"--bigquery_storage_endpoint={host}"]) == 0
        ours = w.rows("ours")
        found = client.query(f"SELECT {', '.join(ours[0])} FROM clear.theirs ORDER BY application_id").result()
        assert [dict(row.items()) for row in found] == ours and len(ours) > 200
        (audit,) = [dict(row.items()) for row in client.query("SELECT turned_back, destination FROM ds.reidentifications").result()]
        assert audit == {"turned_back": w.audit()[-1]["turned_back"], "destination": "bq://project.clear.theirs"}


def test_no_value_stands_anywhere_but_in_the_table(world_of_tables, tmp_path) -> None:
    """Not in a file, however short it lived, nor in what is printed, nor in a request but those of the Storage Write API."""
    w = world_of_tables
    w.bigquery.bodies.clear()
    w.bigquery.calls.clear()
    seen = run(tmp_path, *w.job("alone", "--json"))
    assert seen.code == 0 and seen.outputs["stderr"] == b""
    assert len(w.rows("alone")) > 200
    clear = {f"{i} {name}": row[name] for i, row in w.first.items() for name in ("email", "ssn") if row.get(name)}
    sent = {f"{n} {call}": body for n, (call, body) in enumerate(zip(w.bigquery.calls, w.bigquery.bodies, strict=True))}
    assert len(clear) > 500 and len(sent) > 5 and not Scan(clear).of(seen.outputs | sent)
    assert Scan(clear).of({"table": json.dumps(w.rows("alone"), default=str).encode()}), "the scan finds them where they are"
