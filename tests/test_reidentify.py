"""Reidentify: tokens back to values by either engine, audited; all that may not be turned back is refused before it starts."""

import getpass
import hashlib
import json
import stat
from dataclasses import replace
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.__main__ import main
from pipelines.reidentify import publish
from pipelines.sinks import lake_audit
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_audit import Reidentification
from pipelines.sinks.restricted import Part
from pipelines.tools.generate import write
from schemas.errors import Misconfigured, Transient
from schemas.fields import Field
from tests.contracts import plain_contract
from tests.dlp_contract import OVER_90, Addresses, batch, key, rule
from tests.dlp_faults import FaultPlan
from tests.dlp_world import PATIENT, World, dlp_world
from tests.runs import run
from tests.scan import Scan
from transforms import keys
from transforms.engines.local import LocalEngine
from transforms.engines.reversal import needs, reversals
from transforms.engines.reversal_dlp import DlpReverser, Reversing
from transforms.engines.reversal_local import LocalReverser
from transforms.keys import Keys
from transforms.reidentify import Reidentify, Turned, reidentify

QUICK = replace(PATIENT, attempt=0.1, total=0.3)
FIELDS = (
    Field("email", "string", True, "identifier", "Token."), Field("card", "string", True, "identifier", "Token of its id, marked."),
    Field("ssn", "string", True, "identifier", "FPE.", pattern="[0-9]{3}-[0-9]{2}-[0-9]{4}"),
    Field("code", "string", True, "identifier", "FPE of its branch, marked."), Field("branch", "int", True, "public", "A number."),
    Field("account", "int", True, "identifier", "FPE of a number."), Field("born", "date", True, "identifier", "Token of a date."),
    Field("seen", "timestamp-micros", True, "identifier", "Token of a time."), Field("rate", "double", True, "identifier", "Token of a number."),
    Field("member", "boolean", True, "identifier", "Token."), Field("name", "string", True, "identifier", "Hash."),
    Field("phone", "string", True, "identifier", "Mask."), Field("grade", "string", True, "sensitive", "Token where branch is over 90."),
    Field("linked", "string", True, "identifier", "Token of its name."), Field("note", "string", True, "free_text", "Searched."),
    Field("day", "date", True, "identifier", "Shifted."))


def token(field: str, **more: Any) -> dict[str, Any]:
    return rule(field, cryptoDeterministicConfig={"cryptoKey": key("token"), **more})


def fpe(field: str, alphabet: str, **more: Any) -> dict[str, Any]:
    return rule(field, cryptoReplaceFfxFpeConfig={"cryptoKey": key("fpe"), "customAlphabet": alphabet, **more})


RULES = [
    token("email"), token("card", context={"name": "id"}, surrogateInfoType={"name": "CARD"}), fpe("ssn", "0123456789-"),
    fpe("code", "ABCDEFGH", context={"name": "branch"}, surrogateInfoType={"name": "CODE"}), fpe("account", "0123456789"), token("born"), token("seen"),
    token("rate"), token("member"), rule("name", cryptoHashConfig={"cryptoKey": key("hash")}), rule("phone", characterMaskConfig={"numberToMask": -2}),
    token("grade") | {"condition": OVER_90 | {"expressions": {"conditions": {"conditions": [
        {"field": {"name": "branch"}, "operator": "GREATER_THAN", "value": {"integerValue": 90}}]}}}},
    token("linked", context={"name": "name"}),
    {"fields": [{"name": "note"}], "infoTypeTransformations": {"transformations": [{"primitiveTransformation": {
        "cryptoDeterministicConfig": {"cryptoKey": key("token"), "surrogateInfoType": {"name": "NOTE"}}}}]}},
    rule("day", dateShiftConfig={"lowerBoundDays": 1, "upperBoundDays": 30, "context": {"name": "id"}, "cryptoKey": key("date")}),
]
CONTRACT = plain_contract(FIELDS, deidentify=json.dumps({"deidentifyConfig": {"recordTransformations": {"fieldTransformations": RULES}}}))
COLUMNS = ("email", "card", "ssn", "code", "account", "born", "seen", "rate", "member")
ROWS = [{"email": f"p{i % 40}@example.com" if i % 7 else None, "card": f"41{i % 9:014}", "ssn": f"{100 + i:03}-45-{i:04}" if i % 5 else "",
         "code": "ABCD" if i % 2 else "HGFEDC", "branch": i % 3 if i % 11 else None, "account": 10_000 + i, "born": date(1970, 1, 1 + i % 28),
         "seen": datetime(2026, 3, 4, 5, 6, 7, i, timezone.utc), "rate": i / 8, "member": i % 3 == 0} for i in range(150)]


