"""The replay job by its real flags: a batch run by the newer contract says what must come out; and what breaks on the way."""

import csv
import io
import json
import multiprocessing
import shutil
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.__main__ import main
from pipelines.canary import Trial
from pipelines.options import ReplayOptions
from pipelines.private_key import opener
from pipelines.replay import run as replay_job
from pipelines.replay_choice import choice
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_replays import Pending
from pipelines.tools.generate import write
from schemas.contract import SHIPPED
from schemas.errors import Reason, Stage
from tests.kms_server import VERSION, Service, serve
from tests.replaying import ask, die, loosened, refuse
from tests.runs import run as seen_run
from tests.scan import Scan
from transforms import keys
from transforms.batch import refused_rows
from transforms.formats.block import Message
from transforms.seal import unseal

COMPARED = "* exclude (contract_version, policy_digest, run, watermark)"
STEPS = [("graph done", 2), ("marked", 2), ("committed", 1)]  # after each of them one more run is there
FEW = 12_000  # bytes of opened rows a run
JUNE, JULY = (datetime(2026, month, 3, 10, tzinfo=timezone.utc) for month in (6, 7))


def lines(folder: Path) -> Path:
    """Census rows of all four formats, some of them wrong in ways that the newer contract does not mind."""
    folder.mkdir()
    write("census", 1500, 5, folder)
    (folder / "truth.json").unlink()
    base = json.loads((SHIPPED / "census" / "sample.ndjson").read_bytes().splitlines()[0])
    rows = [base | {"application_id": f"CSV{i}", "age": (30, 150, 250)[i % 3], "note": ("plain", 'a "quoted", word', "two\nlines")[i % 4 % 3]} for i in range(24)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(base))
    writer.writeheader()
    writer.writerows(rows)
    (folder / "rows.csv").write_text(text.getvalue() + "too,few\n")
    (folder / "rows2.csv").write_text("application_id,submitted_at,age,shoe\nCSV900,2026-03-02T10:00:00Z,30,44\nCSV901,2026-03-02T10:00:00Z,150,44\n")
    pq.write_table(pa.Table.from_pylist([r | {"application_id": r["application_id"].replace("CSV", "PQ")} for r in rows]), folder / "rows.parquet")
    schema = {"type": "record", "name": "r", "fields": [{"name": k, "type": ["null", "int" if type(v) is int else "string"]} for k, v in base.items()]}
    with open(folder / "rows.avro", "wb") as file:
        fastavro.writer(file, fastavro.parse_schema(schema), [r | {"application_id": r["application_id"].replace("CSV", "AV")} for r in rows])
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory, key_folder) -> dict[str, Path]:
    """The tables of a batch run by the shipped contract, and those of one by the next version."""
    folder = tmp_path_factory.mktemp("replay")
    input = lines(folder / "in")
    made = {"in": input, "keys": key_folder, "next": loosened(folder / "next"), "old": folder / "old", "new": folder / "new"}
    for contract, name in (("census", "old"), (made["next"], "new")):
        assert main(["batch", f"--contract={contract}", f"--input={input}/*", f"--output={made[name]}", f"--keys={key_folder}"]) == 0
    return made


@pytest.fixture
def out(made, tmp_path) -> Path:
    return Path(shutil.copytree(made["old"], tmp_path / "world" / "out"))


def flags(made: dict[str, Path], out: Path, *more: str, contract: str = "") -> list[str]:
    return ["replay", f"--failures={out}", f"--private_key={made['keys'] / keys.PRIVATE}", f"--keys={made['keys']}", "--json",
            f"--contract={contract or made['next']}", *more]


def replay(capsys, arguments: list[str], code: int = 0) -> dict[str, Any]:
    assert main(arguments) == code
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["balanced"] or code
    return told


def opened(made: dict[str, Path], out: Path, where: str = "true") -> Counter:
    unwrap = opener(str(made["keys"] / keys.PRIVATE))
    found = ask(out, f"select * from failures where {where}")
    return Counter((f["origin"], f["reason"], unseal(*(f[c] for c in ("sealed", "run", "stage", "reason", "origin")), unwrap)) for f in found)


def as_new(made: dict[str, Path], out: Path) -> None:
    """The events are those of a batch run by the newer contract; so is what is still refused."""
    key = "select " + COMPARED + " from events order by application_id"
    ours, theirs = ask(out, key), ask(made["new"], key)
    assert ours == theirs and len(ours) > 1_500 * 0.9
    assert opened(made, out, "attempt > 1") == opened(made, made["new"])


def test_what_a_newer_contract_accepts_is_stored_and_nothing_else(made, out, capsys) -> None:
    before, there = opened(made, out), ask(out, "select count(*) as n from events")[0]["n"]
    row = replay(capsys, flags(made, out))
    as_new(made, out)
    stored = ask(out, "select run, contract_version, watermark, origin from events where run is not null")
    assert row["read"] == sum(before.values()) and row["stored"] == len(stored) == ask(out, "select count(*) as n from events")[0]["n"] - there > 20
    assert {(r["contract_version"], r["watermark"]) for r in stored} == {("1.1", None)} and all(r["run"].startswith(row["run"]) for r in stored)
    assert {Path(r["origin"].rpartition(":")[0]).suffix for r in stored} == {".csv", ".parquet", ".avro", ".ndjson"}
    assert opened(made, out, "attempt = 1") == before, "failures only grow"
    outcomes = {r["outcome"]: r["n"] for r in ask(out, "select outcome, count(*) as n from replays group by all")}
    assert outcomes == {k: row[k] for k in ("stored", "repeated", "refused") if row[k]}
    told = ask(out, "select p.origin, e.run from replays p left join events e on e.origin = p.origin and e.run = p.replayed_by where outcome = 'stored'")
    assert len(told) == len(stored) and all(r["run"] for r in told)
    (books,) = ask(out, "select * from runs where job = 'replay'")
    assert (books["contract"], books["balanced"], books["read"], books["number"]) == ("census 1.1", True, row["read"], None)


def test_a_second_replay_does_nothing_unless_it_is_asked_to(made, out, capsys) -> None:
    first = replay(capsys, flags(made, out))
    runs = ask(out, "select count(*) as n from runs")
    again = replay(capsys, flags(made, out))
    assert (again["read"], again["runs"], sum(again["left"].values())) == (0, 0, first["refused"])
    assert ask(out, "select count(*) as n from runs") == runs
    third = replay(capsys, flags(made, out, "--again"))
    assert (third["read"], third["refused"], third["stored"]) == (first["refused"], first["refused"], 0)
    assert replay(capsys, flags(made, out, contract="census"))["refused"] == first["refused"], "another version tries them again"
    attempts = ask(out, "select attempt, count(*) as n from failures group by all order by all")
    assert [r["attempt"] for r in attempts] == [1, 2, 3, 4] and {r["n"] for r in attempts[1:]} == {first["refused"]}


def test_the_same_file_refused_by_two_runs_is_stored_once(made, out, capsys) -> None:
    assert main(["batch", "--contract=census", f"--input={made['in']}/*", f"--output={out}", f"--keys={made['keys']}"]) == 0
    row = replay(capsys, flags(made, out))
    alone = ask(made["old"], "select count(*) as n from failures")[0]["n"]
    assert (row["read"], row["runs"]) == (2 * alone, 2) and row["repeated"] >= row["stored"] > 20
    ours = ask(out, f"select {COMPARED} from events order by application_id")
    assert ours == ask(made["new"], f"select {COMPARED} from events order by application_id")
    again = opened(made, out, "attempt = 2")
    assert again == Counter({row: 2 * n for row, n in opened(made, made["new"]).items()})
    assert replay(capsys, flags(made, out))["read"] == 0