@pytest.fixture(scope="module")
def ring(key_folder) -> Keys:
    return Keys(str(key_folder))


@pytest.fixture
def world(ring):
    with dlp_world(ring) as world:
        yield world


@pytest.fixture(scope="module")
def stored(ring) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Rows as they were read, and as they are stored."""
    plain = batch(ROWS, CONTRACT)
    engine = LocalEngine(CONTRACT, ring, Addresses()).start()
    engine.setup()
    tokens, refused = engine.deidentify(plain)
    assert not refused
    return plain, tokens


def local(ring: Keys, columns: tuple[str, ...] = COLUMNS, proven: bool = True) -> Any:
    config = LocalReverser(CONTRACT, columns, ring, proven)
    assert config.faults() == []
    reverser = config.start()
    reverser.setup()
    return reverser


def dlp(world: World, columns: tuple[str, ...] = COLUMNS, **changed: Any) -> Reversing:
    config = DlpReverser(world.config(CONTRACT, **changed), columns)
    assert config.faults() == []
    reverser = config.start()
    reverser.setup()
    return reverser


def other_ring(folder: Path) -> Keys:
    keys.make(folder)
    return Keys(str(folder))


@pytest.mark.parametrize("engine", ["local", "dlp"])
def test_every_type_comes_back_as_it_was_read(engine, stored, ring, world) -> None:
    plain, tokens = stored
    rows, turned = reidentify(tokens, local(ring) if engine == "local" else dlp(world))
    assert rows.schema.names == tokens.schema.names
    for name in COLUMNS:
        assert tokens[name].null_count == len(ROWS) or tokens[name].type == pa.string()
        assert rows[name].equals(plain[name]), name
    cells = {name: sum(v not in (None, "") for v in plain[name].to_pylist()) for name in COLUMNS}
    assert turned == [Turned(name, cells[name], 0) for name in COLUMNS]
    assert len(world.service.calls) == (0 if engine == "local" else 1)


@pytest.mark.parametrize("engine", ["local", "dlp"])
def test_what_is_no_token_becomes_null_and_the_others_open(engine, stored, ring, world) -> None:
    plain, tokens = stored
    foreign = ("nobody@example.com", "AAAA", tokens["email"][8].as_py()[:-5] + "AAA=", "CARD(8):AAAAAAAA")
    emails = pa.array([foreign[i // 10] if i in (0, 10, 20, 30) else v for i, v in enumerate(tokens["email"].to_pylist())])
    cards = pa.array([*tokens["card"].to_pylist()[1:], None])  # of other ids
    ssns = pa.array(["not one", *tokens["ssn"].to_pylist()[1:]])
    mixed = tokens.set_column(tokens.schema.names.index("email"), "email", emails).set_column(tokens.schema.names.index("card"), "card", cards)
    mixed = mixed.set_column(tokens.schema.names.index("ssn"), "ssn", ssns)
    rows, turned = reidentify(mixed, (local(ring, ("email", "card", "ssn")) if engine == "local" else dlp(world, ("email", "card", "ssn"))))
    assert rows["email"].to_pylist() == [None if i in (0, 10, 20, 30) else v for i, v in enumerate(plain["email"].to_pylist())]
    assert rows["card"].null_count == len(ROWS) and rows["ssn"].to_pylist() == [None, *plain["ssn"].to_pylist()[1:]]
    assert {t.column: t.no_token for t in turned} == {"email": 4, "card": len(ROWS) - 1, "ssn": 1}
    assert len(world.service.calls) <= 1


def test_another_key_opens_nothing(stored, tmp_path) -> None:
    _, tokens = stored
    other = other_ring(tmp_path / "other")
    rows, turned = reidentify(tokens, local(other, proven=False))
    assert all(rows[name].null_count + rows[name].to_pylist().count("") >= len(ROWS) for name in COLUMNS)
    assert sum(t.values for t in turned) == 0 and sum(t.no_token for t in turned) > len(ROWS) * 7
    # Where it is not known that the keys are others, FPE is believed only where the field's domain allows what it answers.
    rows, (turned, codes) = reidentify(tokens, local(other, ("ssn", "code")))
    assert turned.values <= 2 and turned.no_token >= 118 and codes.values == len(ROWS)


def test_dlp_that_refuses_a_request_for_one_value_is_asked_for_the_others(stored, world) -> None:
    plain, tokens = stored
    world.service.poison = tokens["email"][1].as_py()
    rows, turned = reidentify(tokens, dlp(world, ("email", "ssn")))
    lost = [i for i in range(len(ROWS)) if plain["email"][i].as_py() == plain["email"][1].as_py()]
    assert rows["email"].to_pylist() == [None if i in lost else v for i, v in enumerate(plain["email"].to_pylist())]
    assert rows["ssn"].equals(plain["ssn"]) and [t.no_token for t in turned] == [len(lost), 0] and 2 < len(world.service.calls) < 40


def test_requests_are_packed_retried_and_never_over_a_limit(stored, world) -> None:
    plain, tokens = stored
    many = pa.Table.from_batches([tokens] * 2).combine_chunks().to_batches()[0]
    many = many.set_column(many.schema.names.index("id"), "id", pa.array([f"case-{i % len(ROWS)}" for i in range(many.num_rows)]))
    world.service.plan = FaultPlan("429", calls=3)
    limits = replace(world.config(CONTRACT).limits, bytes=12_000)
    rows, _ = reidentify(many, dlp(world, limits=limits))
    assert rows["card"].to_pylist() == plain["card"].to_pylist() * 2 and rows["seen"].to_pylist() == plain["seen"].to_pylist() * 2
    assert {method for method, _, _ in world.service.calls} == {"reidentify"}
    assert max(size for _, size, _ in world.service.calls) <= 12_000 and 4 < len(world.service.calls) < 20


def test_an_outage_is_no_answer(stored, world) -> None:
    world.service.plan = FaultPlan("503")
    with pytest.raises(Transient) as caught:
        reidentify(stored[1], dlp(world, backoff=QUICK))
    assert "@example" not in str(caught.value)


@pytest.mark.parametrize(("column", "why"), [
    ("nope", "is no field"), ("branch", "nothing to turn back"), ("name", "cryptoHashConfig, a hash has no way back"), ("phone", "characterMaskConfig"),
    ("grade", "under a condition"), ("linked", "its context, name, is itself not stored"), ("note", "inside its text"), ("day", "dateShiftConfig")])
def test_what_cannot_be_turned_back_is_named_with_the_reason(column, why, ring, world) -> None:
    for config in (LocalReverser(CONTRACT, (column, "email"), ring), DlpReverser(world.config(CONTRACT), (column, "email"))):
        (fault,) = config.faults()
        assert fault.where == "--columns" and column in fault.problem and why in fault.problem
        with pytest.raises(Misconfigured):
            Reidentify(config)


@pytest.mark.parametrize("rules", [
    [rule("email", redactConfig={})], [rule("email", replaceConfig={"newValue": {"stringValue": "x"}})],
    [rule("email", replaceDictionaryConfig={"wordList": {"words": ["alpha"]}})], [rule("seen", timePartConfig={"partToExtract": "YEAR"})],
    [rule("rate", fixedSizeBucketingConfig={"lowerBound": {"integerValue": 1}, "upperBound": {"integerValue": 9}, "bucketSize": 2})],
    [rule("rate", bucketingConfig={"buckets": [{"max": {"integerValue": 9}}]})]])
def test_no_other_transformation_can_be_turned_back(rules) -> None:
    of = plain_contract(FIELDS, deidentify=json.dumps({"deidentifyConfig": {"recordTransformations": {"fieldTransformations": rules}}}))
    column, primitive = rules[0]["fields"][0]["name"], next(iter(rules[0]["primitiveTransformation"]))
    found, (fault,) = reversals(of, [column])
    assert not found and f"{column} cannot be turned back: {primitive}, " in fault.problem and "no way back" not in fault.problem


def test_an_answer_needs_tokens_and_contexts_as_they_are_stored() -> None:
    found, _ = reversals(CONTRACT, ["card", "code", "email"])
    whole = pa.schema([("card", pa.string()), ("id", pa.string()), ("code", pa.string()), ("branch", pa.int32()), ("email", pa.string())])
    assert needs(found, CONTRACT, whole) == []
    assert [f.problem for f in needs(found, CONTRACT, pa.schema([("card", pa.string()), ("code", pa.binary()), ("branch", pa.int64())]))] == [
        "does not answer the column id, which is the context of card", "answers code as binary, and what holds its tokens is string",
        "answers branch as int64, and what is the context of code is int32", "does not answer the column email, which holds its tokens"]


@pytest.fixture(scope="module")
def tables(key_folder, tmp_path_factory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """OUT with census events, and by id the first event that was read."""
    folder = tmp_path_factory.mktemp("tables")
    write("census", 300, 3, folder / "in")
    assert main(["batch", "--contract=census", f"--input={folder}/in/*.ndjson", f"--output={folder}/world/out", f"--keys={key_folder}"]) == 0
    first: dict[str, dict[str, Any]] = {}
    for line in next((folder / "in").glob("*.ndjson")).read_bytes().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        first.setdefault(row.get("application_id"), row)
    return folder / "world" / "out", first


SQL = "select application_id, email, ssn, age from events order by application_id desc"


def job(out: Path, destination: Path, *more: str, sql: str = SQL, columns: str = "email,ssn", purpose: str = "fraud case 4711") -> list[str]:
    return ["reidentify", str(out), sql, "--contract=census", f"--columns={columns}", f"--purpose={purpose}", f"--destination={destination}", *more]


def audit(out: Path) -> list[dict[str, Any]]:
    reader = Lake.reader(str(out))
    try:
        there = reader.query("select 1 from duckdb_tables() where table_name = 'reidentifications'").num_rows
        return reader.query("from reidentifications order by started").to_pylist() if there else []
    finally:
        reader.close()


@pytest.mark.parametrize("engine", ["local", "dlp"])
def test_the_job_turns_census_tokens_back(engine, tables, key_folder, tmp_path, capsys, world) -> None:
    out, first = tables
    before, destination = len(audit(out)), tmp_path / "made" / "private"
    more = [f"--keys={key_folder}"] if engine == "local" else ["--engine=dlp", "--project=penstock-demo", f"--dlp_endpoint={world.address}"]
    assert main(job(out, destination, "--json", "--requested_by=ann@bank", *more)) == 0
    shown = capsys.readouterr()
    result = pq.read_table(destination / "result.parquet").to_pylist()
    assert result == [{name: first[r["application_id"]].get(name) for name in r} for r in result] and len(result) > 280
    assert [r["application_id"] for r in result] == sorted((r["application_id"] for r in result), reverse=True)
    assert stat.S_IMODE(destination.stat().st_mode) == 0o700 and [p.name for p in destination.iterdir()] == ["result.parquet"]
    assert stat.S_IMODE((destination / "result.parquet").stat().st_mode) == 0o600
    values = sum(r[c] not in (None, "") for r in result for c in ("email", "ssn"))
    row = audit(out)[before]
    assert row | {"columns": json.loads(row["columns"])} == {
        "run": row["run"], "who": "ann@bank", "account": getpass.getuser(), "purpose": "fraud case 4711", "columns": ["email", "ssn"],
        "contract": "census 1.0", "engine": engine, "query": hashlib.sha256(SQL.encode()).hexdigest(), "destination": str(destination),
        "rows": len(result), "turned_back": values, "no_token": 0, "started": row["started"], "ended": row["ended"]}
    assert row["started"] < row["ended"] and len(audit(out)) == before + 1
    last = json.loads(shown.out.splitlines()[-1])
    assert last["run"] == row["run"] and last["turned_back"] == values and last["columns"] == ["email", "ssn"]
    assert not any(r["email"] and r["email"] in shown.out + shown.err for r in result)
    assert len(world.service.calls) == (0 if engine == "local" else 1)


def test_no_value_stands_anywhere_but_in_the_destination(tables, key_folder, tmp_path) -> None:
    out, first = tables
    seen = run(out.parent, *job(out, tmp_path / "d", "--json", f"--keys={key_folder}"))
    assert seen.code == 0 and seen.outputs["stderr"] == b""
    assert pq.read_table(tmp_path / "d" / "result.parquet").num_rows > 280
    clear = {f"{i} {name}": row[name] for i, row in first.items() for name in ("email", "ssn") if row.get(name)}
    assert len(clear) > 500 and any(name.startswith("out/data") for name in seen.outputs) and not Scan(clear).of(seen.outputs)


def test_a_wrong_key_opens_nothing_says_so_and_is_audited(tables, tmp_path, capsys) -> None:
    out, _ = tables
    other_ring(tmp_path / "other")
    assert main(job(out, tmp_path / "d", f"--keys={tmp_path}/other")) == 1
    shown = capsys.readouterr()
    row = audit(out)[-1]
    assert row["turned_back"] == 0 and row["no_token"] > 500 and f"{row['no_token']:,} were no token" in shown.out and "not one token opened" in shown.err
    assert set(pq.read_table(tmp_path / "d" / "result.parquet")["ssn"].to_pylist()) <= {None, ""}


def test_an_answer_without_rows_is_a_result_too(tables, key_folder, tmp_path) -> None:
    out, _ = tables
    (tmp_path / "d").mkdir(mode=0o755)
    assert main(job(out, tmp_path / "d", f"--keys={key_folder}", sql="select email from events where false", columns="email")) == 0
    assert pq.read_table(tmp_path / "d" / "result.parquet").schema == pa.schema([("email", pa.string())])
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700 and audit(out)[-1]["rows"] == 0


def test_every_fault_is_told_at_once_and_nothing_is_left(tables, tmp_path, capsys) -> None:
    out, _ = tables
    before = audit(out)
    assert main(job(out, out / "private", f"--keys={tmp_path}/none", sql="select application_id from events", columns="email,phone,nope", purpose=" ")) == 2
    told = capsys.readouterr().err
    for part in ("--purpose: is empty", "--destination: lies inside", "--keys: there is no key folder", "phone cannot be turned back: characterMaskConfig",
                 "nope is no field", "does not answer the column email"):
        assert part in told
    assert audit(out) == before and not (out / "private").exists() and not (tmp_path / "none").exists()


@pytest.mark.parametrize(("changed", "told"), [
    ({"sql": "select 1; select 2"}, "SQL: is not one SELECT"), ({"sql": "copy (select 1) to 'x'"}, "SQL: is not one SELECT"),
    ({"sql": "select nope from events"}, "SQL: Binder Error"), ({"sql": "select email, ssn, ssn from events"}, "two columns named ssn"),
    ({"sql": "select email, 5 as ssn from events"}, "answers ssn as int32"), ({"columns": "email,email"}, "names a column twice"),
    ({"columns": ","}, "names none"), ({"purpose": ""}, "--purpose: is empty")])
def test_requests_that_cannot_run(changed, told, tables, key_folder, tmp_path, capsys) -> None:
    out, _ = tables
    assert main(job(out, tmp_path / "d", f"--keys={key_folder}", **changed)) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "d").exists()


def test_destinations_and_folders_that_cannot_be(tables, key_folder, tmp_path, capsys) -> None:
    out, _ = tables
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "link").symlink_to(out)
    for destination, told in (("full", "is not empty"), ("full/file", "is not a folder"), ("link/deeper", "lies inside the tables"), ("link", "lies inside")):
        assert main(job(out, tmp_path / destination, f"--keys={key_folder}")) == 2
        assert f"--destination: {told}" in capsys.readouterr().err
    assert main(job(tmp_path / "full", tmp_path / "d", f"--keys={key_folder}")) == 2
    assert "holds no tables" in capsys.readouterr().err


def test_an_outage_of_dlp_shows_nothing(tables, tmp_path, capsys, world) -> None:
    out, _ = tables
    before = audit(out)
    world.service.plan = FaultPlan("403")
    assert main(job(out, tmp_path / "d", "--engine=dlp", "--project=penstock-demo", f"--dlp_endpoint={world.address}")) == 1
    assert "failed; nothing is in" in capsys.readouterr().err and audit(out) == before and list((tmp_path / "d").iterdir()) == []


def _row(destination: Path) -> Reidentification:
    now = datetime(2026, 3, 4, tzinfo=timezone.utc)
    return Reidentification(f"run-{destination.name}", "ann", "root", "why", ("email",), "census 1.0", "local", "0" * 64, str(destination), now, now)


def test_the_audit_row_is_committed_first_and_once(tables, tmp_path) -> None:
    out, _ = tables
    row, later = _row(tmp_path / "d"), datetime(2026, 3, 5, tzinfo=timezone.utc)
    outcome = [Part("x", 5), Turned("email", 3, 1), Turned("ssn", 2, 0)]
    with pytest.raises(OSError):  # there is nothing to reveal: the last step fails
        publish(str(out), row, outcome, lambda: later)
    expected = replace(row, rows=5, turned_back=5, no_token=1, ended=later)
    assert lake_audit.find(str(out), row.run) == expected
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ".result.parquet.part").write_bytes(b"rows")
    for _ in range(2):  # a step that is tried again finds its work done
        assert publish(str(out), row, outcome, lambda: later) == expected
    assert (tmp_path / "d" / "result.parquet").read_bytes() == b"rows" and sum(r["run"] == row.run for r in audit(out)) == 1


def test_without_an_audit_row_nothing_is_shown(tmp_path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ".result.parquet.part").touch()
    with pytest.raises((OSError, Misconfigured)):
        publish(str(tmp_path / "no lake"), _row(tmp_path / "d"), [Part("x", 0)], lambda: datetime(2026, 3, 5, tzinfo=timezone.utc))
    assert not (tmp_path / "d" / "result.parquet").exists()


def test_the_audit_outlives_later_runs(tables, key_folder, tmp_path) -> None:
    out, _ = tables
    assert main(job(out, tmp_path / "d", f"--keys={key_folder}")) == 0
    rows = audit(out)
    assert main(["batch", "--contract=census", f"--input={out}/../../in/*.ndjson", f"--output={out}", f"--keys={key_folder}"]) == 0
    assert audit(out) == rows