def test_a_replay_killed_on_the_way_leaves_nothing_half_done(made, tmp_path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.replaying"])
    out = Path(shutil.copytree(made["old"], tmp_path / "out"))
    options = ReplayOptions(failures=str(out), private_key=str(made["keys"] / keys.PRIVATE), keys=str(made["keys"]), contract=str(made["next"]))
    for step, nth in STEPS:
        runs = ask(out, "select count(*) as n from runs where job = 'replay'")[0]["n"]
        child = context.Process(target=die, args=(options, step, nth, FEW))
        child.start()
        child.join(60)
        assert child.exitcode == -9
        assert ask(out, "select count(*) as n from runs where job = 'replay'")[0]["n"] == runs + 1
        marked = ask(out, "select outcome, count(*) as n from replays group by all")
        books = ask(out, "select sum(stored)::int as stored, sum(repeated)::int as repeated, sum(refused)::int as refused from runs where job = 'replay'")[0]
        assert {r["outcome"]: r["n"] for r in marked} == {name: n for name, n in books.items() if n}
    assert replay_job(options, [], most_bytes=FEW) == 0
    as_new(made, out)
    runs = ask(out, "select * from runs where job = 'replay'")
    assert len(runs) > 4 and all(r["balanced"] and r["read"] == r["stored"] + r["repeated"] + r["refused"] for r in runs)
    assert not list((out / "running").glob("*.lock"))


def test_of_two_replays_at_once_one_is_lost(made, out, capsys) -> None:
    options = ReplayOptions(failures=str(out), private_key=str(made["keys"] / keys.PRIVATE), keys=str(made["keys"]), contract=str(made["next"]))
    inner: list[int] = []

    def at(step: str) -> None:
        if step == "graph done" and not inner:
            inner.append(replay_job(options, []))

    assert replay_job(options, [], at) == 1 and inner == [0]
    assert "replayed the same rows while this run was working" in capsys.readouterr().err
    as_new(made, out)
    assert ask(out, "select count(*) - count(distinct (run, origin)) as twice from replays") == [{"twice": 0}]


def test_nothing_of_a_row_is_left_in_clear_anywhere(made, out, tmp_path) -> None:
    unwrap = opener(str(made["keys"] / keys.PRIVATE))
    secrets: dict[str, str] = {}
    for f in ask(out, "select * from failures where origin like '%.ndjson:%'"):
        try:
            row = json.loads(unseal(*(f[c] for c in ("sealed", "run", "stage", "reason", "origin")), unwrap))
        except ValueError:
            continue
        if isinstance(row, dict):
            secrets |= {f"{name} at {f['origin'].rpartition(':')[2]}": row[name] for name in ("full_name", "email", "phone", "ssn")
                        if isinstance(row.get(name), str) and len(row[name]) > 8}
    seen = seen_run(tmp_path / "world", *flags(made, out))
    assert seen.code == 0 and len(secrets) > 30 and json.loads(seen.outputs["stdout"].splitlines()[-1])["stored"] > 20
    assert Scan(secrets).of(seen.outputs) == set()


CHOICES = [
    ({}, 7), ({"stage": "deidentify"}, 1), ({"reason": "malformed"}, 2), ({"run": "july"}, 3), ({"since": "2026-06-04"}, 4), ({"until": "2026-06-03"}, 3),
    ({"until": "2026-06-03T10:00:00Z"}, 0), ({"since": "2026-06-03T12:00:00.5+02:00"}, 4), ({"since": "2026-06-03T10:00:00Z", "until": "2026-07-04"}, 6),
    ({"run": "june", "reason": "malformed", "stage": "decode"}, 1), ({"run": "it's nobody"}, 0)]


def test_what_is_chosen(chosen) -> None:
    reader = Lake.reader(str(chosen))
    for given, rows in CHOICES:
        pending = Pending(reader, choice(ReplayOptions(failures=str(chosen), dry_run=True, **given)))
        assert sum(g.rows for g in pending.groups() if not g.left) == rows == len(list(pending.rows())), given
    reader.close()


def test_a_dry_run_tells_and_writes_nothing(chosen, capsys) -> None:
    before = {p: p.stat().st_mtime_ns for p in chosen.rglob("*") if p.suffix in (".parquet", ".sqlite", ".lock")}
    assert main(["replay", f"--failures={chosen}", "--dry_run", "--run=june"]) == 0
    table = capsys.readouterr().out
    assert main(["replay", f"--failures={chosen}", "--dry_run", "--run=june", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 3 and [(g["stage"], g["reason"], g["rows"]) for g in told["groups"]] == [
        ("decode", "malformed", 1), ("decode", "wrong_type", 1), ("deidentify", "not_deidentified", 1)]
    assert sorted(told["left"].values()) == [1, 1, 1] and "3  would be replayed" in table and table.count("left alone") == 3
    assert before == {p: p.stat().st_mtime_ns for p in chosen.rglob("*") if p.suffix in (".parquet", ".sqlite", ".lock")}


@pytest.fixture(scope="module")
def chosen(tmp_path_factory, key_folder) -> Path:
    """Failures of two runs, and of two keys."""
    output, other = tmp_path_factory.mktemp("chosen") / "out", tmp_path_factory.mktemp("other") / "keys"
    keys.make(other)
    row = (SHIPPED / "census" / "sample.ndjson").read_bytes().splitlines()[0]
    public = (key_folder / keys.PUBLIC).read_bytes()
    refuse(output, "june", [("decode", "malformed", "a:1", b"{"), ("decode", "wrong_type", "a:2", row), ("deidentify", "not_deidentified", "a:3", row),
                            ("read", "truncated", "a:9", b"{"), ("load", "rejected_by_sink", "a:8", row), ("decode", "malformed", "a:7", None)], public, JUNE)
    refuse(output, "july", [("decode", "malformed", "b:1", b"{"), ("infer", "unscorable", "b:2", row), ("window", "late", "b:9", row),
                            ("decode", "unknown_field", "projects/p/subscriptions/s:7", row)], public, JULY)
    refuse(output, "other", [("decode", "missing_field", "c:1", row)], (other / keys.PUBLIC).read_bytes(), datetime(2026, 8, 1, tzinfo=timezone.utc))
    return output


def test_rows_that_cannot_be_tried_are_left_alone_and_told(chosen, tmp_path, key_folder, capsys) -> None:
    out = Path(shutil.copytree(chosen, tmp_path / "out"))
    ends = [f"--keys={key_folder}", f"--private_key={key_folder / keys.PRIVATE}", "--json", f"--failures={out}"]
    assert replay(capsys, ["replay", *ends, "--run=other"], 1)["not_opened"] == 1
    row = replay(capsys, ["replay", *ends])
    assert (row["not_opened"], row["read"], row["stored"], row["repeated"], row["reasons"]) == (1, 6, 1, 3, {"malformed": 2})
    assert sorted(row["left"].values()) == [1, 1, 1, 1]
    assert ask(out, "select origin from events") == [{"origin": "a:2"}], "the first copy, as the runs had it"
    assert replay(capsys, ["replay", *ends, "--reason=late"])["read"] == 0, "its event is not there"


def test_rows_that_crash_are_tried_in_a_child_first(tmp_path, key_folder, capsys, made) -> None:
    out, row = tmp_path / "out", json.loads((SHIPPED / "census" / "sample.ndjson").read_bytes().splitlines()[0])
    origin = "projects/p/subscriptions/s:"
    rows = [("decode", "crashes", f"{origin}{i}", json.dumps(row | {"application_id": f"CSV{i}", "age": 30 + 101 * (i == 1)}).encode()) for i in range(2)]
    refuse(out, "r", rows, (key_folder / keys.PUBLIC).read_bytes(), JUNE, attempt=3)
    told = replay(capsys, flags(made, out, "--reason=crashes", contract="census"))
    assert (told["stored"], told["reasons"]) == (1, {"out_of_range": 1})
    assert ask(out, "select origin, attempt from failures where attempt > 3") == [{"origin": f"{origin}1", "attempt": 4}]


def test_a_row_that_kills_the_child_is_refused_again(tmp_path, key_folder, made) -> None:
    out, row = tmp_path / "out", (SHIPPED / "census" / "sample.ndjson").read_bytes().splitlines()[0]
    rows = [("decode", reason, f"projects/p/subscriptions/s:{i}", row) for i, reason in enumerate(["wrong_type", "crashes", "crashes"])]
    refuse(out, "r", rows, (key_folder / keys.PUBLIC).read_bytes(), JUNE, attempt=3)
    options = ReplayOptions(failures=str(out), private_key=str(key_folder / keys.PRIVATE), keys=str(key_folder))

    def dies(trial: Trial, subscription: str, messages: list[Message]) -> dict[str, pa.RecordBatch]:
        assert [m.id for m in messages] == ["1", "2"]
        return {"1": refused_rows(Stage.INFER, [(Reason.CRASHES, None, f"{subscription}:1", None, messages[0].data)], 3)}

    assert replay_job(options, [], canary=dies) == 0
    failed = ask(out, "select stage, reason, origin, attempt from failures where run <> 'r'")
    assert failed == [{"stage": "infer", "reason": "crashes", "origin": "projects/p/subscriptions/s:1", "attempt": 4}]
    assert ask(out, "select origin, outcome from replays order by all") == [
        {"origin": f"projects/p/subscriptions/s:{i}", "outcome": outcome} for i, outcome in enumerate(["stored", "refused", "repeated"])]


def test_the_private_key_may_live_in_cloud_kms(made, out, capsys) -> None:
    service = Service((made["keys"] / keys.PRIVATE).read_bytes())
    server, address = serve(service)
    try:
        arguments = [a for a in flags(made, out, f"--kms_endpoint={address}", f"--private_key={VERSION}") if not a.endswith(keys.PRIVATE)]
        told = replay(capsys, arguments)
        assert told["not_opened"] == 0 and 0 < service.calls < told["read"]
        as_new(made, out)
        service.enabled = False
        assert main([*arguments, "--again"]) == 2
        assert "enable that version" in capsys.readouterr().err
    finally:
        server.stop(0)


@pytest.mark.parametrize(("arguments", "words"), [
    (["--stage=load_balancing", "--reason=bored", "--since=yesterday", "--until=2026-02-30"], ["--stage", "--reason", "--since", "--until", "--private_key"]),
    (["--since=2026-03-05", "--until=2026-03-04"], ["--until: is not after"]), (["--private_key=nowhere"], ["--private_key: cannot be read", "--keys"]),
    (["--private_key=nowhere", "--contract=weblog"], ["--private_key", "--contract: is weblog"])])
def test_what_cannot_run_is_told_at_once(chosen, arguments, words, capsys, tmp_path) -> None:
    assert main(["replay", f"--failures={chosen}", f"--keys={tmp_path / 'none'}", *arguments]) == 2
    err = capsys.readouterr().err
    assert all(word in err for word in words), err
    assert not (tmp_path / "none").exists(), "a key folder is not made: it would be another one"
